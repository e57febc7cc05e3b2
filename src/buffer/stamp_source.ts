/** Gives the stamps of one instance: each above the last one given or seen. */
import { makeStamp, type Stamp, stampMs } from '../collections/stamp.ts'
import type { Clock } from '../lib/clock.ts'

export interface StampSource {
  next(): Stamp
  /** A stamp met in a stored row: the next one will be above it, unless it is more than a minute ahead. */
  observe(stamp: Stamp): void
}

const COUNTER_LIMIT = 4096
const TRUSTED_AHEAD_MS = 60_000

export function createStampSource(options: { clock: Clock; instanceNumber: () => number }): StampSource {
  let lastMs = 0
  let counter = 0

  return {
    next() {
      const nowMs = options.clock.nowMs()
      if (nowMs > lastMs) {
        lastMs = nowMs
        counter = 0
      } else if (++counter === COUNTER_LIMIT) {
        lastMs++
        counter = 0
      }
      return makeStamp(lastMs, counter, options.instanceNumber())
    },
    observe(stamp) {
      const ms = stampMs(stamp)
      if (ms < lastMs || ms > options.clock.nowMs() + TRUSTED_AHEAD_MS) return
      const seenCounter = Number((stamp >> 10n) & 0xfffn)
      counter = ms > lastMs ? seenCounter : Math.max(counter, seenCounter)
      lastMs = ms
    },
  }
}
