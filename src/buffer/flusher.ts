/** Writes what a partition holds: one flush runs, at most one more waits, and a call joins the waiting one. */
import { BackendError, type RecordStore } from '../backends/backend.ts'
import type { Coordination, DeadLetter } from '../backends/coordination.ts'
import { newestStamp } from '../collections/row.ts'
import { ABSENT, type Stamp } from '../collections/stamp.ts'
import type { BatchSize } from './adapt.ts'
import type { Entry, Partition, Restored } from './partition.ts'
import { type Sifted, sift } from './sift.ts'

export interface FlushReport {
  /** Rows in statements that committed. */
  written: number
  refused: number
  /** Why rows are still here, if they are; they will be tried again. */
  failure: Error | null
}

/** What became of the rows of a chunk. */
export interface ChunkEnd {
  stored: readonly Entry[]
  voided: readonly Entry[]
  /** Entries of which something is a dead letter now; a part of one may be stored as well. */
  condemned: readonly Entry[]
  /** Refused, and no dead letter can hold it (too many of its session, or too large): to be parked. */
  parked: readonly Entry[]
}

export interface FlusherEvents {
  onChunk(rows: number, durationMs: number): void
  onEnd(end: ChunkEnd): void
  /** Rows of a failed flush are among the live ones again. */
  onRestored(restored: Restored): void
  onDeadLettered(letters: readonly DeadLetter[]): void
  /** A flush that had something to write has ended. */
  onFlushed(report: FlushReport, durationMs: number): void
}

export interface FlusherLimits {
  /** Fields older than this are never written. */
  expireAfterMs: number
  /** Dead letters of one session, and of all. */
  lettersPerGroup: number
  letters: number
}

interface FlusherOptions extends FlusherEvents {
  partition: Partition
  store: RecordStore
  coordination: Coordination
  batch: BatchSize
  maxConnections: number
  limits: FlusherLimits
  nowMs(): number
}

export interface Flusher {
  flush(): Promise<FlushReport>
  /** Resolves when no flush runs that had begun before the call. */
  settled(): Promise<void>
  /** Why a key's row of this stamp, or an older one, was refused lately. */
  refusalOf(key: readonly string[], stamp: Stamp): string | undefined
}

const REMEMBERED_REFUSALS = 5000
const ERASED_AT_ONCE = 2000

export function createFlusher(options: FlusherOptions): Flusher {
  const { partition, store, coordination, batch, limits } = options
  const { collection } = partition
  /** Deletes are of the whole group, under the name of the collection that it is the key of. */
  const groupOwner = collection.parent?.name ?? collection.name
  let running: Promise<FlushReport> | null = null
  let waiting: Promise<FlushReport> | null = null
  /**
   * What was known of a group's deletes when its rows were first written, until a whole flush has succeeded: a
   * statement that was given up may have committed after a delete that the next attempt already knows of.
   */
  const firstKnown = new Map<string, Stamp>()
  const refusals = new Map<string, { stamp: Stamp; reason: string }>()

  async function writeChunk(entries: readonly Entry[], report: FlushReport): Promise<void> {
    const groups = [...new Set(entries.map(({ row }) => row.key[0]!))]
    const before = await coordination.tombstonesOf(groupOwner, groups)
    for (const group of groups) {
      if (!firstKnown.has(group)) firstKnown.set(group, before.get(group) ?? ABSENT)
    }
    const sifted = sift(entries, before, options.nowMs() - limits.expireAfterMs)
    const refused = await write(sifted)
    const letters = [...sifted.expired, ...refused].map(({ entry, row, code, reason }) => ({
      entry,
      letter: { collection: collection.name, row, code, reason },
    }))
    const kept = await put(await withinCaps(letters))
    // Deletes that committed while the rows were on their way are carried out once more, before anything is let go.
    await eraseLate(groups)

    const failed = new Set(refused.map(({ entry }) => entry))
    const held = new Set(letters.filter((one) => !kept.includes(one)).map(({ entry }) => entry))
    const condemned = new Set(kept.map(({ entry }) => entry))
    const stored = sifted.write.map(({ entry }) => entry).filter((entry) => !failed.has(entry))
    options.onEnd({
      stored: stored.filter((entry) => !held.has(entry) && !condemned.has(entry)),
      voided: sifted.voided,
      condemned: [...condemned].filter((entry) => !held.has(entry)),
      parked: [...held],
    })
    for (const { letter } of letters) remember(letter)
    if (kept.length > 0) options.onDeadLettered(kept.map(({ letter }) => letter))
    report.refused += kept.length
    report.written += stored.length
  }

  /** Answers the rows that the store refuses for what they are. */
  async function write({ write: rows }: Sifted) {
    if (rows.length === 0) return []
    const start = performance.now()
    const { refused } = await store.write(
      collection,
      rows.map(({ row }) => row),
    )
    const durationMs = performance.now() - start
    batch.observe(durationMs)
    options.onChunk(rows.length, durationMs)
    return refused.map(({ index, code, reason }) => ({ ...rows[index]!, code, reason }))
  }

  /**
   * Those of the letters that may be kept: so many of a session, and so many in all. One that was tried again
   * has its place already, and needs none.
   */
  async function withinCaps<T extends { entry: Entry; letter: DeadLetter }>(
    letters: readonly T[],
  ): Promise<T[]> {
    const kept = letters.filter(({ entry }) => entry.replayed)
    if (kept.length === letters.length) return kept
    let room = limits.letters - (await coordination.countDeadLetters({}))
    const rooms = new Map<string, number>()
    for (const one of letters) {
      if (one.entry.replayed) continue
      const group = one.letter.row.key[0]!
      const left =
        rooms.get(group) ??
        limits.lettersPerGroup - (await coordination.countDeadLetters({ collection: collection.name, group }))
      rooms.set(group, left - 1)
      if (left <= 0 || room <= 0) continue
      room--
      kept.push(one)
    }
    return kept
  }

  /** Answers those that are dead letters now. */
  async function put<T extends { letter: DeadLetter }>(letters: readonly T[]): Promise<readonly T[]> {
    if (letters.length === 0) return letters
    const unfit = new Set(await coordination.putDeadLetters(letters.map(({ letter }) => letter)))
    return letters.filter(({ letter }) => !unfit.has(letter))
  }

  async function eraseLate(groups: readonly string[]): Promise<void> {
    for (const [group, stamp] of await coordination.tombstonesOf(groupOwner, groups)) {
      if (stamp <= (firstKnown.get(group) ?? ABSENT)) continue
      while ((await store.erase(collection, group, stamp, ERASED_AT_ONCE)) === ERASED_AT_ONCE);
      await coordination.deleteDeadLetters(collection.name, group, stamp)
    }
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
    const start = performance.now()
    partition.swap()
    const chunks = Math.ceil(partition.rows().draining / batch.rows())
    const connections = Math.min(options.maxConnections, chunks)
    // Every chunk is waited for: one that still commits must not meet its rows among the live ones.
    const ends = await Promise.allSettled(Array.from({ length: connections }, () => work(report)))
    // The law makes it safe to merge back what may even have been stored.
    options.onRestored(partition.restore())
    if (!report.failure) firstKnown.clear()
    options.onFlushed(report, performance.now() - start)
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
