/** Wall clock in whole milliseconds since the epoch; injected so that tests own the time. */
export interface Clock {
  nowMs(): number
}

export const systemClock: Clock = { nowMs: () => Date.now() }
