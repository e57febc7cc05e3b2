/** Long work in short turns, so that requests are answered in between. */

// Taken once: a test that owns the timers owns the clock, not the event loop.
const { setImmediate: soon } = globalThis

/** Lets the event loop turn. */
export const nextTurn = (): Promise<void> => new Promise<void>((resume) => soon(resume))

/** Runs work that yields wherever others may go first, and lets the event loop turn there. */
export async function turnByTurn<T>(work: Generator<void, T>): Promise<T> {
  for (;;) {
    const step = work.next()
    if (step.done) return step.value
    await nextTurn()
  }
}

/** The same without a turn: for who can't wait, or has nobody to wait for. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next()
    if (step.done) return step.value
  }
}

/** Calls `work` with one slice after the other, and lets the event loop turn between them. */
export async function inTurns<T>(
  items: readonly T[],
  size: number,
  work: (slice: readonly T[]) => void | Promise<void>,
): Promise<void> {
  for (let from = 0; from < items.length; from += size) {
    if (from > 0) await nextTurn()
    await work(items.length <= size ? items : items.slice(from, from + size))
  }
}
