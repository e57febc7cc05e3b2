/**
 * The write buffer: accepts rows in microseconds, and writes each collection in large idempotent upserts at
 * so many rows, seconds or bytes, or when asked. A flush that fails keeps its rows and is tried again.
 */
import type { RecordStore } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'
import type { Collection } from '../collections/definition.ts'
import { memoryOf, type Row } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { createBackoff, inTime, pause } from '../lib/retry.ts'
import { createCapacity } from './capacity.ts'
import type { BufferConfig } from './config.ts'
import type { FlushReport } from './flusher.ts'
import type { JournalCounts, JournalRecord } from './journal.ts'
import { createLane, type Lane } from './lane.ts'
import type { Ledger } from './ledger.ts'
import type { Meeting, Placement } from './partition.ts'

interface WriteBufferOptions {
  config: BufferConfig
  collections: readonly Collection[]
  storeOf(collection: Collection): RecordStore
  coordination: Coordination
  ledger: Ledger
  clock: Clock
  log: Logger
  onFlush(collection: string, rows: number, durationMs: number): void
}

export interface CollectionStatus {
  collection: string
  /** Rows that are held, those in flight and those parked included. */
  rows: number
  inFlight: number
  /** Refused rows that no dead letter may hold. */
  parked: number
  /** Why the last flush failed, until one succeeds. */
  failure: string | null
  bytes: number
  oldestAtMs: number | null
  counts: Readonly<JournalCounts>
  batchRows: number
  /** Rows a second that recent flushes stored. */
  drainRate: number
}

export interface AcceptedRow {
  row: Row
  /** What it costs in memory. */
  bytes: number
  /** Items of the request that were merged into it. */
  items: number
}

export interface WriteBuffer {
  /**
   * Takes all rows or none; they are safe when it resolves. Throws BUFFER_FULL past the hard limit,
   * DEAD_LETTERS_FULL for a session with too many of them, JOURNAL_UNAVAILABLE.
   */
  accept(collection: Collection, rows: readonly AcceptedRow[]): Promise<void>
  /** The same for rows that were accepted before, elsewhere: dead letters, journals of dead instances. */
  takeIn(
    collection: Collection,
    rows: readonly { row: Row; bytes: number; acceptedAtMs?: number }[],
    options: { replayed: boolean },
  ): Promise<void>
  /** Rows of this instance's own journal, at its start; whatever they are, there is room. */
  reload(collection: Collection, records: readonly JournalRecord[]): void
  get(collection: Collection, key: readonly string[]): Row | undefined
  /** What is held of a group, by the rest of the key. */
  group(collection: Collection, group: string): Map<string, Row>
  withRest(collection: Collection, rest: string): Row[]
  /** Everything that is held of a collection. */
  all(collection: Collection): Row[]
  /** Writes what was accepted before the call; rows that could not be written stay. */
  flush(collections?: readonly Collection[]): Promise<Map<string, FlushReport>>
  /** Why a key's row of this stamp, or an older one, was refused lately. */
  refusalOf(collection: Collection, key: readonly string[], stamp: Stamp): string | undefined
  /** Drops what a delete at `stamp` voids, once no flush can still be writing it. */
  erase(collection: Collection, group: string, stamp: Stamp): Promise<void>
  /** Rows that may still be taken before the hard limit's lower mark. */
  room(): number
  /** Groups with the most rows of all collections together. */
  topGroups(limit: number): { group: string; rows: number }[]
  status(): {
    collections: CollectionStatus[]
    rows: number
    bytes: number
    capacityRows: number
    lastFlushAtMs: number | null
    full: boolean
  }
  /** Starts the timer. */
  start(): void
  /** Begins a flush of everything that nobody waits for. */
  flushSoon(): void
  /** A backend that was down is up again: tries at once. */
  retryNow(): void
  /** Flushes until nothing is left or the time is up; answers the rows that are left. */
  drain(timeoutMs: number): Promise<number>
  stop(): void
}

