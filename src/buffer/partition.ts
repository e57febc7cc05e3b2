/**
 * The unstored rows of one collection, one a key: `live` takes what arrives, `draining` is what a flush has
 * swapped out and not settled yet. Groups (sessions) are the outer level, so a session's rows are at hand.
 */
import type { Collection } from '../collections/definition.ts'
import { memoryOf, merge, newestStamp, type Row, stampAt } from '../collections/row.ts'
import { ABSENT, type Stamp, stampMs } from '../collections/stamp.ts'

export interface Entry {
  row: Row
  bytes: number
  /** When the oldest part of it was accepted here, in milliseconds. */
  acceptedAtMs: number
}

/** A delete of what a group held up to a stamp. */
export interface Erasure {
  group: string
  stamp: Stamp
}

type Groups = Map<string, Map<string, Entry>>

export interface Partition {
  readonly collection: Collection
  /** Answers whether the row is one more, or was merged into one that is there. */
  add(entry: Entry): 'added' | 'merged'
  /** What is held of a key, live and draining merged. */
  get(key: readonly string[]): Row | undefined
  /** What is held of a group, by the rest of the key. */
  group(group: string): Map<string, Row>
  /** What is held under the same rest of the key in any group. */
  withRest(rest: string): Row[]
  all(): Row[]
  /** Makes the live rows the draining ones; nothing may be draining. */
  swap(): void
  /** The next draining rows that no chunk has taken yet, sorted by key; empty when there are none. */
  nextChunk(maxRows: number, maxBytes: number): Entry[]
  /** A chunk's rows are done with. */
  settle(entries: readonly Entry[]): void
  /** Draining rows that are not settled go back to the live ones; answers how many were merged or voided there. */
  restore(): { merged: number; voided: number }
  /** Drops what a delete voids among the live rows, and until `endErase` among those that come back. */
  beginErase(erasure: Erasure): number
  endErase(erasure: Erasure): void
  rows(): { live: number; draining: number }
  bytes(): number
  oldestAtMs(): number | null
  /** Groups with the most rows. */
  topGroups(limit: number): { group: string; rows: number }[]
}

const REST_SEPARATOR = '\u0000'

/** The key without its group; identifiers hold no control characters. */
export function restOf(key: readonly string[]): string {
  return key.length === 2 ? key[1]! : key.slice(1).join(REST_SEPARATOR)
}

