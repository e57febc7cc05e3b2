/** Deleting a translation session with all that belongs to it, hard or soft, and taking a soft delete back. */
import type { Coordination, RecordStore } from '../backends/backend.ts'
import type { StampSource } from '../buffer/stamp_source.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { isComplete, rowOf } from '../collections/row.ts'
import { laterOf, type Stamp } from '../collections/stamp.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { isHidden, notFound, type Reader } from './read.ts'

export interface DeleteResult {
  status: 'deleted' | 'deleting'
  deletedTasks: number
}

export interface Deletion {
  /** Throws SESSION_NOT_FOUND. Large sessions are finished after the answer. */
  remove(sessionId: string): Promise<DeleteResult>
  /** Throws SESSION_NOT_FOUND, SESSION_NOT_DELETED. */
  undelete(sessionId: string): Promise<void>
  /** Removes everything of a session up to the newest stamp that was seen; null where it was written to since. */
  eraseUnlessTouched(sessionId: string, stamp: Stamp): Promise<number | null>
  newestStored(sessionId: string): Promise<Stamp>
  /** Goes on with deletes that a dead instance, or an outage, left unfinished. */
  resume(): Promise<void>
  /** Waits for deletes that go on after their answer. */
  settled(): Promise<void>
}

interface DeletionOptions {
  router: CollectionRouter
  buffer: WriteBuffer
  coordination: Coordination
  stamps: StampSource
  reader: Reader
  mode: 'hard' | 'soft'
  log: Logger
  nowMs(): number
}

/** A delete of more tasks than this is answered before it is finished. */
const MAX_TASKS_AT_ONCE = 100_000
const CHUNK_ROWS = 2000
const RESUME_AT_ONCE = 20

