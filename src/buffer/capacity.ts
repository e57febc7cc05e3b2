/** The hard limit: past it nothing is taken, until the buffer has fallen to a share of it. */
import { AppError } from '../lib/errors.ts'

interface CapacityOptions {
  config: { max_rows: number; max_bytes: number }
  held(): { rows: number; bytes: number }
  onFull(): void
}

export interface Capacity {
  /**
   * Keeps room for rows that are about to be taken; what it answers gives it back, once. Throws BUFFER_FULL,
   * with the time after which there is room at the rate of recent flushes, and PAYLOAD_TOO_LARGE.
   */
  reserve(rows: readonly { bytes: number }[]): () => void
  /** A flush has stored rows. */
  observe(collection: string, rows: number, durationMs: number): void
  /** Rows a second that recent flushes stored. */
  drainRate(collection: string): number
  /** Rows below the mark at which a full buffer takes rows again. */
  room(): number
  full(): boolean
}

/** Past the hard limit, rows are taken again below this share of it. */
const RESUME_SHARE = 0.8
const DEFAULT_RETRY_AFTER_SECONDS = 5
const MAX_RETRY_AFTER_SECONDS = 60
/** How much the newest flush counts. */
const NEWEST_SHARE = 0.3

export function createCapacity({ config, held, onFull }: CapacityOptions): Capacity {
  let full = false
  let reservedRows = 0
  let reservedBytes = 0
  const rates = new Map<string, number>()

  const all = () => {
    const { rows, bytes } = held()
    return { rows: rows + reservedRows, bytes: bytes + reservedBytes }
  }

  const isDrained = ({ rows, bytes }: { rows: number; bytes: number }) =>
    rows <= config.max_rows * RESUME_SHARE && bytes <= config.max_bytes * RESUME_SHARE

  function retryAfterSeconds({ rows, bytes }: { rows: number; bytes: number }): number {
    const rate = [...rates.values()].reduce((sum, one) => sum + one, 0)
    // Bytes too much are so many rows of the mean size.
    const excessBytes = bytes - config.max_bytes * RESUME_SHARE
    const excess = Math.max(rows - config.max_rows * RESUME_SHARE, (excessBytes * rows) / Math.max(1, bytes))
    const seconds = rate > 0 ? Math.max(1, excess / rate) : DEFAULT_RETRY_AFTER_SECONDS
    return Math.min(MAX_RETRY_AFTER_SECONDS, seconds)
  }

  return {
    reserve(given) {
      const rows = given.length
      const bytes = given.reduce((sum, one) => sum + one.bytes, 0)
      if (rows > config.max_rows || bytes > config.max_bytes) {
        throw new AppError('PAYLOAD_TOO_LARGE', {
          detail: `The write buffer never holds so much: ${rows} rows, ${bytes} bytes.`,
        })
      }
      const now = all()
      if (isDrained(now)) full = false
      full ||= now.rows + rows > config.max_rows || now.bytes + bytes > config.max_bytes
      if (full) {
        onFull()
        throw new AppError('BUFFER_FULL', {
          detail: 'The write buffer is at its limit; nothing of this request was accepted.',
          retryAfterSeconds: retryAfterSeconds(now),
        })
      }
      reservedRows += rows
      reservedBytes += bytes
      let kept = true
      return () => {
        if (!kept) return
        kept = false
        reservedRows -= rows
        reservedBytes -= bytes
      }
    },

    observe(collection, rows, durationMs) {
      if (rows === 0) return
      const rate = rows / Math.max(0.001, durationMs / 1000)
      const known = rates.get(collection)
      rates.set(collection, known === undefined ? rate : known * (1 - NEWEST_SHARE) + rate * NEWEST_SHARE)
    },
    drainRate: (collection) => rates.get(collection) ?? 0,
    room() {
      const { rows, bytes } = all()
      if (bytes > config.max_bytes * RESUME_SHARE) return 0
      return Math.max(0, Math.floor(config.max_rows * RESUME_SHARE) - rows)
    },
    full: () => full && !isDrained(all()),
  }
}