export function createWriteBuffer(options: WriteBufferOptions): WriteBuffer {
  const { config, coordination, ledger, clock, log } = options
  let interval: ReturnType<typeof setInterval> | null = null
  let lastFlushAtMs: number | null = null
  const capacity = createCapacity({ config, held: totals, onFull: () => flushAllSoon() })
  const lanes = new Map(
    options.collections.map((collection) => [
      collection.name,
      createLane({
        collection,
        config,
        store: options.storeOf(collection),
        coordination,
        ledger,
        clock,
        log,
        onChunk: (rows, durationMs) => options.onFlush(collection.name, rows, durationMs),
        onFlushed({ written, failure }, durationMs) {
          if (!failure) lastFlushAtMs = clock.nowMs()
          capacity.observe(collection.name, written, durationMs)
        },
      }),
    ]),
  )

  const laneOf = (collection: Collection) => lanes.get(collection.name)!

  function totals(): { rows: number; bytes: number } {
    let rows = 0
    let bytes = 0
    for (const lane of lanes.values()) {
      rows += lane.held()
      bytes += lane.partition.bytes()
    }
    return { rows, bytes }
  }

  /** A session with too many refused rows accepts nothing more, whatever the collection. */
  function assertNotParked(rows: readonly { row: Row }[]): void {
    for (const { partition } of lanes.values()) {
      if (partition.rows().parked === 0) continue
      const parked = partition.parkedGroups()
      const blocked = rows.find(({ row }) => parked.has(row.key[0]!))
      if (!blocked) continue
      throw new AppError('DEAD_LETTERS_FULL', {
        detail:
          'Rows of this session were refused by the store, and no dead letter can hold them: replay or purge some first, or delete the session.',
        members: { session_id: blocked.row.key[0]! },
        retryAfterSeconds: config.flush_interval,
      })
    }
  }

  function flushAllSoon(): void {
    setTimeout(() => {
      for (const lane of lanes.values()) lane.flushSoon()
    }, 0)
  }

  interface Arrival {
    row: Row
    bytes: number
    items: number
    acceptedAtMs: number
  }

  async function take(
    { collection, partition }: Lane,
    rows: readonly Arrival[],
    { source, replayed }: { source: 'accepted' | 'transferred_in'; replayed: boolean },
  ): Promise<void> {
    const release = capacity.reserve(rows)
    const placements: Placement[] = []
    try {
      await ledger.accept(collection, {
        take() {
          release()
          let items = 0
          let merged = 0
          for (const { row, bytes, items: count, acceptedAtMs } of rows) {
            items += count
            // A sparse item without any field says nothing: there is no row to store.
            if (!row.values.some((value) => value !== undefined)) {
              merged += count
              continue
            }
            merged += count - 1
            const recordId = ledger.nextRecordId()
            const placement = partition.add({ row, bytes, acceptedAtMs, recordId, replayed })
            placements.push(placement)
            if (placement.before) merged++
          }
          return { entries: placements.map(({ entry }) => entry), counts: { [source]: items, merged } }
        },
        takeBack() {
          for (let i = placements.length - 1; i >= 0; i--) partition.takeBack(placements[i]!)
        },
      })
    } finally {
      release()
    }
    const { live } = partition.rows()
    if (live >= config.max_buffer_size || partition.bytes() >= config.flush_bytes) {
      setTimeout(laneOf(collection).flushSoon, 0) // after the answer
    }
  }

  return {
    async accept(collection, rows) {
      assertNotParked(rows)
      const acceptedAtMs = clock.nowMs()
      await take(
        laneOf(collection),
        rows.map((one) => ({ ...one, acceptedAtMs })),
        { source: 'accepted', replayed: false },
      )
    },

    async takeIn(collection, rows, { replayed }) {
      const nowMs = clock.nowMs()
      await take(
        laneOf(collection),
        rows.map(({ row, bytes, acceptedAtMs = nowMs }) => ({ row, bytes, items: 1, acceptedAtMs })),
        { source: 'transferred_in', replayed },
      )
    },

    reload(collection, records) {
      const { partition } = laneOf(collection)
      const met: Meeting[] = []
      for (const { id, row, acceptedAtMs, replayed } of records) {
        const entry = { row, bytes: memoryOf(row), acceptedAtMs, recordId: id, replayed }
        const placement = partition.add(entry)
        if (placement.before) met.push({ from: entry, into: placement.entry })
      }
      laneOf(collection).meet(met)
    },

    get: (collection, key) => laneOf(collection).partition.get(key),
    group: (collection, group) => laneOf(collection).partition.group(group),
    withRest: (collection, rest) => laneOf(collection).partition.withRest(rest),
    all: (collection) => laneOf(collection).partition.all(),

    async flush(collections = options.collections) {
      const reports = await Promise.all(
        collections.map(async (collection) => [collection.name, await laneOf(collection).flush()] as const),
      )
      if (reports.every(([, { failure }]) => !failure)) lastFlushAtMs = clock.nowMs()
      return new Map(reports)
    },

    refusalOf: (collection, key, stamp) => laneOf(collection).flusher.refusalOf(key, stamp),

    async erase(collection, group, stamp) {
      const { partition, flusher } = laneOf(collection)
      const erasure = { group, stamp }
      await ledger.settled() // what was stamped before the delete, and waits for its commit, is among the rows then
      const { voided, changed } = partition.beginErase(erasure)
      ledger.note(collection, { changed, removed: voided, counts: { voided: voided.length } })
      await flusher.settled()
      partition.endErase(erasure)
      await ledger.settled()
    },

    room: capacity.room,
    topGroups(limit) {
      const sums = new Map<string, number>()
      for (const { partition } of lanes.values()) {
        for (const { group, rows } of partition.topGroups(limit))
          sums.set(group, (sums.get(group) ?? 0) + rows)
      }
      const groups = [...sums].map(([group, rows]) => ({ group, rows }))
      return groups.sort((a, b) => b.rows - a.rows).slice(0, limit)
    },

    status() {
      const { rows, bytes } = totals()
      return {
        rows,
        bytes,
        capacityRows: config.max_rows,
        lastFlushAtMs,
        full: capacity.full(),
        collections: [...lanes.values()].map((lane) => ({
          collection: lane.collection.name,
          rows: lane.held(),
          inFlight: lane.partition.rows().draining,
          parked: lane.partition.rows().parked,
          failure: lane.failure(),
          bytes: lane.partition.bytes(),
          oldestAtMs: lane.partition.oldestAtMs(),
          counts: ledger.counts(lane.collection),
          batchRows: lane.batchRows(),
          drainRate: capacity.drainRate(lane.collection.name),
        })),
      }
    },

    start() {
      interval ??= setInterval(() => {
        for (const lane of lanes.values()) lane.tick()
        ledger.rest()
      }, config.flush_interval * 1000)
    },

    flushSoon: flushAllSoon,

    retryNow() {
      for (const lane of lanes.values()) lane.retryNow()
    },

    async drain(timeoutMs) {
      const deadline = performance.now() + timeoutMs
      const backoff = createBackoff({ baseMs: 50, maxMs: 1000 })
      // Those that are parked can't be stored.
      const left = () => [...lanes.values()].some((lane) => lane.held() > lane.partition.rows().parked)
      while (left() && performance.now() < deadline) {
        const flushed = this.flush().catch((error) => {
          log.error('flush broke', { meta: { error: messageOf(error) } })
          return null
        })
        const reports = await inTime(flushed, deadline - performance.now())
        if (reports && ![...reports.values()].some(({ failure }) => failure)) continue
        await pause(Math.min(backoff.nextMs(), Math.max(0, deadline - performance.now())))
      }
      return totals().rows
    },

    stop() {
      if (interval) clearInterval(interval)
      interval = null
      for (const lane of lanes.values()) lane.stop()
    },
  }
}