export function createPartition(collection: Collection): Partition {
  let live: Groups = new Map()
  let draining: Groups = new Map()
  let untaken: Iterator<Entry> | null = null
  const erasures = new Set<Erasure>()
  let liveRows = 0
  let drainingRows = 0
  let bytes = 0
  let liveOldestMs: number | null = null
  let drainingOldestMs: number | null = null

  function put(entry: Entry): 'added' | 'merged' {
    const group = entry.row.key[0]!
    const rest = restOf(entry.row.key)
    let rows = live.get(group)
    if (!rows) {
      rows = new Map()
      live.set(group, rows)
    }
    const held = rows.get(rest)
    if (!held) {
      rows.set(rest, entry)
      liveRows++
      bytes += entry.bytes
      liveOldestMs = Math.min(liveOldestMs ?? entry.acceptedAtMs, entry.acceptedAtMs)
      return 'added'
    }
    held.row = merge(held.row, entry.row)
    const grown = Math.max(held.bytes, entry.bytes, memoryOf(held.row))
    bytes += grown - held.bytes
    held.bytes = grown
    held.acceptedAtMs = Math.min(held.acceptedAtMs, entry.acceptedAtMs)
    liveOldestMs = Math.min(liveOldestMs ?? entry.acceptedAtMs, entry.acceptedAtMs)
    return 'merged'
  }

  function* entries(groups: Groups): Generator<Entry> {
    for (const rows of groups.values()) yield* rows.values()
  }

  const lookUp = (groups: Groups, group: string, rest: string) => groups.get(group)?.get(rest)?.row

  function both(group: string, rest: string): Row | undefined {
    const older = lookUp(draining, group, rest)
    const newer = lookUp(live, group, rest)
    return older && newer ? merge(older, newer) : (newer ?? older)
  }

  return {
    collection,
    add: put,
    get: (key) => both(key[0]!, restOf(key)),

    group(group) {
      const held = new Map<string, Row>()
      for (const groups of [draining, live]) {
        for (const rest of groups.get(group)?.keys() ?? []) held.set(rest, both(group, rest)!)
      }
      return held
    },

    withRest(rest) {
      const found: Row[] = []
      for (const group of new Set([...draining.keys(), ...live.keys()])) {
        const row = both(group, rest)
        if (row) found.push(row)
      }
      return found
    },

    all() {
      const found: Row[] = []
      for (const group of new Set([...draining.keys(), ...live.keys()]))
        found.push(...this.group(group).values())
      return found
    },

    swap() {
      draining = live
      drainingRows = liveRows
      drainingOldestMs = liveOldestMs
      live = new Map()
      liveRows = 0
      liveOldestMs = null
      untaken = entries(draining)
    },

    nextChunk(maxRows, maxBytes) {
      const chunk: Entry[] = []
      let chunkBytes = 0
      while (untaken && chunk.length < maxRows && chunkBytes < maxBytes) {
        const next = untaken.next()
        if (next.done) {
          untaken = null
          break
        }
        chunk.push(next.value)
        chunkBytes += next.value.bytes
      }
      // Mostly they arrive in order, and looking is a tenth of sorting.
      const sorted = chunk.every(
        (entry, i) => i === 0 || compareKeys(chunk[i - 1]!.row.key, entry.row.key) < 0,
      )
      return sorted ? chunk : chunk.sort((a, b) => compareKeys(a.row.key, b.row.key))
    },

    settle(done) {
      for (const entry of done) {
        const group = entry.row.key[0]!
        const rows = draining.get(group)
        if (!rows?.delete(restOf(entry.row.key))) continue
        if (rows.size === 0) draining.delete(group)
        drainingRows--
        bytes -= entry.bytes
      }
      if (drainingRows === 0) drainingOldestMs = null
    },

    restore() {
      untaken = null
      const back = { merged: 0, voided: 0 }
      for (const entry of entries(draining)) {
        bytes -= entry.bytes
        const left = [...erasures].reduce<Row | null>(
          (row, erasure) => row && leftBy(erasure, row),
          entry.row,
        )
        if (!left) back.voided++
        else if (put({ ...entry, row: left }) === 'merged') back.merged++
      }
      draining = new Map()
      drainingRows = 0
      drainingOldestMs = null
      return back
    },

    beginErase(erasure) {
      erasures.add(erasure)
      const rows = live.get(erasure.group)
      if (!rows) return 0
      let voided = 0
      for (const [rest, entry] of rows) {
        const left = leftBy(erasure, entry.row)
        if (left) {
          entry.row = left
          continue
        }
        rows.delete(rest)
        liveRows--
        bytes -= entry.bytes
        voided++
      }
      if (rows.size === 0) live.delete(erasure.group)
      if (liveRows === 0) liveOldestMs = null
      return voided
    },

    endErase(erasure) {
      erasures.delete(erasure)
    },

    rows: () => ({ live: liveRows, draining: drainingRows }),
    bytes: () => bytes,
    oldestAtMs: () =>
      drainingOldestMs === null || liveOldestMs === null
        ? (drainingOldestMs ?? liveOldestMs)
        : Math.min(drainingOldestMs, liveOldestMs),
    topGroups(limit) {
      const counts = new Map<string, number>()
      for (const groups of [draining, live]) {
        for (const [group, rows] of groups) counts.set(group, (counts.get(group) ?? 0) + rows.size)
      }
      return [...counts]
        .sort((a, b) => b[1] - a[1])
        .slice(0, limit)
        .map(([group, rows]) => ({ group, rows }))
    },
  }
}

function compareKeys(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1
  }
  return 0
}

/** To the law a delete is a write of nothing: what of a row is newer, null where nothing is. */
function leftBy({ group, stamp }: Erasure, row: Row): Row | null {
  if (row.key[0] !== group) return row
  if (newestStamp(row) <= stamp) return null
  const createdAtMs = Math.max(row.createdAtMs, stampMs(stamp))
  if (typeof row.stamps === 'bigint') return { ...row, createdAtMs }
  const keep = row.values.map((_, slot) => stampAt(row, slot) > stamp)
  return {
    key: row.key,
    values: row.values.map((value, slot) => (keep[slot] ? value : undefined)),
    stamps: row.values.map((_, slot) => (keep[slot] ? stampAt(row, slot) : ABSENT)),
    createdAtMs,
  }
}
