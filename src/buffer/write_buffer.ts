/**
 * The write buffer: accepts rows in microseconds, and writes each collection in large idempotent upserts at
 * so many rows, seconds or bytes, or when asked. A flush that fails keeps its rows and is tried again.
 */
import type { Coordination, RecordStore } from '../backends/backend.ts'
import type { Collection } from '../collections/definition.ts'
import type { Row } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { createBackoff } from '../lib/retry.ts'
import { createBatchSize } from './adapt.ts'
import { createFlusher, type Flusher, type FlushReport } from './flusher.ts'
import { createPartition, type Partition } from './partition.ts'

export interface BufferConfig {
  /** Live rows of a collection that start a flush. */
  max_buffer_size: number
  /** Seconds. */
  flush_interval: number
  /** Hard limits of all collections together. */
  max_rows: number
  max_bytes: number
  /** Bytes of a collection that start a flush. */
  flush_bytes: number
  min_batch_rows: number
  max_batch_rows: number
  batch_step_rows: number
  slow_flush_ms: number
  fast_flush_ms: number
  flush_connections: number
}

export interface BufferEvents {
  onFlush(collection: string, rows: number, durationMs: number): void
  onRows(collection: string, outcome: RowOutcome, rows: number): void
}

/** Where a row went: the conservation of rows counts these. */
export type RowOutcome = 'accepted' | 'merged' | 'stored' | 'voided' | 'dead_lettered'

interface WriteBufferOptions extends BufferEvents {
  config: BufferConfig
  collections: readonly Collection[]
  storeOf(collection: Collection): RecordStore
  coordination: Coordination
  clock: Clock
  log: Logger
}

export interface CollectionStatus {
  collection: string
  rows: number
  bytes: number
  oldestAtMs: number | null
  counts: Record<RowOutcome, number>
  batchRows: number
}

export interface AcceptedRow {
  row: Row
  /** What it costs in memory. */
  bytes: number
  /** Items of the request that were merged into it. */
  items: number
}

