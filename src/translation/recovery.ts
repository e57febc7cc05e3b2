/** Recovery: what was unfinished when Backend V2 went down, and handing it back. */
import type { Coordination, Filter, RecordReader, Snapshot } from '../backends/backend.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { Value } from '../collections/definition.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { type FlatRecord, flatten, isComplete, merge, type Row } from '../collections/row.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import type { Clock } from '../lib/clock.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { formatTime } from '../lib/time.ts'
import { SHOWN } from './listing.ts'
import { isHidden, notFound } from './read.ts'
import {
  type SessionDetail,
  type SessionSummary,
  type StatusCounts,
  SUMMARY_FIELDS,
  type TaskDetail,
  toDetail,
  toSummary,
  toTask,
} from './views.ts'

/** What Backend V2 goes on with. */
export const UNFINISHED = ['pending', 'processing'] as const
const LIST_PAGE_ROWS = 500
const RESTORES_SHOWN = 20

export interface Restore {
  session: SessionDetail
  /** Unfinished tasks, in pages. Ends after the last one; throws where the snapshot can't be read on. */
  tasks: AsyncIterable<TaskDetail[]>
  /** Ends the restore: how many tasks went out, and whether that was all of them. The first call counts. */
  finish(tasksCount: number, ok: boolean): Promise<string>
}

export interface RecoveryStatus {
  incomplete_sessions: number
  restores: {
    session_id: string
    tasks_count: number
    instance_id: string
    restored_at: string
    ok: boolean
  }[]
  replayed_rows: number
  success_rate: number
  missing_instances: string[]
}

export interface Recovery {
  incomplete(): Promise<SessionSummary[]>
  /** Throws SESSION_NOT_FOUND. */
  restore(sessionId: string): Promise<Restore>
  status(): Promise<RecoveryStatus>
}

interface RecoveryOptions {
  router: CollectionRouter
  buffer: WriteBuffer
  coordination: Coordination
  instanceId: string
  clock: Clock
  log: Logger
  timeoutMs: number
  onRestore(ok: boolean): void
}

const incompleteFilter: Filter = { op: 'in', field: 'status', values: UNFINISHED }
const isUnfinished = (status: Value | undefined) => (UNFINISHED as readonly unknown[]).includes(status)

