/** How long requests took. */

/** Milliseconds, except for the count; all 0 where nothing was measured. */
export interface LatencySummary {
  count: number
  p50: number
  p95: number
  p99: number
  max: number
}

export function summariseLatency(latenciesMs: readonly number[]): LatencySummary {
  const sorted = Float64Array.from(latenciesMs).sort()
  const at = (percent: number) => round(percentile(sorted, percent))
  return { count: sorted.length, p50: at(50), p95: at(95), p99: at(99), max: at(100) }
}

/** The least value that `percent` (0 to 100) of the sorted values do not exceed; 0 where there are none. */
export function percentile(sorted: ArrayLike<number>, percent: number): number {
  if (sorted.length === 0) return 0
  const rank = Math.ceil((percent / 100) * sorted.length)
  return sorted[Math.min(Math.max(rank, 1), sorted.length) - 1]!
}

function round(valueMs: number): number {
  return Math.round(valueMs * 100) / 100
}
