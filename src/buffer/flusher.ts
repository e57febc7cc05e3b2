/** Writes what a partition holds: one flush runs, at most one more waits, and a call joins the waiting one. */
import { BackendError, type Coordination, type DeadLetter, type RecordStore } from '../backends/backend.ts'
import { newestStamp } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'
import type { BatchSize } from './adapt.ts'
import type { Entry, Partition } from './partition.ts'

export interface FlushReport {
  /** Rows in statements that committed. */
  written: number
  refused: number
  /** Why rows are still here, if they are; they will be tried again. */
  failure: Error | null
}

export interface FlusherEvents {
  onChunk(rows: number, durationMs: number): void
  onStored(rows: number): void
  /** Rows of a failed flush that met a newer one of their key, or a delete. */
  onRestored(back: { merged: number; voided: number }): void
  onDeadLettered(letters: readonly DeadLetter[]): void
}

interface FlusherOptions extends FlusherEvents {
  partition: Partition
  store: RecordStore
  coordination: Coordination
  batch: BatchSize
  maxConnections: number
}

export interface Flusher {
  flush(): Promise<FlushReport>
  /** Resolves when no flush runs that had begun before the call. */
  settled(): Promise<void>
  /** Why a key's row of this stamp, or an older one, was refused lately. */
  refusalOf(key: readonly string[], stamp: Stamp): string | undefined
}

const REMEMBERED_REFUSALS = 5000

export function createFlusher(options: FlusherOptions): Flusher {
  const { partition, store, coordination, batch } = options
  const { collection } = partition
  let running: Promise<FlushReport> | null = null
  let waiting: Promise<FlushReport> | null = null
  const refusals = new Map<string, { stamp: Stamp; reason: string }>()

  async function writeChunk(entries: readonly Entry[], report: FlushReport): Promise<void> {
    const start = performance.now()
    const { refused } = await store.write(
      collection,
      entries.map(({ row }) => row),
    )
    const durationMs = performance.now() - start
    batch.observe(durationMs)
    options.onChunk(entries.length, durationMs)
    if (refused.length > 0) {
      const letters = refused.map(({ index, code, reason }) => ({
        collection: collection.name,
        row: entries[index]!.row,
        code,
        reason,
      }))
      await coordination.putDeadLetters(letters)
      for (const letter of letters) remember(letter)
      options.onDeadLettered(letters)
      report.refused += refused.length
    }
    partition.settle(entries)
    const written = entries.length - refused.length
    report.written += written
    options.onStored(written)
  }

  function remember(letter: DeadLetter): void {
    const key = letter.row.key.join('\u0000')
    refusals.delete(key)
    refusals.set(key, { stamp: newestStamp(letter.row), reason: letter.reason })
    if (refusals.size > REMEMBERED_REFUSALS) refusals.delete(refusals.keys().next().value!)
  }

  /** Takes chunks until there are none, or one fails for a reason that is not the rows' own. */
  async function work(report: FlushReport): Promise<void> {
    while (!report.failure) {
      const entries = partition.nextChunk(batch.rows(), store.maxWriteBytes)
      if (entries.length === 0) return
      try {
        await writeChunk(entries, report)
      } catch (error) {
        report.failure ??= error as Error // the other connections take no more chunks
        if (!(error instanceof BackendError)) throw error
      }
    }
  }

  async function run(): Promise<FlushReport> {
    const report: FlushReport = { written: 0, refused: 0, failure: null }
    if (partition.rows().live === 0) return report
    partition.swap()
    const chunks = Math.ceil(partition.rows().draining / batch.rows())
    const connections = Math.min(options.maxConnections, chunks)
    // Every chunk is waited for: one that still commits must not meet its rows among the live ones.
    const ends = await Promise.allSettled(Array.from({ length: connections }, () => work(report)))
    // The law makes it safe to merge back what may even have been stored.
    options.onRestored(partition.restore())
    for (const end of ends) if (end.status === 'rejected') throw end.reason
    return report
  }

  function start(): Promise<FlushReport> {
    running = run().finally(() => {
      running = null
    })
    return running
  }

  return {
    flush() {
      if (waiting) return waiting
      if (!running) return start()
      waiting = running
        .then(
          () => undefined,
          () => undefined, // its own callers have been told
        )
        .then(() => {
          waiting = null
          return start()
        })
      return waiting
    },
    async settled() {
      await running?.catch(() => undefined) // only its end matters here
    },
    refusalOf(key, stamp) {
      const refusal = refusals.get(key.join('\u0000'))
      return refusal && refusal.stamp >= stamp ? refusal.reason : undefined
    },
  }
}