export function createDeletion(options: DeletionOptions): Deletion {
  const { router, buffer, coordination, stamps, reader, log } = options
  const underWay = new Map<string, Promise<unknown>>()
  const ofSession = (sessionId: string) => [{ op: 'eq' as const, field: 'session_id', value: sessionId }]

  async function eraseAll(
    store: RecordStore,
    collection: typeof tasks,
    sessionId: string,
    stamp: Stamp,
  ): Promise<number> {
    let total = 0
    while (true) {
      const erased = await store.erase(collection, sessionId, stamp, CHUNK_ROWS)
      total += erased
      if (erased < CHUNK_ROWS) return total
    }
  }

  async function erase(sessionId: string, stamp: Stamp): Promise<number> {
    await coordination.putTombstone(sessions.name, sessionId, stamp)
    return finish(sessionId, stamp)
  }

  /**
   * The tombstone comes first, so that whoever writes to the session from now on is told that it is gone;
   * then a look whether anybody did before that.
   */
  async function eraseUnlessTouched(sessionId: string, stamp: Stamp): Promise<number | null> {
    await coordination.putTombstone(sessions.name, sessionId, stamp)
    let touched = true
    try {
      const held = buffer.get(sessions, [sessionId]) !== undefined || buffer.group(tasks, sessionId).size > 0
      touched = held || (await newestStored(sessionId)) > stamp
    } finally {
      // Also where the look failed: a tombstone that stays is carried out by `resume`, without a look.
      if (touched) await coordination.withdrawTombstone(sessions.name, sessionId, stamp)
    }
    return touched ? null : finish(sessionId, stamp)
  }

  /** The newest stamp of anything stored of a session. */
  async function newestStored(sessionId: string): Promise<Stamp> {
    const [ofSession, ofTasks] = await Promise.all([
      router.records(sessions).newestStamp(sessions, sessionId),
      router.records(tasks).newestStamp(tasks, sessionId),
    ])
    return laterOf(ofSession, ofTasks)
  }

  /** The session's own row first: what is left of it is in no list from then on. */
  async function finish(sessionId: string, stamp: Stamp): Promise<number> {
    await Promise.all([buffer.erase(tasks, sessionId, stamp), buffer.erase(sessions, sessionId, stamp)])
    await eraseAll(router.records(sessions), sessions, sessionId, stamp)
    const removed = await eraseAll(router.records(tasks), tasks, sessionId, stamp)
    for (const { name } of [sessions, tasks]) await coordination.deleteDeadLetters(name, sessionId, stamp)
    await coordination.finishTombstone(sessions.name, sessionId, stamp)
    return removed
  }

  /** What is buffered here is stored first, so that it is counted, and so that it exists. */
  async function storeFirst(): Promise<void> {
    for (const { failure } of (await buffer.flush([sessions, tasks])).values()) if (failure) throw failure
  }

  async function removeHard(sessionId: string): Promise<DeleteResult> {
    await storeFirst()
    const [row, count, erasing] = await Promise.all([
      reader.sessionRow(sessionId),
      router.records(tasks).count(tasks, ofSession(sessionId), { limit: MAX_TASKS_AT_ONCE + 1 }),
      coordination.isBeingErased(sessions.name, sessionId),
    ])
    if (erasing || (row === null && count === 0)) throw notFound(sessionId)
    // Above everything stored, also what an instance with a clock ahead of ours has written.
    const stamp = laterOf(stamps.next(), (await newestStored(sessionId)) + 1n)
    if (count <= MAX_TASKS_AT_ONCE) return { status: 'deleted', deletedTasks: await erase(sessionId, stamp) }
    const deletedTasks = await router.records(tasks).count(tasks, ofSession(sessionId))
    await coordination.putTombstone(sessions.name, sessionId, stamp)
    later(sessionId, stamp)
    return { status: 'deleting', deletedTasks }
  }

  function later(sessionId: string, stamp: Stamp): void {
    const work = finish(sessionId, stamp)
      .then((removed) =>
        log.info('delete finished', { session_id: sessionId, meta: { deleted_tasks: removed } }),
      )
      // The tombstone stays unfinished: `resume` takes it up.
      .catch((error) =>
        log.warn('delete interrupted, will be resumed', {
          session_id: sessionId,
          meta: { error: messageOf(error) },
        }),
      )
      .finally(() => underWay.delete(sessionId))
    underWay.set(sessionId, work)
  }

  /** A stamped field on the session alone: the law makes it safe to write past the buffer. */
  async function mark(sessionId: string, deletedAt: number | null): Promise<void> {
    const row = rowOf(sessions, { session_id: sessionId, deleted_at: deletedAt }, stamps.next())
    const { refused } = await router.records(sessions).write(sessions, [row])
    if (refused.length > 0) throw new AppError('INTERNAL_ERROR', { cause: new TypeError(refused[0]!.reason) })
  }

  async function removeSoft(sessionId: string): Promise<DeleteResult> {
    await storeFirst()
    const [row, deletedTasks, erasing] = await Promise.all([
      reader.sessionRow(sessionId),
      router.records(tasks).count(tasks, ofSession(sessionId)),
      coordination.isBeingErased(sessions.name, sessionId),
    ])
    if (erasing || (row ? isHidden(row) : deletedTasks === 0)) throw notFound(sessionId)
    await mark(sessionId, options.nowMs())
    return { status: 'deleted', deletedTasks }
  }

  return {
    eraseUnlessTouched,
    newestStored,
    remove: (sessionId) => (options.mode === 'soft' ? removeSoft(sessionId) : removeHard(sessionId)),

    async undelete(sessionId) {
      const row = await reader.sessionRow(sessionId)
      if (!row || (await coordination.isBeingErased(sessions.name, sessionId))) throw notFound(sessionId)
      // What never became whole can't be shown; it stays hidden until it is, or is purged.
      if (!isComplete(sessions, row)) throw notFound(sessionId)
      if (!isHidden(row)) throw new AppError('SESSION_NOT_DELETED', { members: { session_id: sessionId } })
      await mark(sessionId, null)
    },

    async resume() {
      for (const { collection, group, stamp } of await coordination.unfinishedTombstones(RESUME_AT_ONCE)) {
        if (collection !== sessions.name || underWay.has(group)) continue
        const removed = await finish(group, stamp)
        log.info('interrupted delete finished', { session_id: group, meta: { deleted_tasks: removed } })
      }
    },

    async settled() {
      await Promise.all(underWay.values())
    },
  }
}
