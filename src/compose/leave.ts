/** The end of an instance: store what is buffered, answer what is under way, then let go of everything. */
import type { BackendMonitor } from '../backends/monitor.ts'
import { heldBy } from '../buffer/journal.ts'
import type { JournalRecovery } from '../buffer/journal_recovery.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { InstanceRegistry } from '../cluster/instances.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { withDeadline } from '../lib/retry.ts'

/** A store that is gone can't be taken leave of. */
const CLOSE_TIMEOUT_MS = 500
/** The part of the shutdown's time that is kept for taking leave. */
const LEAVE_MS = 1000

/** Answers what is under way, within a time. */
export type CloseServer = (withinMs: number) => Promise<void>

/** `complete` = nothing of this instance is missing anywhere. */
export interface Left {
  complete: boolean
  rowsLeft: number
  rowsStored: number
}

interface LeaveOptions {
  timeoutMs: number
  buffer: WriteBuffer
  recovery: JournalRecovery | null
  /** Whether rows of a life before may still be in the journal alone. */
  journalRead(): boolean
  registry: InstanceRegistry
  /** Ends what runs in the background; resolves when it has. */
  settle(): Promise<unknown>
  /** Stops the timers: nothing needs them once the rows are stored. */
  stopTimers(): void
  monitors: Iterable<BackendMonitor>
  log: Logger
  closeServer: CloseServer | undefined
}

/** Stores what it can within the time, and says what is left. */
export async function leave(options: LeaveOptions): Promise<Left> {
  const { buffer, registry, log } = options
  const storedRows = () => buffer.status().collections.reduce((sum, { counts }) => sum + counts.stored, 0)

  /** Taking leave of a store that is gone takes no longer than that. */
  async function briefly(what: string, leaving: Promise<void>): Promise<void> {
    try {
      await withDeadline(leaving, CLOSE_TIMEOUT_MS, () => new TypeError('not done in time'))
    } catch (error) {
      log.warn(`${what} failed`, { meta: { error: messageOf(error) } })
    }
  }

  const storedBefore = storedRows()
  const endsAt = performance.now() + options.timeoutMs
  const drainMs = options.timeoutMs - Math.min(LEAVE_MS, options.timeoutMs / 4)
  // What of these is not finished stays in its journal, is taken up by another instance, or at the next start.
  const others = withDeadline(
    Promise.all([options.recovery?.stop(), options.settle()]),
    drainMs,
    () => new TypeError('work goes on'),
  ).catch((error) => log.debug('background work left', { meta: { error: messageOf(error) } }))
  await Promise.all([buffer.drain(drainMs), others])
  await options.closeServer?.(Math.max(0, endsAt - CLOSE_TIMEOUT_MS - performance.now()))
  // A flush may have ended meanwhile; rows of the journal that were not even read count as well.
  const rowsLeft = buffer.status().collections.reduce((sum, { counts }) => sum + heldBy(counts), 0)
  const complete = rowsLeft === 0 && options.journalRead()
  options.stopTimers()
  if (complete) await briefly('sign-off', registry.signOff())
  for (const monitor of options.monitors) {
    monitor.stop()
    await briefly(`closing ${monitor.backend.name}`, monitor.backend.close())
  }
  return { complete, rowsLeft, rowsStored: storedRows() - storedBefore }
}
