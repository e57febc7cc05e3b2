/** Randomness from a seed, so that a run can be repeated with the same choices. */

/** A source of choices. */
export interface Random {
  /** A whole number from `from` to `to`, both included. */
  int(from: number, to: number): number
  /** True with this probability. */
  chance(probability: number): boolean
  pick<T>(list: readonly T[]): T
  /** A source of its own, so that what one part of a run does changes nothing for the others. */
  fork(): Random
}

/** Mulberry32: 32 bits of state are plenty for choosing what to send. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (from: number, to: number) => from + Math.floor(next() * (to - from + 1))
  return {
    int,
    chance: (probability) => next() < probability,
    pick: (list) => list[int(0, list.length - 1)]!,
    fork: () => randomFrom(int(0, 2 ** 32 - 1)),
  }
}

/** The seed that SEED names, else a new one. */
export function seedOf(text: string | undefined): number {
  const given = Number(text)
  if (text && Number.isSafeInteger(given)) return given >>> 0
  return crypto.getRandomValues(new Uint32Array(1))[0]!
}
