/** Counts in this process: what one instance lets through, whatever the others do. */
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import type { Limiter, LimiterOptions } from './rate_limit.ts'

/** The most windows that are open at once; each takes some 500 bytes. */
const MAX_KEYS = 50_000

/** The library takes as many keys as come. Past `maxKeys`, the window that has the least left is forgotten. */
export function createMemoryLimiter(
  { points, durationSeconds }: LimiterOptions,
  maxKeys = MAX_KEYS,
): Limiter {
  const limiter = new RateLimiterMemory({ points, duration: durationSeconds, keyPrefix: '' })
  const durationMs = durationSeconds * 1000
  /** The newest windows, in the order in which they began, in a ring. */
  const windows: { key: string; startedAtMs: number }[] = []
  let next = 0

  async function consume(key: string): Promise<RateLimiterRes> {
    try {
      return await limiter.consume(key)
    } catch (refused) {
      if (refused instanceof RateLimiterRes) return refused
      throw refused
    }
  }

  async function remember(key: string): Promise<void> {
    const startedAtMs = Date.now()
    const oldest = windows[next]
    windows[next] = { key, startedAtMs }
    next = (next + 1) % maxKeys
    // One that has ended is gone already, or its key has begun another.
    if (oldest && startedAtMs - oldest.startedAtMs < durationMs) await limiter.delete(oldest.key)
  }

  return {
    async take(key) {
      const { consumedPoints, remainingPoints, msBeforeNext, isFirstInDuration } = await consume(key)
      if (isFirstInDuration) await remember(key)
      return {
        allowed: consumedPoints <= points,
        remaining: remainingPoints,
        // A clock that was set back must not make anybody wait longer.
        resetMs: Math.min(msBeforeNext, durationMs),
      }
    },
  }
}