export interface WriteBuffer {
  /** Takes all rows or none. Throws BUFFER_FULL past the hard limit. */
  accept(collection: Collection, rows: readonly AcceptedRow[]): Promise<void>
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

const RETRY_BASE_MS = 250
const RETRY_MAX_MS = 15_000
/** Past the hard limit, rows are taken again below this share of it. */
const RESUME_SHARE = 0.8
const DEFAULT_RETRY_AFTER_SECONDS = 5
const MAX_RETRY_AFTER_SECONDS = 60

interface Lane {
  partition: Partition
  flusher: Flusher
  counts: Record<RowOutcome, number>
  batchRows(): number
  backoff: ReturnType<typeof createBackoff>
  retryTimer: ReturnType<typeof setTimeout> | null
}

export function createWriteBuffer(options: WriteBufferOptions): WriteBuffer {
  const { config, clock, log } = options
  const lanes = new Map(options.collections.map((collection) => [collection.name, createLane(collection)]))
  let interval: ReturnType<typeof setInterval> | null = null
  let lastFlushAtMs: number | null = null
  let full = false
  /** Rows a second that recent flushes stored. */
  let drainRate = 0

  function createLane(collection: Collection): Lane {
    const partition = createPartition(collection)
    const counts = { accepted: 0, merged: 0, stored: 0, voided: 0, dead_lettered: 0 }
    const batch = createBatchSize({
      startRows: config.max_buffer_size,
      minRows: config.min_batch_rows,
      maxRows: config.max_batch_rows,
      stepRows: config.batch_step_rows,
      slowMs: config.slow_flush_ms,
      fastMs: config.fast_flush_ms,
    })
    const flusher = createFlusher({
      partition,
      store: options.storeOf(collection),
      coordination: options.coordination,
      batch,
      maxConnections: config.flush_connections,
      onChunk: (rows, durationMs) => options.onFlush(collection.name, rows, durationMs),
      onStored: (rows) => tally(collection.name, 'stored', rows),
      onRestored({ merged, voided }) {
        tally(collection.name, 'merged', merged)
        tally(collection.name, 'voided', voided)
      },
      onDeadLettered(letters) {
        tally(collection.name, 'dead_lettered', letters.length)
        for (const { row, code, reason } of letters.slice(0, 10)) {
          log.error('row refused by its backend, moved to the dead letters', {
            meta: { collection: collection.name, key: row.key, code, reason },
          })
        }
      },
    })
    const backoff = createBackoff({ baseMs: RETRY_BASE_MS, maxMs: RETRY_MAX_MS })
    return { partition, flusher, counts, batchRows: batch.rows, backoff, retryTimer: null }
  }

  const laneOf = (collection: Collection) => lanes.get(collection.name)!

  function tally(collection: string, outcome: RowOutcome, rows: number): void {
    if (rows === 0) return
    lanes.get(collection)!.counts[outcome] += rows
    options.onRows(collection, outcome, rows)
  }

  function totals(): { rows: number; bytes: number } {
    let rows = 0
    let bytes = 0
    for (const { partition } of lanes.values()) {
      const held = partition.rows()
      rows += held.live + held.draining
      bytes += partition.bytes()
    }
    return { rows, bytes }
  }

  /** Room is tested before a batch is taken; a batch that doesn't fit is refused whole. */
  function assertRoom(rows: number, bytes: number): void {
    const held = totals()
    if (rows > config.max_rows || bytes > config.max_bytes) {
      throw new AppError('PAYLOAD_TOO_LARGE', {
        detail: `The write buffer never holds so much: ${rows} rows, ${bytes} bytes.`,
      })
    }
    const resumes =
      held.rows <= config.max_rows * RESUME_SHARE && held.bytes <= config.max_bytes * RESUME_SHARE
    if (full && resumes) full = false
    full ||= held.rows + rows > config.max_rows || held.bytes + bytes > config.max_bytes
    if (!full) return
    setTimeout(flushAllInBackground, 0)
    const excess = held.rows - config.max_rows * RESUME_SHARE
    const seconds = drainRate > 0 ? Math.max(1, excess / drainRate) : DEFAULT_RETRY_AFTER_SECONDS
    throw new AppError('BUFFER_FULL', {
      detail: 'The write buffer is at its limit; nothing of this request was accepted.',
      retryAfterSeconds: Math.min(MAX_RETRY_AFTER_SECONDS, seconds),
    })
  }

  async function flushLane(lane: Lane): Promise<FlushReport> {
    const start = performance.now()
    const report = await lane.flusher.flush()
    lastFlushAtMs = clock.nowMs()
    if (report.written > 0) {
      const rate = report.written / Math.max(0.001, (performance.now() - start) / 1000)
      drainRate = drainRate === 0 ? rate : drainRate * 0.7 + rate * 0.3
    }
    if (report.failure) retryLater(lane, report.failure)
    else {
      lane.backoff.reset()
      cancelRetry(lane)
    }
    return report
  }

  function retryLater(lane: Lane, failure: Error): void {
    if (lane.retryTimer) return
    const delayMs = lane.backoff.nextMs()
    log.warn('flush failed, rows are kept', {
      meta: { collection: lane.partition.collection.name, error: messageOf(failure), retry_in_ms: delayMs },
    })
    lane.retryTimer = setTimeout(() => {
      lane.retryTimer = null
      background(lane)
    }, delayMs)
  }

  function flushAllInBackground(): void {
    for (const lane of lanes.values()) background(lane)
  }

  function cancelRetry(lane: Lane): void {
    if (lane.retryTimer) clearTimeout(lane.retryTimer)
    lane.retryTimer = null
  }

  /** A flush that nobody waits for; while a retry is due it is left to that. */
  function background(lane: Lane): void {
    if (lane.retryTimer || lane.partition.rows().live === 0) return
    flushLane(lane).catch((error) => log.error('flush broke', { meta: { error: messageOf(error) } }))
  }

  return {
    async accept(collection, rows) {
      let bytes = 0
      let accepted = 0
      for (const row of rows) {
        bytes += row.bytes
        accepted += row.items
      }
      assertRoom(rows.length, bytes)
      const lane = laneOf(collection)
      const acceptedAtMs = clock.nowMs()
      let merged = accepted - rows.length
      for (const { row, bytes: size } of rows) {
        // A sparse item without any field says nothing: there is no row to store.
        if (!row.values.some((value) => value !== undefined)) merged++
        else if (lane.partition.add({ row, bytes: size, acceptedAtMs }) === 'merged') merged++
      }
      tally(collection.name, 'accepted', accepted)
      tally(collection.name, 'merged', merged)
      if (
        lane.partition.rows().live >= config.max_buffer_size ||
        lane.partition.bytes() >= config.flush_bytes
      ) {
        setTimeout(background, 0, lane) // after the answer
      }
    },

    get: (collection, key) => laneOf(collection).partition.get(key),
    group: (collection, group) => laneOf(collection).partition.group(group),
    withRest: (collection, rest) => laneOf(collection).partition.withRest(rest),
    all: (collection) => laneOf(collection).partition.all(),

    async flush(collections = options.collections) {
      const reports = await Promise.all(
        collections.map(
          async (collection) => [collection.name, await flushLane(laneOf(collection))] as const,
        ),
      )
      return new Map(reports)
    },

    refusalOf: (collection, key, stamp) => laneOf(collection).flusher.refusalOf(key, stamp),

    async erase(collection, group, stamp) {
      const { partition, flusher } = laneOf(collection)
      const erasure = { group, stamp }
      tally(collection.name, 'voided', partition.beginErase(erasure))
      await flusher.settled()
      partition.endErase(erasure)
    },

    status() {
      const { rows, bytes } = totals()
      return {
        rows,
        bytes,
        capacityRows: config.max_rows,
        lastFlushAtMs,
        full,
        collections: [...lanes.values()].map(({ partition, counts, batchRows }) => ({
          collection: partition.collection.name,
          rows: partition.rows().live + partition.rows().draining,
          bytes: partition.bytes(),
          oldestAtMs: partition.oldestAtMs(),
          counts: { ...counts },
          batchRows: batchRows(),
        })),
      }
    },

    start() {
      interval ??= setInterval(flushAllInBackground, config.flush_interval * 1000)
    },

    flushSoon() {
      setTimeout(flushAllInBackground, 0)
    },

    retryNow() {
      for (const lane of lanes.values()) {
        cancelRetry(lane)
        background(lane)
      }
    },

    async drain(timeoutMs) {
      const deadline = performance.now() + timeoutMs
      const backoff = createBackoff({ baseMs: 50, maxMs: 1000 })
      while (totals().rows > 0 && performance.now() < deadline) {
        const left = deadline - performance.now()
        let timer: ReturnType<typeof setTimeout> | undefined
        const expired = new Promise<null>((resolve) => {
          timer = setTimeout(() => resolve(null), left)
        })
        const flushed = this.flush().catch((error) => {
          log.error('flush broke', { meta: { error: messageOf(error) } })
          return null
        })
        const reports = await Promise.race([flushed, expired])
        clearTimeout(timer)
        if (reports && ![...reports.values()].some(({ failure }) => failure)) continue
        const pauseMs = Math.min(backoff.nextMs(), Math.max(0, deadline - performance.now()))
        await new Promise((resume) => setTimeout(resume, pauseMs))
      }
      return totals().rows
    },

    stop() {
      if (interval) clearInterval(interval)
      interval = null
      for (const lane of lanes.values()) cancelRetry(lane)
    },
  }
}
