/**
 * The one grammar of API keys, as entries of the variable and as lines of the file:
 *
 *     NAME HASH SCOPES [created=TIME] [expires=TIME] [revoked=TIME]
 *
 * Faults repeat nothing of an entry: any word of it may be a key in the wrong place.
 */
import { createHash } from 'node:crypto'
import { formatTime, parseTime } from '../lib/time.ts'
import { LEVELS, NAMESPACES, parseScopes } from './principal.ts'

/** A key, as it is kept. Several may have one name: that is how a key is replaced. */
export interface KeyEntry {
  name: string
  /**
   * SHA-256 of the key, 64 hex digits. A slow hash is for what people can guess; nobody tries out the 256
   * random bits of a key that is made here, and every request would pay for it.
   */
  hash: string
  /** As they were written, such as `translation:read` or `*:read`. */
  scopes: string[]
  createdAtMs: number | null
  expiresAtMs: number | null
  /** Whenever that is: a key with such a mark is not good any more. */
  revokedAtMs: number | null
}

/** `at` counts lines of the file, or entries of the variable, from 1. */
export interface KeyFault {
  at: number
  expected: string
}

export interface ParsedKeys {
  keys: { at: number; entry: KeyEntry }[]
  faults: KeyFault[]
}

/** Of a key as it is: one fast hash is enough for random texts alone, which are not shorter. */
const MIN_KEY_LENGTH = 32
/** Of a key: longer values are not even hashed. */
export const MAX_KEY_LENGTH = 512
/** Of the file: thousands of keys. */
export const MAX_FILE_BYTES = 4 * 2 ** 20

/** What keys begin with that are made here: told by it, they are found where they should not be. */
export const KEY_PREFIX = 'psk_'
/** More of them say nothing new: a file that is something else has a fault in each line. */
const SHOWN_FAULTS = 10

const NAME = /^[A-Za-z0-9._-]{1,64}$/
const HASH = /^sha256:([0-9a-f]{64})$/i
const PLAIN = new RegExp(`^(?!sha256:)[!-~]{${MIN_KEY_LENGTH},${MAX_KEY_LENGTH}}$`, 'i')
const ATTRIBUTE = /^(created|expires|revoked)=(.+)$/

const FORM = 'NAME HASH SCOPES, separated by spaces'
const HASHED = 'sha256: and 64 hex digits as the second word, never the key itself'
const PLAIN_OR_HASHED = `sha256: and 64 hex digits, or a key of ${MIN_KEY_LENGTH} to ${MAX_KEY_LENGTH} visible ASCII characters`
const ONCE = 'created=, expires= and revoked= with a time, each at most once, after the scopes'

/** What a name has to be, in words. */
export const NAME_FORM = 'a name of 1 to 64 characters of A-Z a-z 0-9 . _ -'
/** What scopes have to be, in words. */
export const SCOPES_FORM = `scopes separated by commas, each one of ${NAMESPACES.join(', ')} or *, a colon, and one of ${LEVELS.join(', ')}`

export function isKeyName(name: string): boolean {
  return NAME.test(name) && !name.startsWith(KEY_PREFIX)
}

