/** What the others can tell of an instance by its signs of life. */
import type { InstanceRecord } from '../backends/coordination.ts'

/** Without a sign for this long an instance counts as dead. */
export const DEAD_AFTER_MS = 5000
/** Dead for this long it does not count any more; its journal may still hold rows. */
export const LOST_AFTER_MS = 10 * 60_000

export type Liveness = 'live' | 'draining' | 'dead' | 'lost' | 'gone'

/** `nowMs` by the clock that the signs are of. An instance that ended with rows left gives no signs: dead. */
export function livenessOf({ state, seenAtMs }: InstanceRecord, nowMs: number): Liveness {
  if (state === 'gone') return 'gone'
  const silentMs = nowMs - seenAtMs
  if (silentMs > DEAD_AFTER_MS + LOST_AFTER_MS) return 'lost'
  return silentMs > DEAD_AFTER_MS ? 'dead' : state
}
