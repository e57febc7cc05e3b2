/** Waiting on a condition instead of on a guess of how long it takes. */

const POLL_MS = 20

interface UntilOptions {
  /** What was waited for, for the error; a function is asked when the time is up. */
  message: string | (() => string)
  timeoutMs?: number
}

/**
 * Asks again until the condition answers something truthy, and returns that. A condition that throws is
 * not true yet; the last thing thrown is the cause of the error at the end (10 s unless told).
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { message, timeoutMs = 10_000 }: UntilOptions,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs
  let cause: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value) return value
      cause = undefined
    } catch (error) {
      cause = error
    }
    if (performance.now() >= deadline) {
      const what = typeof message === 'string' ? message : message()
      throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause })
    }
    await Bun.sleep(POLL_MS)
  }
}
