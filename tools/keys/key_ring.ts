/** Changes to the text of a file of API keys: comments, and lines that nothing happened to, stay as they are. */
import {
  formatKeyLine,
  hashOf,
  idOf,
  KEY_PREFIX,
  type KeyEntry,
  type ParsedKeys,
  parseKeyFile,
  shownFaults,
} from '../../src/auth/key_line.ts'
import { MAX_TIME_MS } from '../../src/lib/time.ts'
import { EXIT, KeysError } from './failure.ts'

/** A key that was made: `key` is to be shown once, and kept nowhere. */
export interface MadeKey {
  key: string
  entry: KeyEntry
}

export type KeyState = 'live' | 'expired' | 'revoked'

const HEADER =
  '# API keys, one a line: NAME HASH SCOPES. Made, listed and revoked by `bun run keys`; the keys are not in here.\n'
const KEY_BYTES = 32

/** 256 random bits, behind a prefix by which a leaked one is recognised. */
export function makeKey(wanted: Pick<KeyEntry, 'name' | 'scopes' | 'expiresAtMs'>, nowMs: number): MadeKey {
  const key = `${KEY_PREFIX}${crypto.getRandomValues(Buffer.alloc(KEY_BYTES)).toString('base64url')}`
  return { key, entry: { ...wanted, hash: hashOf(key), createdAtMs: nowMs, revokedAtMs: null } }
}

/** @throws KeysError with the faults of a file that the service would not take either. */
export function readKeys(text: string, path: string): ParsedKeys['keys'] {
  const { keys, faults } = parseKeyFile(text)
  if (faults.length === 0) return keys
  const lines = shownFaults(faults).map((shown) => `${path}, ${shown}`)
  throw new KeysError(lines.join('\n'), EXIT.config)
}

export function stateOf({ revokedAtMs, expiresAtMs }: KeyEntry, nowMs: number): KeyState {
  if (revokedAtMs !== null) return 'revoked'
  return expiresAtMs !== null && expiresAtMs <= nowMs ? 'expired' : 'live'
}

/** The text with one more line; `null` = there is no file yet. */
export function withKey(text: string | null, entry: KeyEntry): string {
  const before = text ?? HEADER
  return `${before}${before === '' || before.endsWith('\n') ? '' : '\n'}${formatKeyLine(entry)}\n`
}

/** The text with other entries at some of its lines. */
export function withChanged(text: string, changed: ParsedKeys['keys']): string {
  const lines = text.split('\n')
  for (const { at, entry } of changed) lines[at - 1] = formatKeyLine(entry)
  return lines.join('\n')
}

/** The keys that an id or else a name means, with the mark of their end; their lines stay for the record. */
export function revoke(keys: ParsedKeys['keys'], { which, nowMs }: { which: string; nowMs: number }) {
  const byId = keys.filter(({ entry }) => idOf(entry) === which.toLowerCase())
  const meant = byId.length > 0 ? byId : keys.filter(({ entry }) => entry.name === which)
  if (meant.length === 0) throw new KeysError('no key has this id or name; `bun run keys list` shows them')
  const good = meant.filter(({ entry }) => entry.revokedAtMs === null)
  if (good.length === 0) throw new KeysError('revoked already')
  return good.map(({ at, entry }) => ({ at, entry: { ...entry, revokedAtMs: nowMs } }))
}

interface RotateOptions {
  name: string
  graceMs: number
  /** null = as long as the old key was made for. */
  expiresAtMs: number | null
  nowMs: number
}

/** A new key in the place of the live ones of a name, and these with the end of their grace. */
export function rotate(
  keys: ParsedKeys['keys'],
  { name, graceMs, expiresAtMs, nowMs }: RotateOptions,
): { made: MadeKey; old: ParsedKeys['keys'] } {
  const live = keys.filter(({ entry }) => entry.name === name && stateOf(entry, nowMs) === 'live')
  const newest = live.at(-1)?.entry
  if (!newest) throw new KeysError('no live key has this name; `bun run keys list` shows them')
  const scopes = new Set(live.map(({ entry }) => entry.scopes.toSorted().join()))
  if (scopes.size > 1) {
    throw new KeysError('the live keys of this name have different scopes: create one, and revoke the others')
  }
  const made = makeKey(
    { name, scopes: newest.scopes, expiresAtMs: expiresAtMs ?? sameSpan(newest, nowMs) },
    nowMs,
  )
  const old = live.map(({ at, entry }) => {
    const endMs = Math.min(nowMs + graceMs, entry.expiresAtMs ?? Number.POSITIVE_INFINITY)
    return { at, entry: { ...entry, expiresAtMs: endMs } }
  })
  return { made, old }
}

/** The end of a key that is made now to last as long as another one; from now on, where nobody knows how long that was. */
function sameSpan({ createdAtMs, expiresAtMs }: KeyEntry, nowMs: number): number | null {
  if (expiresAtMs === null) return null
  return Math.min(MAX_TIME_MS, nowMs + expiresAtMs - Math.min(createdAtMs ?? nowMs, nowMs))
}
