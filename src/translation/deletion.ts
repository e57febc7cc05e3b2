/** Deleting a translation session with all that belongs to it, hard or soft, and taking a soft delete back. */
import type { RecordStore } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'
import type { StampSource } from '../buffer/stamp_source.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { isComplete, rowOf } from '../collections/row.ts'
import { laterOf, type Stamp } from '../collections/stamp.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { inTime } from '../lib/retry.ts'
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
  /**
   * Puts the tombstone of a session, up to what was examined; false where it was written to since. Once it is
   * there, `finish` has to follow.
   */
  condemnUnlessTouched(sessionId: string, examined: Examined): Promise<boolean>
  /** Removes everything of a session up to the stamp of its tombstone; answers how many tasks it removed itself. */
  finish(sessionId: string, stamp: Stamp): Promise<number>
  newestStored(sessionId: string): Promise<Stamp>
  /** Goes on with deletes that a dead instance, or an outage, left unfinished. */
  resume(): Promise<void>
  /**
   * Applies each delete once more when it is old enough: a statement of a killed instance may have been
   * waiting in the server, and committed after the rows were gone. Answers how many were repeated.
   */
  repeatDeletes(): Promise<number>
  /** Forgets deletes before which nothing can come any more; answers how many. */
  purgeTombstones(): Promise<number>
  /** Waits for deletes that go on after their answer. */
  settled(): Promise<void>
}

export interface Examined {
  /** The newest stamp of the session and its tasks. */
  stamp: Stamp
  /** The stamps of the session's row, read before anything else was. */
  seen: Uint8Array | null
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
  /** Age at which a delete is applied once more: by then no statement of before it is under way. */
  repeatAfterMs?: number
  /** How long tombstones are kept: nothing older than that is written any more. */
  keepMs?: number
}

/** A delete of more tasks than this is answered before it is finished. */
const MAX_TASKS_AT_ONCE = 100_000
const CHUNK_ROWS = 2000
/** How long each half of a delete is waited for: what is stored first, and the deleting itself. */
const WAIT_MS = 2000
const RESUME_AT_ONCE = 20
/** A younger one is left to whoever put its tombstone. */
const RESUME_AFTER_MS = 30_000
const REPEAT_AFTER_MS = 600_000
const KEEP_MS = 30 * 86_400_000
const PURGED_AT_ONCE = 1000

