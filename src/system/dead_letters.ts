/** What an operator does with dead letters: look at them, try their rows again, throw them away. */
import type { Clockwork, DeadLetters, LetterFilter, StoredLetter } from '../backends/coordination.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { Collection } from '../collections/definition.ts'
import { memoryOf, withSlots } from '../collections/row.ts'
import { AppError } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { withDeadline } from '../lib/retry.ts'

interface DeadLetterServiceOptions {
  coordination: DeadLetters & Pick<Clockwork, 'now'>
  /** Those that the buffer takes; letters of others are left alone. */
  collections: readonly Collection[]
  buffer: Pick<WriteBuffer, 'takeIn' | 'flush' | 'room'>
  /** Why nothing is accepted now. */
  refusal(): AppError | null
  /** How long a page's rows may take to be stored. */
  flushTimeoutMs: number
  log: Logger
}

export interface Replayed {
  matched: number
  /** Letters whose rows were tried again. */
  replayed: number
  /** Those of them that were refused again, and stay. */
  refused: number
}

export interface DeadLetterService {
  /** The newest first. */
  list(
    filter: LetterFilter,
    page: { limit: number; offset?: number; before?: string },
  ): Promise<{ total: number; letters: StoredLetter[] }>
  /**
   * Tries the rows of all letters again that had failed by now. Their stamps are kept, so what is newer wins,
   * and doing it twice, or twice at once, is doing it once. Where it has to stop it answers what was done;
   * throws why where that is nothing.
   */
  replay(filter: LetterFilter, options: { dryRun: boolean }): Promise<Replayed>
  /** Throws away all letters that had failed by now. */
  purge(filter: LetterFilter, options: { dryRun: boolean }): Promise<{ matched: number; purged: number }>
}

const PAGE_ROWS = 500
/** As they are stored; in the buffer a row may weigh twice that. */
const PAGE_BYTES = 4 * 1024 * 1024
const RETRY_AFTER_SECONDS = 2

export function createDeadLetterService(options: DeadLetterServiceOptions): DeadLetterService {
  const { coordination, buffer, log } = options
  const known = new Map(options.collections.map((collection) => [collection.name, collection]))

  /** What fails from now on is no longer meant: a row that is refused again would be visited for ever. */
  const boundNow = async (filter: LetterFilter) => ({ ...filter, failedUntilMs: await coordination.now() })

  /** Pages of at most `rows()` letters and so many bytes, each letter once. */
  async function* pages(filter: LetterFilter, rows: () => number) {
    for (let after = ''; ; ) {
      const limit = Math.max(1, Math.min(PAGE_ROWS, rows()))
      const found = await coordination.findDeadLetters(filter, { limit, after })
      if (found.length === 0) return
      let bytes = 0
      const cut = found.findIndex((letter, i) => {
        bytes += letter.bytes
        return i > 0 && bytes > PAGE_BYTES
      })
      const page = cut < 0 ? found : found.slice(0, cut)
      after = page.at(-1)!.id
      yield page
    }
  }

  /**
   * A letter goes once its row was tried, not before: one that was refused again meanwhile has counted that,
   * and stays; while its row is only buffered, the letter still vouches for it.
   */
  async function replayPage(letters: readonly StoredLetter[]): Promise<number> {
    const ids = letters.map(({ id }) => id)
    const collections: Collection[] = []
    for (const [name, of] of Map.groupBy(letters, ({ collection }) => collection)) {
      const collection = known.get(name)!
      const rows = of.map(({ row }) => ({ row: withSlots(row, collection), bytes: memoryOf(row) }))
      await buffer.takeIn(collection, rows, { replayed: true })
      collections.push(collection)
    }
    await stored(collections)
    await coordination.removeDeadLetters(letters)
    return coordination.countDeadLetters({ ids })
  }

  async function stored(collections: readonly Collection[]): Promise<void> {
    const unavailable = (cause?: unknown) =>
      new AppError('BACKEND_UNAVAILABLE', {
        detail: 'The rows are buffered and will be stored, which failed so far; their letters stay.',
        retryAfterSeconds: RETRY_AFTER_SECONDS,
        cause,
      })
    const reports = await withDeadline(buffer.flush(collections), options.flushTimeoutMs, unavailable)
    for (const { failure } of reports.values()) if (failure) throw unavailable(failure)
  }

  const isKnown = ({ collection, row }: StoredLetter) =>
    // One with more fields than are known here was written by a newer version: it would lose them.
    row.values.length <= (known.get(collection)?.slots.length ?? -1)

  return {
    async list(filter, page) {
      const [total, letters] = await Promise.all([
        coordination.countDeadLetters(filter),
        coordination.listDeadLetters(filter, page),
      ])
      return { total, letters }
    },

    async replay(filter, { dryRun }) {
      if (dryRun) return { matched: await coordination.countDeadLetters(filter), replayed: 0, refused: 0 }
      const bounded = await boundNow(filter)
      const result = { matched: await coordination.countDeadLetters(bounded), replayed: 0, refused: 0 }
      const { failedUntilMs } = bounded
      try {
        for await (const page of pages(bounded, buffer.room)) {
          const refusal = options.refusal()
          if (refusal) throw refusal
          const ids = page.map(({ id }) => id)
          const letters = await coordination.listDeadLetters({ ids, failedUntilMs }, { limit: ids.length })
          const usable = letters.filter(isKnown)
          result.refused += await replayPage(usable)
          result.replayed += usable.length
        }
      } catch (error) {
        if (!(error instanceof AppError) || result.replayed === 0) throw error
        log.warn('replay of dead letters stopped early', { meta: { ...result, reason: error.detail } })
        return result
      }
      log.info('dead letters replayed', { meta: { ...result } })
      return result
    },

    async purge(filter, { dryRun }) {
      if (dryRun) return { matched: await coordination.countDeadLetters(filter), purged: 0 }
      const bounded = await boundNow(filter)
      const result = { matched: await coordination.countDeadLetters(bounded), purged: 0 }
      for await (const page of pages(bounded, () => PAGE_ROWS))
        result.purged += await coordination.removeDeadLetters(page)
      log.info('dead letters purged', { meta: { ...result } })
      return result
    },
  }
}
