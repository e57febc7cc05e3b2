/** Finds the rows that a store refuses for what they are, by halving: O(k log n) statements for k bad rows. */
import { BackendError, type RefusedRow } from '../backend.ts'

const CONFLICT_ATTEMPTS = 5
/** Rows that are tried alone while all failed alike the last time. */
const PROBES = 4

/** What is remembered from call to call, where the rows go to the same table. */
export interface Isolation {
  /** The number with which all rows failed alike; null where that was not so the last time. */
  alike: string | null
  /** Where the next probes begin: every row gets its turn. */
  turn: number
}

export const newIsolation = (): Isolation => ({ alike: null, turn: 0 })

/**
 * Writes rows in one statement, and in halves where that fails. An outage is thrown at once; the whole
 * call may be repeated. A failure with a number nobody listed condemns a row only when another row of the
 * same call was stored: if all fail alike it is an outage. Finding that out takes a statement a row and more, so
 * it is remembered: as long as it goes on, a few rows are tried alone, and only if one is stored are all again.
 */
export async function writeIsolating<T>(
  rows: readonly T[],
  writeAll: (rows: readonly T[]) => Promise<void>,
  isolation: Isolation = newIsolation(),
): Promise<{ refused: RefusedRow[] }> {
  const refused: (RefusedRow & { error: BackendError })[] = []
  let stored = 0

  async function attempt(from: number, to: number, conflicts: number): Promise<void> {
    try {
      await writeAll(from === 0 && to === rows.length ? rows : rows.slice(from, to))
      stored += to - from
      return
    } catch (error) {
      if (!(error instanceof BackendError) || error.kind === 'outage') throw error
      if (error.kind === 'conflict' && conflicts + 1 >= CONFLICT_ATTEMPTS) throw outageOf(error)
      const isWhole = from === 0 && to === rows.length
      if (isWhole && error.kind === 'unknown' && isolation.alike === error.code) await probe(error.code)
      if (to - from === 1 && error.kind !== 'conflict') {
        refused.push({ index: from, code: error.code, reason: error.words.reveal(), error })
        return
      }
      const middle = to - from === 1 ? to : (from + to) >> 1
      const again = error.kind === 'conflict' ? conflicts + 1 : conflicts
      await attempt(from, middle, again)
      if (middle < to) await attempt(middle, to, again)
    }
  }

  /** Returns when a row is stored, or fails in another way; throws the outage while all go on to fail alike. */
  async function probe(alike: string): Promise<void> {
    let last: BackendError | null = null
    const step = Math.max(1, Math.floor(rows.length / PROBES))
    for (let n = 0; n < Math.min(PROBES, rows.length); n++) {
      const at = (isolation.turn + n * step) % rows.length
      try {
        await writeAll([rows[at]!])
        return
      } catch (error) {
        if (!(error instanceof BackendError) || error.kind === 'outage') throw error
        if (error.code !== alike) return
        last = error
      }
    }
    isolation.turn++
    throw outageOf(last!)
  }

  if (rows.length > 0) await attempt(0, rows.length, 0)
  const doubtful = refused.find(({ error }) => error.kind === 'unknown')
  isolation.alike = doubtful && stored === 0 ? doubtful.code : null
  if (isolation.alike !== null) throw outageOf(doubtful!.error)
  return { refused: refused.map(({ index, code, reason }) => ({ index, code, reason })) }
}

const outageOf = (error: BackendError) =>
  new BackendError('outage', error.code, error.message, { cause: error })