export function createRecovery(options: RecoveryOptions): Recovery {
  const { router, buffer, coordination, clock, log } = options

  /** Unfinished sessions, the newest first, with no more fields than asked for. */
  async function incompleteRecords(fields: readonly string[]): Promise<FlatRecord[]> {
    const store = router.records(sessions)
    const held = buffer.all(sessions)
    const records = new Map<string, FlatRecord>()
    let after: Value[] | undefined
    while (true) {
      const page = await store.query(sessions, {
        filters: [...SHOWN, incompleteFilter],
        sort: 'created_at',
        descending: true,
        limit: LIST_PAGE_ROWS,
        fields,
        ...(after && { after }),
      })
      for (const record of page) records.set(record.session_id as string, record)
      if (page.length < LIST_PAGE_ROWS) break
      after = [page.at(-1)!.created_at!, page.at(-1)!.session_id!]
    }
    // What is buffered here may finish a stored session, begin a new one, or take one up again.
    const found =
      held.length > 0
        ? await store.readMany(
            sessions,
            held.map((row) => row.key),
          )
        : []
    const stored = new Map(found.map((row) => [row.key[0]!, row]))
    for (const row of held) {
      const under = stored.get(row.key[0]!)
      const whole = under ? merge(under, row) : row
      const record = flatten(sessions, whole)
      if (isComplete(sessions, whole) && !isHidden(whole) && isUnfinished(record.status))
        records.set(row.key[0]!, record)
      else records.delete(row.key[0]!)
    }
    return [...records.values()].sort((a, b) => (b.created_at as number) - (a.created_at as number))
  }

  /** The stored tasks of a session by status. */
  async function countsOf(snapshot: RecordReader, sessionId: string): Promise<StatusCounts> {
    return snapshot.countBy(
      tasks,
      [{ op: 'eq', field: 'session_id', value: sessionId }, { op: 'complete' }],
      'status',
    )
  }

  /** Stored pages with what was buffered laid over them; then what only the buffer, or a filtered row, holds. */
  async function* unfinishedTasks(
    snapshot: Snapshot,
    sessionId: string,
    held: Map<string, Row>,
  ): AsyncIterable<TaskDetail[]> {
    const filters: Filter[] = [
      { op: 'eq', field: 'session_id', value: sessionId },
      { op: 'complete' },
      incompleteFilter,
    ]
    for await (const page of snapshot.scan(tasks, filters)) {
      const plain = held.size === 0 ? page : page.filter((record) => !held.has(record.task_id as string))
      if (plain.length > 0) yield plain.map(toTask)
    }
    const rows = [...held.values()]
    for (let i = 0; i < rows.length; i += LIST_PAGE_ROWS) {
      const part = rows.slice(i, i + LIST_PAGE_ROWS)
      const stored = new Map(
        (
          await snapshot.readMany(
            tasks,
            part.map((row) => row.key),
          )
        ).map((row) => [row.key[1]!, row]),
      )
      const whole = part.map((row) => {
        const under = stored.get(row.key[1]!)
        return under ? merge(under, row) : row
      })
      const shown = whole.filter((row) => isComplete(tasks, row)).map((row) => flatten(tasks, row))
      const unfinished = shown.filter((record) => isUnfinished(record.status))
      if (unfinished.length > 0) yield unfinished.map(toTask)
    }
  }

  async function finish(
    snapshot: Snapshot,
    sessionId: string,
    tasksCount: number,
    ok: boolean,
  ): Promise<string> {
    const restoredAtMs = clock.nowMs()
    options.onRestore(ok)
    await snapshot.close()
    await coordination
      .putRestore({ sessionId, tasksCount, instanceId: options.instanceId, restoredAtMs, ok })
      // The client has its data: a history that can't be written is no reason to fail it.
      .catch((error) =>
        log.warn('restore not recorded', { session_id: sessionId, meta: { error: messageOf(error) } }),
      )
    return formatTime(restoredAtMs)
  }

  return {
    async incomplete() {
      const records = await incompleteRecords(SUMMARY_FIELDS)
      const counts = await router.records(tasks).countByGroup(
        tasks,
        records.map((record) => record.session_id as string),
        [{ op: 'complete' }],
        'status',
      )
      return records.map((record) => toSummary(record, counts.get(record.session_id as string) ?? new Map()))
    },

    async restore(sessionId) {
      // The buffer is read before the snapshot begins: a row flushed in between is in both, one of it is enough.
      const held = buffer.group(tasks, sessionId)
      const heldSession = buffer.get(sessions, [sessionId])
      const snapshot = await router.records(sessions).snapshot({ timeoutMs: options.timeoutMs })
      try {
        const stored = await snapshot.read(sessions, [sessionId])
        // Snapshots take half of the pool at most. A delete that begins after this one is none of its business.
        const [erasing, deadLetters] = await Promise.all([
          coordination.isBeingErased(sessions.name, sessionId),
          coordination.countDeadLetters(tasks.name, sessionId),
        ])
        const row = stored && heldSession ? merge(stored, heldSession) : (heldSession ?? stored)
        if (!row || erasing || !isComplete(sessions, row) || isHidden(row)) throw notFound(sessionId)
        const counts = await countsOf(snapshot, sessionId)
        let finished: Promise<string> | null = null
        return {
          session: toDetail(flatten(sessions, row), counts, deadLetters),
          tasks: unfinishedTasks(snapshot, sessionId, held),
          finish(tasksCount, ok) {
            finished ??= finish(snapshot, sessionId, tasksCount, ok)
            return finished
          },
        }
      } catch (error) {
        await snapshot.close()
        throw error
      }
    },

    async status() {
      const [records, restores, counts] = await Promise.all([
        incompleteRecords([]),
        coordination.listRestores(RESTORES_SHOWN),
        coordination.countRestores(),
      ])
      return {
        incomplete_sessions: records.length,
        restores: restores.map((restore) => ({
          session_id: restore.sessionId,
          tasks_count: restore.tasksCount,
          instance_id: restore.instanceId,
          restored_at: formatTime(restore.restoredAtMs),
          ok: restore.ok,
        })),
        replayed_rows: 0,
        success_rate: counts.total === 0 ? 100 : Math.round((counts.succeeded / counts.total) * 1000) / 10,
        missing_instances: [],
      }
    },
  }
}
