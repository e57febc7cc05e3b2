/**
 * The unstored rows of one collection, one a key and state: `live` takes what arrives, `draining` is what a
 * flush has swapped out and not settled yet, `parked` is what its store refuses and no dead letter may hold.
 * Groups (sessions) are the outer level, so a session's rows are at hand.
 */
import type { Collection } from '../collections/definition.ts'
import { erasedUpTo, memoryOf, merge, type Row } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'

export interface Entry {
  row: Row
  bytes: number
  /** When the oldest part of it was accepted, in milliseconds. */
  acceptedAtMs: number
  /** Its record in the journal. */
  recordId: number
  /** A dead letter that is tried again. */
  replayed: boolean
}

/** Where an entry went, and what was there before, so that it can be taken back. */
export interface Placement {
  /** The entry that holds the row now. */
  entry: Entry
  /** What that entry was before the row was merged into it; null where it is the row's own. */
  before: Entry | null
}

/** A delete of what a group held up to a stamp. */
export interface Erasure {
  group: string
  stamp: Stamp
}

/** What a delete did to the rows that were held. */
export interface Erased {
  voided: Entry[]
  changed: Entry[]
}

/** An entry that was merged into another one of its key. */
export interface Meeting {
  from: Entry
  into: Entry
}

/** What became of draining rows that were not settled. */
export interface Restored {
  merged: Meeting[]
  voided: Entry[]
  /** Those that a delete left a part of. */
  changed: Entry[]
}

type Groups = Map<string, Map<string, Entry>>

