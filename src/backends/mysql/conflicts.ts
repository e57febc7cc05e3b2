/** What a deadlock, a lock wait or a failed certification rolled back is tried again: nothing of it was executed. */
import { createBackoff, pause } from '../../lib/retry.ts'
import { BackendError } from '../backend.ts'

const ATTEMPTS = 6
const PAUSE = { baseMs: 5, maxMs: 200 }

/**
 * Repeats what ended in a conflict while its time lasts; `work` is told how much of that is left. It must be
 * a transaction as a whole. On Galera conflicts are no accident: two nodes that change one row at the same
 * time both go ahead, and one of them is told so when it commits.
 */
export async function repeatingConflicts<T>(
  timeoutMs: number,
  work: (leftMs: number) => Promise<T>,
): Promise<T> {
  const until = performance.now() + timeoutMs
  const backoff = createBackoff(PAUSE)
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(Math.max(1, Math.round(until - performance.now())))
    } catch (error) {
      const pauseMs = backoff.nextMs()
      const conflict = error instanceof BackendError && error.kind === 'conflict'
      if (!conflict || attempt === ATTEMPTS || performance.now() + pauseMs >= until) throw error
      await pause(pauseMs)
    }
  }
}
