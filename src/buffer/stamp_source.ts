/** Gives the stamps of one instance: each above the last one given or seen. */
import { MAX_INSTANCE_NUMBER, makeStamp, type Stamp, stampMs } from '../collections/stamp.ts'
import type { Clock } from '../lib/clock.ts'

export interface StampSource {
  next(): Stamp
  /** A stamp met in a stored row: the next one will be above it, unless it is more than a minute ahead. */
  observe(stamp: Stamp): void
  /** The high-water mark of a life before: every stamp from now on is above it, whatever the clock says. */
  resume(highWater: Stamp): void
  /** The last stamp given or seen. */
  last(): Stamp
}

const COUNTER_LIMIT = 4096
const TRUSTED_AHEAD_MS = 60_000

export function createStampSource(options: { clock: Clock; instanceNumber: () => number }): StampSource {
  let lastMs = 0
  let counter = 0

  function raise(stamp: Stamp): void {
    const ms = stampMs(stamp)
    if (ms < lastMs) return
    const seenCounter = Number((stamp >> 10n) & 0xfffn)
    counter = ms > lastMs ? seenCounter : Math.max(counter, seenCounter)
    lastMs = ms
  }

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
      if (stampMs(stamp) <= options.clock.nowMs() + TRUSTED_AHEAD_MS) raise(stamp)
    },
    resume: raise,
    // Of the number only the order below it matters.
    last: () => makeStamp(lastMs, counter, MAX_INSTANCE_NUMBER),
  }
}
