/** What a failure of SQLite is, by its result code. */
import { BackendError, type FailureKind } from '../backend.ts'

const KINDS: Record<number, FailureKind> = {
  18: 'too_large', // TOOBIG
  19: 'refused', // CONSTRAINT
  20: 'refused', // MISMATCH
  25: 'refused', // RANGE
}

/** SQLite's own messages name tables and columns alone; a trigger's may say anything. */
const TRIGGER = 'SQLITE_CONSTRAINT_TRIGGER'

/** Everything else (busy, locked, full, read-only, I/O, corrupt, can't open) is an outage of the store, never the row's fault. */
export function toBackendError(error: unknown): BackendError {
  if (error instanceof BackendError) return error
  const { errno, code } = error as { errno?: number; code?: string }
  const message = error instanceof Error ? error.message : String(error)
  // Extended codes carry the primary one in their low byte.
  const primary = typeof errno === 'number' ? errno & 0xff : undefined
  return new BackendError(
    (primary !== undefined && KINDS[primary]) || 'outage',
    code ?? String(errno ?? 'SQLITE'),
    code === TRIGGER ? 'refused by a trigger' : message,
    { words: message },
  )
}
