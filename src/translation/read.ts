/** Single sessions and tasks: the stored row, merged with what this instance has buffered of it. */
import type { RecordReader } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'
import type { StampSource } from '../buffer/stamp_source.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { type FlatRecord, flatten, isComplete, newestStamp, overlay, type Row } from '../collections/row.ts'
import { ABSENT, type Stamp } from '../collections/stamp.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import { AppError } from '../lib/errors.ts'
import { SHOWN } from './listing.ts'
import { type SessionDetail, type TaskDetail, toDetail, toTask } from './views.ts'

export interface Reader {
  /** Throws SESSION_NOT_FOUND. */
  session(sessionId: string): Promise<SessionDetail>
  /** The newest task of that id, or that of the session. Throws TASK_NOT_FOUND. */
  task(taskId: string, sessionId?: string): Promise<TaskDetail>
  /** Throws SESSION_NOT_FOUND where there is neither the session nor a task of it. */
  assertTasksReadable(sessionId: string): Promise<void>
  /**
   * The session's row, stored and buffered, without what a delete voids, whether it is shown or not; from
   * `reader` where one is given.
   */
  sessionRow(sessionId: string, reader?: RecordReader): Promise<Row | null>
  /** The session's record if it is shown. */
  shownSession(sessionId: string): Promise<FlatRecord | null>
  /** The session, if this instance has the whole of it buffered; needs no backend. */
  bufferedSession(sessionId: string): SessionDetail | null
}

interface ReaderOptions {
  router: CollectionRouter
  buffer: WriteBuffer
  coordination: Coordination
  stamps: StampSource
}

/** The newest of them may belong to a session that is being deleted: then it is the next one's turn. */
const STORED_CANDIDATES = 20

export function notFound(sessionId: string): AppError {
  return new AppError('SESSION_NOT_FOUND', { members: { session_id: sessionId } })
}

export const isHidden = (row: Row): boolean => (row.values[sessions.slotOf('deleted_at')] ?? null) !== null

export function createReader({ router, buffer, coordination, stamps }: ReaderOptions): Reader {
  /** A row with what is buffered of it; what is accepted here from now on is above what was seen. */
  function seen(
    stored: Row | undefined | null,
    held: Row | undefined,
    deleted: Stamp | undefined,
  ): Row | null {
    if (stored) stamps.observe(newestStamp(stored))
    return overlay(stored, held, deleted)
  }

  /**
   * The newest delete of each of the sessions. It is read beside their rows, not after them, and either order
   * is right: who began to read after a delete was committed finds its tombstone, which stays for 30 days,
   * and voids what is left, or was stored late, of before. Who began earlier may see the rows as they were
   * before it or after it, as if all at once: each row is on one side of it, since an erase changes a row in
   * one statement, and rows with something newer were written in view of the tombstone. What was accepted
   * after a delete is above it from now on, here as well: the stamp is observed.
   */
  async function deletesOf(sessionIds: readonly string[]): Promise<Map<string, Stamp>> {
    const deletes = await coordination.tombstonesOf(sessions.name, sessionIds)
    for (const stamp of deletes.values()) stamps.observe(stamp)
    return deletes
  }

  /** The session's row, and whether it is being deleted; one that never was deleted needs no look. */
  async function lookAt(
    sessionId: string,
    reader: RecordReader = router.records(sessions),
  ): Promise<{ row: Row | null; deleted: Stamp; erasing: boolean }> {
    // The buffer first: a row that is flushed while the store is read is then in one of them, or in both.
    const held = buffer.get(sessions, [sessionId])
    const [stored, [deleted, erasing]] = await Promise.all([
      reader.read(sessions, [sessionId]),
      deletesOf([sessionId]).then(async (deletes) => {
        const stamp = deletes.get(sessionId)
        if (stamp === undefined) return [undefined, false] as const
        return [stamp, await coordination.isBeingErased(sessions.name, sessionId)] as const
      }),
    ])
    return { row: seen(stored, held, deleted), deleted: deleted ?? ABSENT, erasing }
  }

  async function shownSession(sessionId: string): Promise<FlatRecord | null> {
    const { row, erasing } = await lookAt(sessionId)
    if (!row || erasing || !isComplete(sessions, row) || isHidden(row)) return null
    return flatten(sessions, row)
  }

  /** Tasks by key, stored and buffered, the newest first. */
  async function taskRows(keys: readonly (readonly string[])[]): Promise<Row[]> {
    const held = keys.map((key) => buffer.get(tasks, key))
    const [found, deletes] = await Promise.all([
      router.records(tasks).readMany(tasks, keys),
      deletesOf(keys.map((key) => key[0]!)),
    ])
    const stored = new Map(found.map((row) => [row.key[0]!, row]))
    return keys
      .flatMap((key, i) => seen(stored.get(key[0]!), held[i], deletes.get(key[0]!)) ?? [])
      .sort((a, b) => (newestStamp(a) < newestStamp(b) ? 1 : -1))
  }

  async function isTaskShown(row: Row): Promise<boolean> {
    if (!isComplete(tasks, row)) return false
    const { row: parent, erasing } = await lookAt(row.key[0]!)
    return !erasing && !(parent && isHidden(parent))
  }

  /** Keys under which a task of this id may be. */
  async function candidates(taskId: string): Promise<string[][]> {
    const held = buffer.withRest(tasks, taskId)
    const stored = await router.records(tasks).query(tasks, {
      filters: [...SHOWN, { op: 'eq', field: 'task_id', value: taskId }],
      sort: 'updated_at',
      descending: true,
      limit: STORED_CANDIDATES,
      fields: [],
    })
    const groups = new Set([
      ...held.map((row) => row.key[0]!),
      ...stored.map((record) => record.session_id as string),
    ])
    return [...groups].map((sessionId) => [sessionId, taskId])
  }

  return {
    sessionRow: async (sessionId, from) => (await lookAt(sessionId, from)).row,
    shownSession,

    bufferedSession(sessionId) {
      const held = buffer.get(sessions, [sessionId])
      if (!held || !isComplete(sessions, held) || isHidden(held)) return null
      return toDetail(flatten(sessions, held), new Map(), 0)
    },

    async session(sessionId) {
      const [record, counts, deadLetters] = await Promise.all([
        shownSession(sessionId),
        router
          .records(tasks)
          .countBy(
            tasks,
            [{ op: 'eq', field: 'session_id', value: sessionId }, { op: 'complete' }],
            'status',
          ),
        coordination.countDeadLetters({ collection: tasks.name, group: sessionId }),
      ])
      if (!record) throw notFound(sessionId)
      return toDetail(record, counts, deadLetters)
    },

    async task(taskId, sessionId) {
      const keys = sessionId === undefined ? await candidates(taskId) : [[sessionId, taskId]]
      for (const row of keys.length > 0 ? await taskRows(keys) : []) {
        if (await isTaskShown(row)) return toTask(flatten(tasks, row))
      }
      throw new AppError('TASK_NOT_FOUND', {
        members: { task_id: taskId, ...(sessionId !== undefined && { session_id: sessionId }) },
      })
    },

    async assertTasksReadable(sessionId) {
      const { row, deleted, erasing } = await lookAt(sessionId)
      if (erasing || (row && isHidden(row))) throw notFound(sessionId)
      if (row && isComplete(sessions, row)) return
      for (const held of buffer.group(tasks, sessionId).values()) if (newestStamp(held) > deleted) return
      const stored = await router
        .records(tasks)
        .count(tasks, [{ op: 'eq', field: 'session_id', value: sessionId }], { limit: 1 })
      if (stored === 0) throw notFound(sessionId)
    },
  }
}