/** SHA-256 in 64 hex digits. */
export function hashOf(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

/** The first faults of a file, and how many more there are. */
export function shownFaults(faults: readonly KeyFault[]): string[] {
  const shown = faults.slice(0, SHOWN_FAULTS).map(({ at, expected }) => `line ${at}: expected ${expected}`)
  const more = faults.length - shown.length
  return more > 0 ? [...shown, `and ${more} more`] : shown
}

/** What names a key without saying what it is. */
export function idOf({ hash }: Pick<KeyEntry, 'hash'>): string {
  return hash.slice(0, 12)
}

/** Lines of the file: hashes alone. `taken` holds those of the variable. */
export function parseKeyFile(text: string, taken: Iterable<string> = []): ParsedKeys {
  const seen = new Map<string, string>()
  for (const hash of taken) seen.set(hash, 'API_KEYS')
  const lines = text.split('\n').map((line, index) => ({ at: index + 1, line: line.trim() }))
  const parsed = parseAll(lines, { seen, unit: 'line', parse: (words) => parseEntry(words, HASH, HASHED) })
  // Cut off before its mark `revoked`, a line would let in who was shut out.
  if (parsed.keys.at(-1)?.at === lines.length) {
    parsed.keys.pop()
    parsed.faults.push({ at: lines.length, expected: 'a newline at its end' })
  }
  return parsed
}

/**
 * Entries of the variable, which may hold keys as they are: it lives where other secrets do. One word that is
 * all there is is a key that may do everything; beside anything else it may be half of a key with a ; in it.
 */
export function parseInlineKeys(text: string): ParsedKeys {
  const alone = !/[;\n]/.test(text.trim())
  const entries = text
    .split(/[;\n]/)
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line, index) => ({ at: index + 1, line }))
  const parsed = parseAll(entries, {
    seen: new Map(),
    unit: 'entry',
    parse(words) {
      if (words.length > 1) return parseEntry(words, PLAIN, `${PLAIN_OR_HASHED}, as the second word`)
      if (!alone) return `${FORM}; or one key and nothing else, without ; in it`
      return parseEntry(['default', words[0]!, '*:admin'], PLAIN, `${PLAIN_OR_HASHED}; or ${FORM}`)
    },
  })
  // Whoever sets it wants the door closed: a text that holds no key must not leave it open.
  if (parsed.keys.length + parsed.faults.length === 0) parsed.faults.push({ at: 1, expected: 'a key' })
  return parsed
}

/** An entry as a line, without its end. */
export function formatKeyLine(entry: KeyEntry): string {
  const times = { created: entry.createdAtMs, expires: entry.expiresAtMs, revoked: entry.revokedAtMs }
  const attributes = Object.entries(times).flatMap(([word, ms]) =>
    ms === null ? [] : [`${word}=${formatTime(ms)}`],
  )
  return [entry.name, `sha256:${entry.hash}`, entry.scopes.join(','), ...attributes].join(' ')
}

interface ParseOptions {
  /** Hash → where it was found. */
  seen: Map<string, string>
  unit: 'line' | 'entry'
  /** The entry, or what was expected. */
  parse(words: string[]): KeyEntry | string
}

function parseAll(lines: { at: number; line: string }[], { seen, unit, parse }: ParseOptions): ParsedKeys {
  const parsed: ParsedKeys = { keys: [], faults: [] }
  for (const { at, line } of lines) {
    if (line === '' || line.startsWith('#')) continue
    const entry = parse(line.split(/\s+/))
    if (typeof entry === 'string') {
      parsed.faults.push({ at, expected: entry })
      continue
    }
    const before = seen.get(entry.hash)
    if (before === undefined) parsed.keys.push({ at, entry })
    else parsed.faults.push({ at, expected: `each key once (${before} has this one too)` })
    seen.set(entry.hash, before ?? `${unit} ${at}`)
  }
  return parsed
}

function parseEntry(words: string[], form: RegExp, hashForm: string): KeyEntry | string {
  const [name = '', key = '', list, ...attributes] = words
  if (list === undefined) return FORM
  if (!isKeyName(name)) return `${NAME_FORM} as the first word`
  const hash = HASH.exec(key)?.[1]?.toLowerCase() ?? (form.test(key) ? hashOf(key) : null)
  if (hash === null) return hashForm
  const scopes = list.split(',')
  if (parseScopes(scopes).unknown.length > 0) return `${SCOPES_FORM}, as the third word`
  const times = parseAttributes(attributes)
  return times === null ? ONCE : { name, hash, scopes, ...times }
}

function parseAttributes(
  words: string[],
): Pick<KeyEntry, 'createdAtMs' | 'expiresAtMs' | 'revokedAtMs'> | null {
  const times = new Map<string, number>()
  for (const word of words) {
    const [, attribute = '', text = ''] = ATTRIBUTE.exec(word) ?? []
    const time = parseTime(text)
    if (time === null || times.has(attribute)) return null
    times.set(attribute, time.ms)
  }
  const of = (attribute: string) => times.get(attribute) ?? null
  return { createdAtMs: of('created'), expiresAtMs: of('expires'), revokedAtMs: of('revoked') }
}
