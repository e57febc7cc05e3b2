/** Several workers on one queue, and the pace that they keep. */
import { setTimeout as delay } from 'node:timers/promises'

interface ParallelOptions {
  /** Items worked on at the same time. */
  width: number
  /** Aborted with the first error, which the call then rejects with; nothing new is begun. */
  stop: AbortController
}

export async function inParallel<T>(
  items: Iterable<T>,
  { width, stop }: ParallelOptions,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items[Symbol.iterator]()
  const worker = async () => {
    try {
      while (!stop.signal.aborted) {
        const next = queue.next()
        if (next.done) return
        await work(next.value)
      }
    } catch (error) {
      stop.abort(error)
    }
  }
  await Promise.all(Array.from({ length: width }, worker))
  stop.signal.throwIfAborted()
}

/**
 * When work of a given size may begin, so that `perSecond` is kept on average; 0 is no limit. Time lost is
 * not caught up with: a stall is followed by the same pace, not by a burst.
 */
export function createPace(perSecond: number): { reserveMs(size: number, nowMs: number): number } {
  let freeMs = Number.NEGATIVE_INFINITY
  return {
    reserveMs(size, nowMs) {
      if (perSecond === 0) return 0
      const beginMs = Math.max(nowMs, freeMs)
      freeMs = beginMs + (size / perSecond) * 1000
      return beginMs - nowMs
    },
  }
}

/** Resolves after `ms`; rejects with the reason of `signal`. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) return
  try {
    await delay(ms, undefined, { signal })
  } catch (error) {
    signal.throwIfAborted()
    throw error
  }
}
