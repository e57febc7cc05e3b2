/** Recovery: what was unfinished when Backend V2 went down, and handing it back. */
import type { Filter, RecordReader, Snapshot } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { Value } from '../collections/definition.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { type FlatRecord, flatten, isComplete, overlay, type Row } from '../collections/row.ts'
import { type Stamp, stampMs } from '../collections/stamp.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { formatTime } from '../lib/time.ts'
import { type Everywhere, naming } from './everywhere.ts'
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
/** At once. Each holds a snapshot, and megabytes where its client does not keep up. */
const MAX_RESTORES = 16
/** The part of a restore's time that the other instances may take to store what they hold. */
const OTHERS_SHARE = 2 / 3

export interface Restore {
  session: SessionDetail
  /** Unfinished tasks, in pages. Ends after the last one; throws where the snapshot can't be read on. */
  tasks: AsyncIterable<TaskDetail[]>
  /** Instances that may hold rows which are not part of it. */
  missing: string[]
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
  incomplete(): Promise<{ sessions: SessionSummary[]; missing: string[] }>
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
  everywhere: Everywhere
  /** Rows that came from journals, on all instances. */
  replayedRows(): Promise<number>
  /** The whole time of a restore until its answer begins. */
  timeoutMs: number
  onRestore(ok: boolean): void
}

const incompleteFilter: Filter = { op: 'in', field: 'status', values: UNFINISHED }
const isUnfinished = (status: Value | undefined) => (UNFINISHED as readonly unknown[]).includes(status)

