/** How keys are shown: a table for people, JSON for programs. */
import { idOf, type KeyEntry } from '../../src/auth/key_line.ts'
import { formatTime } from '../../src/lib/time.ts'
import { stateOf } from './key_ring.ts'

const HEAD = ['ID', 'NAME', 'SCOPES', 'CREATED', 'EXPIRES', 'STATE']

/** Columns as wide as their widest cell, without the last line's end. */
export function listText(keys: readonly KeyEntry[], nowMs: number): string {
  const rows = [
    HEAD,
    ...keys.map((entry) => [
      idOf(entry),
      entry.name,
      entry.scopes.join(','),
      shortTime(entry.createdAtMs),
      shortTime(entry.expiresAtMs),
      stateOf(entry, nowMs),
    ]),
  ]
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export function toJson(keys: readonly KeyEntry[], nowMs: number): string {
  const time = (ms: number | null) => (ms === null ? null : formatTime(ms))
  const shown = keys.map((entry) => ({
    id: idOf(entry),
    name: entry.name,
    scopes: entry.scopes,
    created: time(entry.createdAtMs),
    expires: time(entry.expiresAtMs),
    revoked: time(entry.revokedAtMs),
    state: stateOf(entry, nowMs),
  }))
  return JSON.stringify(shown, null, 2)
}

/** To the second; `-` for never. */
function shortTime(ms: number | null): string {
  return ms === null ? '-' : formatTime(ms).replace(/\.\d+Z$/, 'Z')
}
