/** The command line of `bun run keys`. */
import { parseArgs } from 'node:util'
import { isKeyName, NAME_FORM, SCOPES_FORM } from '../../src/auth/key_line.ts'
import { parseScopes } from '../../src/auth/principal.ts'
import { MAX_TIME_MS, parseTime } from '../../src/lib/time.ts'
import { EXIT, KeysError } from './failure.ts'

/** What to do. Times are milliseconds since the epoch. */
export type Command =
  | { verb: 'help' }
  | { verb: 'create'; name: string; scopes: string[]; expiresAtMs: number | null; print: boolean }
  | { verb: 'list'; json: boolean }
  | { verb: 'revoke'; which: string }
  | { verb: 'rotate'; name: string; graceMs: number; expiresAtMs: number | null }

/** What `--help` prints. */
export const HELP = `Usage: bun run keys create NAME --scopes SCOPES [--expires WHEN] [--print]
       bun run keys list [--json]
       bun run keys revoke ID|NAME
       bun run keys rotate NAME [--grace TIME] [--expires WHEN]

Makes, lists and revokes the API keys of the service. They are kept in its file of API keys, hashed:
API_KEYS_FILE, else api_keys in DATA_DIR; a file named in CONFIG_FILE is read as the service reads it.
A running service takes a change within a second.

  create    makes a key and prints it, once; nothing but the key is written to stdout
  list      shows the keys: id, name, scopes, created, expires, state
  revoke    ends a key by its id, or all keys of a name
  rotate    makes a new key with the scopes of the old one, which stays valid for a while;
            an old one that was made to expire makes the new one last as long

  --scopes LIST    such as translation:read,translation:write or system:admin;
                   read, write or admin (both of them, and more) of translation, storage, users, audit,
                   system, or of * for all
  --expires WHEN   90d, 12h or 30m from now, or a time such as 2027-01-31 (its beginning, in UTC);
                   when not given: never
  --grace TIME     how long the old key stays valid, such as 30m; 0 = not at all     (24h)
  --print          changes no file: prints the key, and on a second line its entry for API_KEYS
  --json           prints the list as JSON
  --help           print this

Exit status: 0 done, 1 not done, 64 a wrong command line, 78 a faulty configuration or file.
`

const OPTIONS = {
  scopes: { type: 'string' },
  expires: { type: 'string' },
  grace: { type: 'string' },
  print: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

/** Which options each command takes. */
const TAKES = new Map<string, readonly string[]>([
  ['create', ['scopes', 'expires', 'print']],
  ['list', ['json']],
  ['revoke', []],
  ['rotate', ['grace', 'expires']],
])

const UNITS_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 }
const DEFAULT_GRACE = '24h'

/** @throws KeysError with what was expected, never with what stands there: it may be a key. */
export function parseKeysArgs(args: readonly string[], nowMs: number): Command {
  const { values, positionals } = parse(args)
  if (values.help) return { verb: 'help' }
  const [verb, ...rest] = positionals
  const takes = TAKES.get(verb ?? '')
  if (takes === undefined) throw usage(`expected one of ${[...TAKES.keys()].join(', ')}`)
  const other = Object.keys(values).find((name) => !takes.includes(name))
  if (other) throw usage(`${verb} takes no --${other}`)
  if (verb === 'list') {
    if (rest.length > 0) throw usage('list takes no name')
    return { verb, json: values.json ?? false }
  }
  const [name, ...more] = rest
  if (name === undefined || more.length > 0 || !isKeyName(name)) {
    throw usage(`${verb} takes ${NAME_FORM}${verb === 'revoke' ? ', or an id' : ''}`)
  }
  if (verb === 'revoke') return { verb, which: name }
  const expiresAtMs = values.expires === undefined ? null : expiry(values.expires, nowMs)
  if (verb === 'rotate') return { verb, name, expiresAtMs, graceMs: grace(values.grace ?? DEFAULT_GRACE) }
  return { verb: 'create', name, scopes: scopes(values.scopes), expiresAtMs, print: values.print ?? false }
}

function usage(message: string): KeysError {
  return new KeysError(message, EXIT.usage)
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options: OPTIONS })
  } catch (error) {
    // The words for an option that is not known repeat it; those for known ones name these.
    const isKnown = (error as NodeJS.ErrnoException).code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION'
    throw usage(isKnown && error instanceof Error ? error.message : 'an option that is not known')
  }
}

function scopes(text: string | undefined): string[] {
  const words = text?.split(',').map((word) => word.trim()) ?? []
  const { unknown } = parseScopes(words)
  if (words.length > 0 && unknown.length === 0) return words
  throw usage(`--scopes: expected ${SCOPES_FORM}`)
}

function expiry(text: string, nowMs: number): number {
  const duration = durationMs(text)
  const atMs = duration === null ? parseTime(text)?.ms : nowMs + duration
  if (atMs !== undefined && atMs > nowMs && atMs <= MAX_TIME_MS) return atMs
  throw usage(`--expires: expected a time to come, such as 90d or 2027-01-31`)
}

function grace(text: string): number {
  const duration = text === '0' ? 0 : durationMs(text)
  if (duration !== null) return duration
  throw usage(`--grace: expected a time such as 24h, 30m or 0`)
}

function durationMs(text: string): number | null {
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? []
  return unit === undefined ? null : Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS]
}
