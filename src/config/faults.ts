import { isMap } from './document.ts'

/** One thing wrong with the configuration. */
export interface Fault {
  /** The key as its user wrote it: an environment name, or a path of the file. */
  key: string
  /** What would be right. */
  expected: string
  /** What was found; absent where it is, or may hold, a secret. */
  got?: string
}

/** Thrown with every fault of every source at once; the message has one line for each. */
export class ConfigError extends Error {
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    const lines = faults.map(({ key, expected, got }) =>
      got === undefined ? `${key}: expected ${expected}` : `${key}: expected ${expected}, got ${got}`,
    )
    super(`configuration has ${faults.length} fault${faults.length === 1 ? '' : 's'}:\n${lines.join('\n')}`)
    this.name = 'ConfigError'
    this.faults = faults
  }
}

/** A fault whose `got` is left out where there is nothing to show. */
export function fault(key: string, expected: string, got?: string): Fault {
  return got === undefined ? { key, expected } : { key, expected, got }
}

const secretKey = /password|passwd|secret|token|credential|(access|api|private)_?key|database_url/i

/** True for a key (of the file or of the environment) whose value must never be shown. */
export function isSecretKey(key: string): boolean {
  return secretKey.test(key)
}

const longestShown = 60

/** How a value reads in a fault; undefined where it may hold a secret. */
export function shown(key: string, value: unknown): string | undefined {
  if (isSecretKey(key)) return undefined
  if (typeof value !== 'string') return kindOrScalar(value)
  // An @ is the mark of user:password@host, whichever setting it was pasted into; a URL's query may hold a token.
  if (/@|:\/\/.*\?/s.test(value)) return undefined
  return JSON.stringify(value.length > longestShown ? `${value.slice(0, longestShown)}…` : value)
}

/** What sort of value it is, without its content. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return isMap(value) ? 'a map' : `a ${typeof value}`
}

function kindOrScalar(value: unknown): string {
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : kindOf(value)
}