export function createDeletion(options: DeletionOptions): Deletion {
  const { router, buffer, coordination, stamps, reader, log } = options
  const { repeatAfterMs = REPEAT_AFTER_MS, keepMs = KEEP_MS } = options
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

  /**
   * The tombstone is there only if the session's row is the one that was examined, in one transaction: a
   * session that is opened again meanwhile, wherever, keeps everything.
   */
  async function condemnUnlessTouched(sessionId: string, { stamp, seen }: Examined): Promise<boolean> {
    const held = buffer.get(sessions, [sessionId]) !== undefined || buffer.group(tasks, sessionId).size > 0
    // A write to a task leaves the session's row as it was.
    if (held || (await newestStored(sessionId)) !== stamp) return false
    return coordination.putTombstoneIfUnchanged(sessions, sessionId, stamp, seen)
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
  async function eraseStored(
    sessionId: string,
    stamp: Stamp,
  ): Promise<{ removedSessions: number; removedTasks: number }> {
    const removedSessions = await eraseAll(router.records(sessions), sessions, sessionId, stamp)
    const removedTasks = await eraseAll(router.records(tasks), tasks, sessionId, stamp)
    for (const { name } of [sessions, tasks]) await coordination.deleteDeadLetters(name, sessionId, stamp)
    return { removedSessions, removedTasks }
  }

  async function finish(sessionId: string, stamp: Stamp): Promise<number> {
    await Promise.all([buffer.erase(tasks, sessionId, stamp), buffer.erase(sessions, sessionId, stamp)])
    const { removedTasks } = await eraseStored(sessionId, stamp)
    await coordination.finishTombstone(sessions.name, sessionId, stamp)
    return removedTasks
  }

  /**
   * What is buffered here is stored first, so that it is counted. Not for long: with much of other sessions in
   * the buffer it is voided where it is, which comes to the same.
   */
  async function storeFirst(): Promise<void> {
    const stored = buffer.flush([sessions, tasks]).then((reports) => {
      for (const { failure } of reports.values()) if (failure) throw failure
    })
    await inTime(stored, WAIT_MS)
  }

  /** Above everything stored, also what an instance with a clock ahead of ours has written. */
  function stampAbove(newest: Stamp): Stamp {
    const stamp = laterOf(stamps.next(), newest + 1n)
    stamps.observe(stamp) // what is accepted here from now on is newer
    return stamp
  }

  async function removeHard(sessionId: string): Promise<DeleteResult> {
    await storeFirst()
    const [row, count, erasing, newest] = await Promise.all([
      reader.sessionRow(sessionId),
      router.records(tasks).count(tasks, ofSession(sessionId), { limit: MAX_TASKS_AT_ONCE + 1 }),
      coordination.isBeingErased(sessions.name, sessionId),
      newestStored(sessionId),
    ])
    const stamp = stampAbove(newest)
    if (!erasing && count <= MAX_TASKS_AT_ONCE) {
      await coordination.putTombstone(sessions.name, sessionId, stamp)
      const work = finish(sessionId, stamp)
      const erased = await inTime(work, WAIT_MS)
      if (erased === undefined) {
        goOn(sessionId, work)
        if (row === null && count === 0) throw notFound(sessionId)
        return { status: 'deleting', deletedTasks: count }
      }
      // Also what isn't there is deleted: another instance may hold rows of it that were accepted before.
      if (row === null && count === 0 && erased === 0) throw notFound(sessionId)
      // Where another delete of it goes on beside this one, some of what was counted is erased by that.
      return { status: 'deleted', deletedTasks: Math.max(count, erased) }
    }
    const deletedTasks = erasing ? 0 : await router.records(tasks).count(tasks, ofSession(sessionId))
    await coordination.putTombstone(sessions.name, sessionId, stamp)
    later(sessionId, stamp)
    // A delete that is under way hides it already; this one takes what was written in the meantime.
    if (erasing) throw notFound(sessionId)
    return { status: 'deleting', deletedTasks }
  }

  /** One after the other: the second one of a session has little left to do. */
  function later(sessionId: string, stamp: Stamp): void {
    goOn(
      sessionId,
      (underWay.get(sessionId) ?? Promise.resolve()).then(() => finish(sessionId, stamp)),
    )
  }

  /** A delete that is not waited for any more. */
  function goOn(sessionId: string, finishing: Promise<number>): void {
    const work = finishing
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
      .finally(() => {
        if (underWay.get(sessionId) === work) underWay.delete(sessionId)
      })
    underWay.set(sessionId, work)
  }

  /** A stamped field on the session alone: the law makes it safe to write past the buffer. */
  async function mark(sessionId: string, deletedAt: number | null): Promise<void> {
    const row = rowOf(sessions, { session_id: sessionId, deleted_at: deletedAt }, stamps.next())
    const { refused } = await router.records(sessions).write(sessions, [row])
    if (refused.length > 0)
      throw new AppError('INTERNAL_ERROR', { cause: new TypeError(`refused: ${refused[0]!.code}`) })
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
    condemnUnlessTouched,
    finish,
    newestStored,
    remove: (sessionId) => (options.mode === 'soft' ? removeSoft(sessionId) : removeHard(sessionId)),

    /**
     * A purge that comes in between is harmless. Where its tombstone comes later, it finds that the row has
     * changed, and spares it. Where it came first, the mark makes a row of nothing but itself: everything else
     * is void, so it is not whole, is never shown (whoever reads it back answers 404) and goes with what
     * stays incomplete.
     */
    async undelete(sessionId) {
      const row = await reader.sessionRow(sessionId)
      if (!row || (await coordination.isBeingErased(sessions.name, sessionId))) throw notFound(sessionId)
      // What never became whole can't be shown; it stays hidden until it is, or is purged.
      if (!isComplete(sessions, row)) throw notFound(sessionId)
      if (!isHidden(row)) throw new AppError('SESSION_NOT_DELETED', { members: { session_id: sessionId } })
      await mark(sessionId, null)
    },

    async resume() {
      const unfinished = await coordination.unfinishedTombstones(RESUME_AFTER_MS, RESUME_AT_ONCE)
      for (const { collection, group, stamp } of unfinished) {
        if (collection !== sessions.name || underWay.has(group)) continue
        const removed = await finish(group, stamp)
        log.info('interrupted delete finished', { session_id: group, meta: { deleted_tasks: removed } })
      }
    },

    async repeatDeletes() {
      let repeated = 0
      while (true) {
        const due = await coordination.unrepeatedTombstones(repeatAfterMs, RESUME_AT_ONCE)
        for (const tombstone of due) {
          const { group, stamp } = tombstone // every tombstone is a session's
          const { removedSessions, removedTasks } = await eraseStored(group, stamp)
          if (removedSessions + removedTasks > 0) {
            log.warn('rows of before a delete had come back, and were removed again', {
              session_id: group,
              meta: { removed_sessions: removedSessions, removed_tasks: removedTasks },
            })
          }
          await coordination.markRepeated(tombstone)
        }
        repeated += due.length
        if (due.length < RESUME_AT_ONCE) return repeated
      }
    },

    async purgeTombstones() {
      let total = 0
      while (true) {
        const purged = await coordination.purgeTombstones(keepMs, PURGED_AT_ONCE)
        total += purged
        if (purged < PURGED_AT_ONCE) return total
      }
    },

    async settled() {
      await Promise.all(underWay.values())
    },
  }
}
