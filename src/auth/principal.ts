/** Who asks, and what they may do. Made by the authenticator alone; slices read it. */

export const NAMESPACES = ['translation', 'storage', 'users', 'audit', 'system'] as const
export const LEVELS = ['read', 'write', 'admin'] as const

export type Namespace = (typeof NAMESPACES)[number]
export type Level = (typeof LEVELS)[number]

/** What a route asks for, such as `translation:write`. */
export type Scope = `${Namespace}:${Level}`

export interface Principal {
  kind: 'anonymous' | 'api_key' | 'jwt'
  /** Unique among all of them, and no secret: `anonymous`, `key:backend`, `user:alice`. */
  id: string
  /** The subject of a JWT; null for everybody else. */
  subject: string | null
  scopes: ReadonlySet<Scope>
}

const ALL_SCOPES: ReadonlySet<Scope> = new Set(
  NAMESPACES.flatMap((namespace) => LEVELS.map((level): Scope => `${namespace}:${level}`)),
)

/** Everybody, where no authentication is configured: may do everything. */
export const ANYONE: Principal = { kind: 'anonymous', id: 'anonymous', subject: null, scopes: ALL_SCOPES }

/** Who shows no credential where one is needed. */
export const NOBODY: Principal = { kind: 'anonymous', id: 'anonymous', subject: null, scopes: new Set() }

/**
 * What words such as `translation:write`, `system:admin` or `*:read` grant. `admin` includes `read` and
 * `write`; `write` does not include `read`, so that a writer of logs need not be able to read them.
 * `unknown` holds the words that name nothing here.
 */
export function parseScopes(words: Iterable<string>): { scopes: Set<Scope>; unknown: string[] } {
  const scopes = new Set<Scope>()
  const unknown: string[] = []
  for (const word of words) {
    const [namespace, level, ...rest] = word.split(':')
    const namespaces = NAMESPACES.filter((name) => namespace === '*' || name === namespace)
    const levels = LEVELS.filter((name) => level === 'admin' || name === level)
    if (rest.length > 0 || namespaces.length === 0 || levels.length === 0) unknown.push(word)
    else for (const name of namespaces) for (const of of levels) scopes.add(`${name}:${of}`)
  }
  return { scopes, unknown }
}
