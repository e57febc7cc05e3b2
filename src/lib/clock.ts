/** Wall clock in whole milliseconds since the epoch; injected so that tests own the time. */
export interface Clock {
  nowMs(): number
}

/** The machine's own clocks: `monotonicMs` counts from some moment, and nothing sets it. */
export const systemClock: Clock & { monotonicMs(): number } = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
}
