/** The way of one collection's rows: its partition, its flushes, and when they are tried again. */
import type { RecordStore } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'
import type { Collection } from '../collections/definition.ts'
import type { Clock } from '../lib/clock.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { createBackoff } from '../lib/retry.ts'
import { createBatchSize } from './adapt.ts'
import type { BufferConfig } from './config.ts'
import { type ChunkEnd, createFlusher, type Flusher, type FlushReport } from './flusher.ts'
import type { Ledger } from './ledger.ts'
import { createPartition, type Meeting, type Partition, type Restored } from './partition.ts'

export interface Lane {
  readonly collection: Collection
  readonly partition: Partition
  readonly flusher: Flusher
  batchRows(): number
  /** Rows that are held in any state. */
  held(): number
  flush(): Promise<FlushReport>
  /** Why the last flush failed; null where it did not. */
  failure(): string | null
  /** A flush that nobody waits for; while a retry is due it is left to that. */
  flushSoon(): void
  /** The backend is up again: tries at once. */
  retryNow(): void
  /** The timer's round: parked rows that may go on, then a flush. */
  tick(): void
  /** Two entries of one key have become one. */
  meet(met: readonly Meeting[]): void
  stop(): void
}

interface LaneOptions {
  collection: Collection
  config: BufferConfig
  store: RecordStore
  coordination: Coordination
  ledger: Ledger
  clock: Clock
  log: Logger
  onChunk(rows: number, durationMs: number): void
  /** Once a flush, whoever waits for it. */
  onFlushed(report: FlushReport, durationMs: number): void
}

const RETRY_BASE_MS = 250
const RETRY_MAX_MS = 15_000
const DAY_MS = 86_400_000
/** Refused rows that are logged one by one. */
const LOGGED_LETTERS = 10

export function createLane(options: LaneOptions): Lane {
  const { collection, config, coordination, ledger, log } = options
  const partition = createPartition(collection)
  const backoff = createBackoff({ baseMs: RETRY_BASE_MS, maxMs: RETRY_MAX_MS })
  let retryTimer: ReturnType<typeof setTimeout> | null = null
  let unattended = false
  let again = false
  let looking = false
  let failure: string | null = null
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
    store: options.store,
    coordination,
    batch,
    maxConnections: config.flush_connections,
    limits: {
      expireAfterMs: config.expire_days * DAY_MS,
      lettersPerGroup: config.dead_letters_per_session,
      letters: config.max_dead_letters,
    },
    nowMs: options.clock.nowMs,
    onChunk: options.onChunk,
    onEnd: end,
    onRestored: restored,
    onFlushed: options.onFlushed,
    onDeadLettered(letters) {
      // The reason may quote the row: it stands in the letter alone.
      for (const { row, code } of letters.slice(0, LOGGED_LETTERS)) {
        log.error('row refused by its backend, moved to the dead letters', {
          meta: { collection: collection.name, key: row.key, code },
        })
      }
    },
  })

  function end({ stored, voided, condemned, parked }: ChunkEnd): void {
    const done = [...stored, ...voided, ...condemned]
    partition.settle(done)
    ledger.note(collection, {
      removed: done,
      counts: { stored: stored.length, voided: voided.length, dead_lettered: condemned.length },
    })
    if (parked.length === 0) return
    restored(partition.park(parked))
    log.error(
      'refused rows stay buffered: their session has too many dead letters, or they are too large for one',
      {
        meta: { collection: collection.name, rows: parked.length, sessions: partition.parkedGroups().size },
      },
    )
  }

  function restored({ merged, voided, changed }: Restored): void {
    meet(merged)
    ledger.note(collection, { changed, removed: voided, counts: { voided: voided.length } })
  }

  /** One entry, and one record, is left of two. */
  function meet(met: readonly Meeting[]): void {
    if (met.length === 0) return
    ledger.note(collection, {
      changed: met.map(({ into }) => into),
      removed: met.map(({ from }) => from),
      counts: { merged: met.length },
    })
  }

  async function flush(): Promise<FlushReport> {
    const report = await flusher.flush()
    failure = report.failure && messageOf(report.failure)
    if (report.failure) retryLater(report.failure)
    else {
      backoff.reset()
      cancelRetry()
    }
    await ledger.settled()
    return report
  }

  function retryLater(cause: Error): void {
    if (retryTimer) return
    const delayMs = backoff.nextMs()
    log.warn('flush failed, rows are kept', {
      meta: { collection: collection.name, error: messageOf(cause), retry_in_ms: delayMs },
    })
    retryTimer = setTimeout(() => {
      retryTimer = null
      flushSoon()
    }, delayMs)
  }

  function cancelRetry(): void {
    if (retryTimer) clearTimeout(retryTimer)
    retryTimer = null
  }

  function flushSoon(): void {
    if (retryTimer || partition.rows().live === 0) return
    // However many ask, one flush that nobody waits for is under way, and one more follows it.
    if (unattended) {
      again = true
      return
    }
    unattended = true
    flush()
      .catch((error) => log.error('flush broke', { meta: { error: messageOf(error) } }))
      .finally(() => {
        unattended = false
        const asked = again
        again = false
        if (asked) flushSoon()
      })
  }

  /** Parked rows are tried again once their session has room for dead letters. */
  async function unpark(): Promise<void> {
    const parked = partition.parkedGroups()
    if (parked.size === 0 || (await coordination.countDeadLetters({})) >= config.max_dead_letters) return
    for (const group of parked) {
      const letters = await coordination.countDeadLetters({ collection: collection.name, group })
      if (letters < config.dead_letters_per_session) meet(partition.unpark(group))
    }
    flushSoon()
  }

  return {
    collection,
    partition,
    flusher,
    batchRows: batch.rows,
    held() {
      const { live, draining, parked } = partition.rows()
      return live + draining + parked
    },
    // Where nothing is left to be stored (it was deleted meanwhile), nothing fails any more.
    failure: () => (partition.rows().live + partition.rows().draining > 0 ? failure : null),
    flush,
    flushSoon,
    retryNow() {
      cancelRetry()
      flushSoon()
    },
    tick() {
      // What is owed to a journal that failed is not left to whoever writes next: there may be nobody.
      if (ledger.status().failure !== null) ledger.note(collection, {})
      flushSoon()
      if (looking) return
      looking = true
      unpark()
        .catch((error) => log.debug('parked rows not looked at', { meta: { error: messageOf(error) } }))
        .finally(() => {
          looking = false
        })
    },
    meet,
    stop: cancelRetry,
  }
}
