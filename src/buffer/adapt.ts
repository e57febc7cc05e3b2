/** The batch size follows how long batches take: ARCHITECTURE_V2 §6.1. */
export interface BatchSize {
  rows(): number
  /** Tells how long a batch of about this size took. */
  observe(durationMs: number): void
}

interface BatchSizeOptions {
  startRows: number
  minRows: number
  maxRows: number
  stepRows: number
  /** Slower than this shrinks it. */
  slowMs: number
  /** Faster than this grows it. */
  fastMs: number
}

export function createBatchSize(options: BatchSizeOptions): BatchSize {
  const clamp = (rows: number) => Math.min(options.maxRows, Math.max(options.minRows, rows))
  let current = clamp(options.startRows)
  return {
    rows: () => current,
    observe(durationMs) {
      if (durationMs > options.slowMs) current = clamp(current - options.stepRows)
      else if (durationMs < options.fastMs) current = clamp(current + options.stepRows)
    },
  }
}
