/** What of a chunk's rows may be written: nothing that a delete voids, nothing that is too old. */
import { erasedUpTo, type Row, stampAt } from '../collections/row.ts'
import { ABSENT, type Stamp, stampMs } from '../collections/stamp.ts'
import type { Entry } from './partition.ts'

/** A row of an entry; the entry itself stays as it was accepted until its end is known. */
export interface Sorted {
  entry: Entry
  row: Row
}

export interface Sifted {
  write: Sorted[]
  /** Entries of which a delete leaves nothing. */
  voided: Entry[]
  expired: (Sorted & { code: string; reason: string })[]
}

export const EXPIRED = 'expired'

/**
 * Tombstones live for as long as fields may wait: what is older than `oldestMs` could bring back something
 * whose delete nobody remembers. Dead letters that are tried again may be of any age.
 */
export function sift(
  entries: readonly Entry[],
  tombstones: ReadonlyMap<string, Stamp>,
  oldestMs: number,
): Sifted {
  const sifted: Sifted = { write: [], voided: [], expired: [] }
  for (const entry of entries) {
    const stamp = tombstones.get(entry.row.key[0]!)
    const row = stamp === undefined ? entry.row : erasedUpTo(entry.row, stamp)
    if (!row) {
      sifted.voided.push(entry)
      continue
    }
    if (entry.replayed || row.createdAtMs >= oldestMs) {
      sifted.write.push({ entry, row })
      continue
    }
    const { old, fresh } = splitByAge(row, oldestMs)
    if (old) {
      const reason = 'older than what may still be written: its delete may have been forgotten'
      sifted.expired.push({ entry, row: old, code: EXPIRED, reason })
    }
    if (fresh) sifted.write.push({ entry, row: fresh })
  }
  return sifted
}

/** The fields stamped before that time, and the others; null where there are none. */
function splitByAge(row: Row, oldestMs: number): { old: Row | null; fresh: Row | null } {
  const isOld = (slot: number) => stampAt(row, slot) !== ABSENT && stampMs(stampAt(row, slot)) < oldestMs
  const part = (take: (slot: number) => boolean): Row | null => {
    const stamps = row.values.map((_, slot) => (take(slot) ? stampAt(row, slot) : ABSENT))
    if (stamps.every((stamp) => stamp === ABSENT)) return null
    return { ...row, stamps, values: row.values.map((value, slot) => (take(slot) ? value : undefined)) }
  }
  return { old: part(isOld), fresh: part((slot) => !isOld(slot)) }
}