export interface Partition {
  readonly collection: Collection
  /** Takes a row among the live ones. */
  add(entry: Entry): Placement
  /** Undoes an `add`, the last one first, before anything else has happened. */
  takeBack(placement: Placement): void
  /** What is held of a key in every state, merged. */
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
  /** Draining rows that are not settled go back to the live ones. */
  restore(): Restored
  /** Draining rows that are kept out of the flushes from now on. */
  park(entries: readonly Entry[]): Restored
  /** A group's parked rows go back to the live ones; answers those that were merged there. */
  unpark(group: string): Meeting[]
  parkedGroups(): ReadonlySet<string>
  /** Drops what a delete voids among the live and parked rows, and until `endErase` among those that come back. */
  beginErase(erasure: Erasure): Erased
  endErase(erasure: Erasure): void
  rows(): { live: number; draining: number; parked: number }
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

/** Merges a row into the entry that holds its key. */
function unite(into: Entry, from: Entry): void {
  into.row = merge(into.row, from.row)
  into.bytes = Math.max(into.bytes, from.bytes, memoryOf(into.row))
  into.acceptedAtMs = Math.min(into.acceptedAtMs, from.acceptedAtMs)
  into.replayed ||= from.replayed
}

/** Rows in one state, and their number. */
function createRoom() {
  const groups: Groups = new Map()
  let rows = 0
  let oldestMs: number | null = null
  return {
    groups,
    rows: () => rows,
    oldestMs: () => oldestMs,
    find: (group: string, rest: string) => groups.get(group)?.get(rest),
    put(entry: Entry): void {
      const group = entry.row.key[0]!
      let held = groups.get(group)
      if (!held) {
        held = new Map()
        groups.set(group, held)
      }
      held.set(restOf(entry.row.key), entry)
      rows++
      this.age(entry.acceptedAtMs)
    },
    /** The oldest that was put since the room was empty: a bound, which costs nothing. */
    age(acceptedAtMs: number): void {
      if (oldestMs === null || acceptedAtMs < oldestMs) oldestMs = acceptedAtMs
    },
    /** Whether it was that very entry. */
    drop(entry: Entry): boolean {
      const group = entry.row.key[0]!
      const held = groups.get(group)
      const rest = restOf(entry.row.key)
      if (held?.get(rest) !== entry) return false
      held.delete(rest)
      if (held.size === 0) groups.delete(group)
      if (--rows === 0) oldestMs = null
      return true
    },
    *entries(): Generator<Entry> {
      for (const held of groups.values()) yield* held.values()
    },
  }
}

export function createPartition(collection: Collection): Partition {
  let live = createRoom()
  let draining = createRoom()
  const parked = createRoom()
  let untaken: Iterator<Entry> | null = null
  const erasures = new Set<Erasure>()
  let bytes = 0
  /** From the oldest state to the newest. */
  const rooms = () => [parked, draining, live]

  function add(entry: Entry): Placement {
    const held = live.find(entry.row.key[0]!, restOf(entry.row.key))
    if (!held) {
      live.put(entry)
      bytes += entry.bytes
      return { entry, before: null }
    }
    const before = { ...held }
    unite(held, entry)
    bytes += held.bytes - before.bytes
    live.age(held.acceptedAtMs)
    return { entry: held, before }
  }

  function whole(group: string, rest: string): Row | undefined {
    let row: Row | undefined
    for (const room of rooms()) {
      const held = room.find(group, rest)
      if (held) row = row ? merge(row, held.row) : held.row
    }
    return row
  }

  const groupNames = () => new Set(rooms().flatMap((room) => [...room.groups.keys()]))

  function groupRows(group: string): Map<string, Row> {
    const held = new Map<string, Row>()
    for (const room of rooms()) {
      for (const rest of room.groups.get(group)?.keys() ?? []) held.set(rest, whole(group, rest)!)
    }
    return held
  }

  /** Goes back to the live rows; answers the row that it met there, if it did. */
  function comeBack(entry: Entry): Entry | null {
    const { entry: into, before } = add(entry)
    return before ? into : null
  }

  /** Whether the deletes that are under way leave anything of a draining row; what they leave is in the entry then. */
  function outlive(entry: Entry, { voided, changed }: Restored): boolean {
    let row: Row | null = entry.row
    for (const { group, stamp } of erasures) {
      if (row && row.key[0] === group) row = erasedUpTo(row, stamp)
    }
    if (!row) {
      voided.push(entry)
      return false
    }
    if (row !== entry.row) {
      entry.row = row
      changed.push(entry)
    }
    return true
  }

  return {
    collection,
    add,

    takeBack({ entry, before }) {
      bytes -= entry.bytes
      if (!before) {
        live.drop(entry)
        return
      }
      Object.assign(entry, before)
      bytes += entry.bytes
    },

    get: (key) => whole(key[0]!, restOf(key)),
    group: groupRows,
    withRest: (rest) => [...groupNames()].flatMap((group) => whole(group, rest) ?? []),
    all: () => [...groupNames()].flatMap((group) => [...groupRows(group).values()]),

    swap() {
      draining = live
      live = createRoom()
      untaken = draining.entries()
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
      for (const entry of done) if (draining.drop(entry)) bytes -= entry.bytes
    },

    restore() {
      untaken = null
      const restored: Restored = { merged: [], voided: [], changed: [] }
      const left = draining
      const arrived = live
      draining = createRoom()
      live = createRoom()
      for (const entry of left.entries()) {
        bytes -= entry.bytes
        if (outlive(entry, restored)) comeBack(entry)
      }
      // Behind those that failed: the oldest go first the next time too.
      for (const entry of arrived.entries()) {
        bytes -= entry.bytes
        const into = comeBack(entry)
        if (into) restored.merged.push({ from: entry, into })
      }
      return restored
    },

    park(entries) {
      const restored: Restored = { merged: [], voided: [], changed: [] }
      for (const entry of entries) {
        if (!draining.drop(entry)) continue
        bytes -= entry.bytes
        if (!outlive(entry, restored)) continue
        const older = parked.find(entry.row.key[0]!, restOf(entry.row.key))
        if (!older) {
          parked.put(entry)
          bytes += entry.bytes
          continue
        }
        bytes -= older.bytes
        unite(older, entry)
        bytes += older.bytes
        restored.merged.push({ from: entry, into: older })
      }
      return restored
    },

    unpark(group) {
      const met: Meeting[] = []
      for (const entry of [...(parked.groups.get(group)?.values() ?? [])]) {
        parked.drop(entry)
        bytes -= entry.bytes
        const into = comeBack(entry)
        if (into) met.push({ from: entry, into })
      }
      return met
    },

    parkedGroups: () => new Set(parked.groups.keys()),

    beginErase(erasure) {
      erasures.add(erasure)
      const erased: Erased = { voided: [], changed: [] }
      for (const room of [parked, live]) {
        for (const entry of [...(room.groups.get(erasure.group)?.values() ?? [])]) {
          const row = erasedUpTo(entry.row, erasure.stamp)
          if (row) {
            entry.row = row
            erased.changed.push(entry)
            continue
          }
          room.drop(entry)
          bytes -= entry.bytes
          erased.voided.push(entry)
        }
      }
      return erased
    },

    endErase(erasure) {
      erasures.delete(erasure)
    },

    rows: () => ({ live: live.rows(), draining: draining.rows(), parked: parked.rows() }),
    bytes: () => bytes,
    oldestAtMs() {
      const oldest = Math.min(...rooms().map((room) => room.oldestMs() ?? Number.POSITIVE_INFINITY))
      return Number.isFinite(oldest) ? oldest : null
    },
    topGroups(limit) {
      const counts = new Map<string, number>()
      for (const { groups } of rooms()) {
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
