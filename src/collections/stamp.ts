/**
 * A stamp: when and where a field was accepted. 64 bits: 42 of milliseconds since the epoch, 12 of
 * counter, 10 of the instance's number. Compared as an unsigned number, packed big-endian, so the
 * bytes compare in the same order. 0 = absent.
 */
export type Stamp = bigint

export const ABSENT: Stamp = 0n
export const STAMP_BYTES = 8
/** Instance numbers run from 0 (embedded) to 1023. */
export const MAX_INSTANCE_NUMBER = 1023

const COUNTER_BITS = 12n
const INSTANCE_BITS = 10n
const MS_SHIFT = COUNTER_BITS + INSTANCE_BITS

export function makeStamp(ms: number, counter: number, instance: number): Stamp {
  return (BigInt(ms) << MS_SHIFT) | (BigInt(counter) << INSTANCE_BITS) | BigInt(instance)
}

export function stampMs(stamp: Stamp): number {
  return Number(stamp >> MS_SHIFT)
}

/** Math.max is for numbers. */
export function laterOf(a: Stamp, b: Stamp): Stamp {
  if (b > a) return b
  return a
}

export function stampHex(stamp: Stamp): string {
  return stamp.toString(16).padStart(STAMP_BYTES * 2, '0')
}
