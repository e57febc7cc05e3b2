/**
 * The machine's clock corrected to the database's, so that all instances stamp by one clock. In between it runs
 * on the monotonic clock: what is done to the machine's clock while the process lives does not matter.
 */
import type { Clock } from '../lib/clock.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'

export interface DatabaseClock extends Clock {
  /** Takes the offset that the journal knows, until the database says better. */
  assume(offsetMs: number): void
  /** Begins to compare every minute. */
  start(): void
  stop(): void
  /** Compares with the database, a few times in a row. Throws when it can't be asked; the clock goes on then. */
  sample(): Promise<void>
  /** How far the database's clock is ahead of the machine's as that stands now; null before it was ever known. */
  offsetMs(): number | null
  /** How far off the clock may be; null before the first comparison of this process. */
  errorMs(): number | null
}

interface DatabaseClockOptions {
  /** One question to the database, and nothing else: what it takes is the error of the answer. */
  readDatabaseMs(): Promise<number>
  local: { nowMs(): number; monotonicMs(): number }
  log?: Logger
}

interface Sample {
  /** What the database's clock is ahead of the monotonic one. */
  offset: number
  roundTripMs: number
  takenAt: number
}

const SAMPLE_EVERY_MS = 60_000
/** A first question also opens a connection; the best of a few is near to the network's own time. */
const SAMPLES_IN_A_ROW = 5
const SAMPLES_KEPT = 40
/** The database answers in whole milliseconds. */
const RESOLUTION_MS = 1
/** Two quartzes drift apart by less than 100 parts in a million. */
const DRIFT = 100e-6
/** While it is ahead, the clock goes on at a tenth of its pace instead of back. */
const SLOW_PACE = 0.1

export function createDatabaseClock(options: DatabaseClockOptions): DatabaseClock {
  const { readDatabaseMs, local, log } = options
  /** Added to the monotonic clock; the machine's own time until something better is known. */
  let offset = local.nowMs() - local.monotonicMs()
  let known = false
  let samples: Sample[] = []
  /** What was shown last, and when. */
  let shown = Number.NEGATIVE_INFINITY
  let shownAt = local.monotonicMs()
  let timer: ReturnType<typeof setInterval> | null = null
  let sampling: Promise<void> | null = null

  const errorOf = ({ roundTripMs, takenAt }: Sample, at: number) =>
    roundTripMs / 2 + RESOLUTION_MS + (at - takenAt) * DRIFT

  function best(at: number): Sample | null {
    let found: Sample | null = null
    for (const one of samples) if (!found || errorOf(one, at) < errorOf(found, at)) found = one
    return found
  }

  function take(one: Sample): void {
    const first = samples.length === 0
    // Where two can't both be true, the database's clock was set, or is another's: the newest tells.
    samples = samples.filter(
      (old) => Math.abs(old.offset - one.offset) <= errorOf(old, one.takenAt) + errorOf(one, one.takenAt),
    )
    samples.push(one)
    if (samples.length > SAMPLES_KEPT) samples.shift()
    offset = best(one.takenAt)!.offset
    // What was shown before the first contact was nobody's time: a clock five minutes ahead is simply set.
    if (first) shown = Number.NEGATIVE_INFINITY
  }

  async function askOnce(): Promise<void> {
    const sentAt = local.monotonicMs()
    const databaseMs = await readDatabaseMs()
    const takenAt = local.monotonicMs()
    take({ offset: databaseMs - (sentAt + takenAt) / 2, roundTripMs: takenAt - sentAt, takenAt })
  }

  async function sampleAll(): Promise<void> {
    for (let i = 0; i < SAMPLES_IN_A_ROW; i++) await askOnce()
    known = true // not by the first answer alone, which is often the slowest
  }

  function sample(): Promise<void> {
    sampling ??= sampleAll().finally(() => {
      sampling = null
    })
    return sampling
  }

  function now(): number {
    const at = local.monotonicMs()
    shown = Math.max(at + offset, shown + (at - shownAt) * SLOW_PACE)
    shownAt = at
    return shown
  }

  return {
    assume(offsetMs) {
      if (known) return
      offset = local.nowMs() - local.monotonicMs() + offsetMs
      known = true
      shown = Number.NEGATIVE_INFINITY
    },
    nowMs: () => Math.floor(now()),
    sample,
    start() {
      timer ??= setInterval(() => {
        sample().catch((error) =>
          log?.debug('clock not compared with the database', { meta: { error: messageOf(error) } }),
        )
      }, SAMPLE_EVERY_MS)
    },
    stop() {
      if (timer) clearInterval(timer)
      timer = null
    },
    offsetMs: () => (known ? Math.round(local.monotonicMs() + offset - local.nowMs()) : null),
    errorMs() {
      const at = local.monotonicMs()
      const one = best(at)
      return one && errorOf(one, at)
    },
  }
}