export function createRecovery(options: RecoveryOptions): Recovery {
  const { router, buffer, coordination, clock, log, everywhere } = options

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
    const heldById = new Map(held.map((row) => [row.key[0]!, row]))
    const deletes = await coordination.tombstonesOf(sessions.name, [
      ...new Set([...records.keys(), ...heldById.keys()]),
    ])
    // What is buffered here may finish a stored session, begin a new one, or take one up again; what is older
    // than a delete was committed after it, by a statement that had waited in the server.
    const isLate = ([id, record]: [string, FlatRecord]) =>
      deletes.has(id) && (record.created_at as number) <= stampMs(deletes.get(id)!)
    const late = [...records].filter(isLate).map(([id]) => id)
    const keys = [...new Set([...heldById.keys(), ...late])].map((id) => [id])
    const found = keys.length > 0 ? await store.readMany(sessions, keys) : []
    const stored = new Map(found.map((row) => [row.key[0]!, row]))
    for (const [id] of keys as [string][]) {
      const whole = overlay(stored.get(id), heldById.get(id), deletes.get(id))
      const record = whole && isComplete(sessions, whole) && !isHidden(whole) && flatten(sessions, whole)
      if (record && isUnfinished(record.status)) records.set(id, record)
      else records.delete(id)
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

  /** Unfinished ones of these tasks, as they are with what is buffered, and without what the delete voids. */
  async function wholeTasks(
    snapshot: Snapshot,
    keys: readonly (readonly string[])[],
    held: ReadonlyMap<string, Row>,
    deleted: Stamp | undefined,
  ): Promise<TaskDetail[]> {
    const stored = new Map((await snapshot.readMany(tasks, keys)).map((row) => [row.key[1]!, row]))
    const rows = keys.flatMap(([, id]) => overlay(stored.get(id!), held.get(id!), deleted) ?? [])
    const shown = rows.filter((row) => isComplete(tasks, row)).map((row) => flatten(tasks, row))
    return shown.filter((record) => isUnfinished(record.status)).map(toTask)
  }

  /** Stored pages with what was buffered laid over them; then what only the buffer, or a filtered row, holds. */
  async function* unfinishedTasks(
    snapshot: Snapshot,
    sessionId: string,
    held: ReadonlyMap<string, Row>,
    deleted: Stamp | undefined,
  ): AsyncIterable<TaskDetail[]> {
    const filters: Filter[] = [
      { op: 'eq', field: 'session_id', value: sessionId },
      { op: 'complete' },
      incompleteFilter,
    ]
    // A row older than the delete was committed after it, by a statement that had waited in the server.
    const isPlain = (record: FlatRecord) =>
      !held.has(record.task_id as string) &&
      (deleted === undefined || (record.created_at as number) > stampMs(deleted))
    for await (const page of snapshot.scan(tasks, filters)) {
      const plain = page.filter(isPlain)
      if (plain.length > 0) yield plain.map(toTask)
      const late = page.filter((record) => !held.has(record.task_id as string) && !isPlain(record))
      if (late.length === 0) continue
      const keys = late.map((record) => [sessionId, record.task_id as string])
      const unfinished = await wholeTasks(snapshot, keys, held, deleted)
      if (unfinished.length > 0) yield unfinished
    }
    const keys = Array.from(held.values(), (row) => row.key)
    for (let i = 0; i < keys.length; i += LIST_PAGE_ROWS) {
      const unfinished = await wholeTasks(snapshot, keys.slice(i, i + LIST_PAGE_ROWS), held, deleted)
      if (unfinished.length > 0) yield unfinished
    }
  }

  let open = 0

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

  async function begin(sessionId: string): Promise<Restore> {
    const startedAt = performance.now()
    const { missing } = await everywhere.others(options.timeoutMs * OTHERS_SHARE)
    const timeoutMs = options.timeoutMs - (performance.now() - startedAt)
    // The buffer is read before the snapshot begins: a row flushed in between is in both, one of it is enough.
    const held = buffer.group(tasks, sessionId)
    const heldSession = buffer.get(sessions, [sessionId])
    const snapshot = await router.records(sessions).snapshot({ timeoutMs })
    try {
      const stored = await snapshot.read(sessions, [sessionId])
      // Snapshots take half of the pool at most. A delete that begins after this one is none of its business.
      const [erasing, deletes, deadLetters] = await Promise.all([
        coordination.isBeingErased(sessions.name, sessionId),
        coordination.tombstonesOf(sessions.name, [sessionId]),
        coordination.countDeadLetters({ collection: tasks.name, group: sessionId }),
      ])
      const deleted = deletes.get(sessionId)
      const row = overlay(stored, heldSession, deleted)
      if (!row || erasing || !isComplete(sessions, row) || isHidden(row))
        throw naming(notFound(sessionId), missing)
      const counts = await countsOf(snapshot, sessionId)
      return {
        session: toDetail(flatten(sessions, row), counts, deadLetters),
        tasks: unfinishedTasks(snapshot, sessionId, held, deleted),
        missing,
        finish: (tasksCount, ok) => finish(snapshot, sessionId, tasksCount, ok),
      }
    } catch (error) {
      await snapshot.close()
      throw error
    }
  }

  return {
    incomplete: () =>
      everywhere.afterOthers(async ({ missing }) => {
        const records = await incompleteRecords(SUMMARY_FIELDS)
        const ids = records.map((record) => record.session_id as string)
        const counts = await router.records(tasks).countByGroup(tasks, ids, [{ op: 'complete' }], 'status')
        return {
          sessions: records.map((record, i) => toSummary(record, counts.get(ids[i]!) ?? new Map())),
          missing,
        }
      }),

    async restore(sessionId) {
      if (open >= MAX_RESTORES) {
        throw new AppError('BUSY', {
          detail: `${MAX_RESTORES} restores are under way on this instance.`,
          retryAfterSeconds: 1,
        })
      }
      open += 1
      const leave = () => {
        open -= 1
      }
      const restore = await begin(sessionId).catch((error) => {
        leave()
        throw error
      })
      let finished: Promise<string> | null = null
      return {
        ...restore,
        finish(tasksCount, ok) {
          finished ??= restore.finish(tasksCount, ok).finally(leave)
          return finished
        },
      }
    },

    status: () =>
      everywhere.afterOthers(async ({ missing }) => {
        const [records, restores, counts, replayedRows] = await Promise.all([
          incompleteRecords([]),
          coordination.listRestores(RESTORES_SHOWN),
          coordination.countRestores(),
          options.replayedRows(),
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
          replayed_rows: replayedRows,
          success_rate: counts.total === 0 ? 100 : Math.round((counts.succeeded / counts.total) * 1000) / 10,
          missing_instances: missing,
        }
      }),
  }
}
