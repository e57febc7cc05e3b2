/** Long work in short turns, so that requests are answered in between. */

const nextTurn = () => new Promise<void>((resume) => setImmediate(resume))

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
