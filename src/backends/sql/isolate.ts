/** Finds the rows that a store refuses for what they are, by halving: O(k log n) statements for k bad rows. */
import { BackendError, type RefusedRow } from '../backend.ts'

const CONFLICT_ATTEMPTS = 5

/**
 * Writes rows in one statement, and in halves where that fails. An outage is thrown at once; the whole
 * call may be repeated. A failure with a number nobody listed condemns a row only when another row of the
 * same call was stored: if all fail alike it is an outage.
 */
export async function writeIsolating<T>(
  rows: readonly T[],
  writeAll: (rows: readonly T[]) => Promise<void>,
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
      if (error.kind === 'conflict' && conflicts + 1 >= CONFLICT_ATTEMPTS) {
        throw new BackendError('outage', error.code, error.message, error)
      }
      if (to - from === 1 && error.kind !== 'conflict') {
        refused.push({ index: from, code: error.code, reason: error.message, error })
        return
      }
      const middle = to - from === 1 ? to : (from + to) >> 1
      const again = error.kind === 'conflict' ? conflicts + 1 : conflicts
      await attempt(from, middle, again)
      if (middle < to) await attempt(middle, to, again)
    }
  }

  if (rows.length > 0) await attempt(0, rows.length, 0)
  const doubtful = refused.find(({ error }) => error.kind === 'unknown')
  if (doubtful && stored === 0)
    throw new BackendError('outage', doubtful.code, doubtful.reason, doubtful.error)
  return { refused: refused.map(({ index, code, reason }) => ({ index, code, reason })) }
}
