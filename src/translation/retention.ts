/** Removing what is old: finished sessions, soft-deleted ones, and what never became whole. */
import type { Filter } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import type { Clock } from '../lib/clock.ts'
import { AppError } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import type { Deletion, Examined } from './deletion.ts'

export interface RetentionDays {
  completedDays: number
  /** For cancelled sessions too. */
  failedDays: number
}

export interface CleanupResult {
  deletedSessions: number
  deletedTasks: number
}

/** What a round removed. */
export interface RetentionResult extends CleanupResult {
  incompleteSessions: number
  incompleteTasks: number
  parentlessTasks: number
}

export interface Retention {
  /** Throws BACKEND_UNAVAILABLE, with `missing_instances`, where one of those may hold something newer. */
  cleanup(days: RetentionDays, options: { dryRun: boolean }): Promise<CleanupResult>
  /**
   * The timer's round: finished and soft-deleted sessions, then what stayed incomplete or parentless. Null
   * where it was put off, because an instance may hold something newer; where that came up on the way, the rest
   * is put off.
   */
  run(): Promise<RetentionResult | null>
}

interface RetentionOptions {
  router: CollectionRouter
  coordination: Coordination
  buffer: WriteBuffer
  deletion: Deletion
  /** Lets every other live instance store what it has accepted; names those that did not, or that are dead. */
  storedByAll(): Promise<{ missing: readonly string[] }>
  clock: Clock
  log: Logger
  days: RetentionDays & { deletedDays: number; incompleteDays: number }
}

const DAY_MS = 86_400_000
/** By then an instance that hung has stored what it holds, or stopped counting as live. */
const RETRY_AFTER_S = 10
const EXAMINED_AT_ONCE = 100
const PURGED_AT_ONCE = 1000

export function createRetention({
  router,
  coordination,
  buffer,
  deletion,
  storedByAll,
  clock,
  log,
  days: configured,
}: RetentionOptions): Retention {
  const cutoff = (days: number) => clock.nowMs() - days * DAY_MS
  const olderThan = (field: string, days: number): Filter => ({ op: 'lt', field, value: cutoff(days) })

  /** Sessions whose time is up; soft-deleted ones by when they were deleted, whatever their status. */
  const expired = ({ completedDays, failedDays }: RetentionDays): Filter[][] => [
    [
      { op: 'visible' },
      { op: 'eq', field: 'status', value: 'completed' },
      olderThan('updated_at', completedDays),
    ],
    [
      { op: 'visible' },
      { op: 'in', field: 'status', values: ['failed', 'cancelled'] },
      olderThan('updated_at', failedDays),
    ],
    [{ op: 'hidden' }, olderThan('deleted_at', configured.deletedDays)],
  ]

  async function* sessionsOf(filters: readonly Filter[]): AsyncIterable<string[]> {
    let after: string[] | undefined
    while (true) {
      const page = await router.records(sessions).query(sessions, {
        filters,
        sort: 'key',
        descending: false,
        limit: EXAMINED_AT_ONCE,
        fields: [],
        ...(after && { after }),
      })
      const ids = page.map((record) => record.session_id as string)
      if (ids.length > 0) yield ids
      if (ids.length < EXAMINED_AT_ONCE) return
      after = [ids.at(-1)!]
    }
  }

  const ofSession = (sessionId: string): Filter => ({ op: 'eq', field: 'session_id', value: sessionId })

  /** Sessions to which this instance has accepted something lately: they are not done, whatever is stored. */
  const heldHere = () => new Set([...buffer.all(sessions), ...buffer.all(tasks)].map((row) => row.key[0]!))

  interface Found extends Examined {
    sessionId: string
    tasks: number
  }

  /** Null = spared. The row's stamps are read first, so a write during the look changes what they are later. */
  async function examine(sessionId: string, filters: readonly Filter[]): Promise<Found | null> {
    const seen = await coordination.stampsOf(sessions, sessionId)
    const [stamp, stillExpired, ofTasks] = await Promise.all([
      deletion.newestStored(sessionId),
      router.records(sessions).count(sessions, [...filters, ofSession(sessionId)]),
      router.records(tasks).count(tasks, [ofSession(sessionId)]),
    ])
    return stillExpired === 0 ? null : { sessionId, seen, stamp, tasks: ofTasks }
  }

  /**
   * Deletes up to the newest stamps that were seen. Everybody stores after the look: what was accepted before
   * that, wherever, shows as a change of what was seen, and spares its session. All tombstones are put before
   * anything is erased, which may take long: until its tombstone is there, a session may still be opened again.
   */
  async function removePage(
    ids: readonly string[],
    filters: readonly Filter[],
  ): Promise<CleanupResult & { missing: readonly string[] }> {
    const result = { deletedSessions: 0, deletedTasks: 0, missing: [] as readonly string[] }
    const examined: Found[] = []
    for (const id of ids) {
      const found = await examine(id, filters)
      if (found) examined.push(found)
    }
    if (examined.length === 0) return result
    const missing = await storeFirst()
    if (missing.length > 0) return { ...result, missing }
    const condemned: Found[] = []
    for (const found of examined) {
      if (await deletion.condemnUnlessTouched(found.sessionId, found)) condemned.push(found)
    }
    for (const found of condemned) {
      await deletion.finish(found.sessionId, found.stamp)
      result.deletedSessions++
      result.deletedTasks += found.tasks
    }
    return result
  }

  /** Stops where an instance is missing, and names it: what was removed until then is removed. */
  async function removeExpired(
    days: RetentionDays,
    spared: ReadonlySet<string>,
  ): Promise<{ removed: CleanupResult; missing: readonly string[] }> {
    const removed = { deletedSessions: 0, deletedTasks: 0 }
    for (const filters of expired(days)) {
      for await (const ids of sessionsOf(filters)) {
        const { missing, ...page } = await removePage(
          ids.filter((id) => !spared.has(id)),
          filters,
        )
        removed.deletedSessions += page.deletedSessions
        removed.deletedTasks += page.deletedTasks
        if (missing.length > 0) return { removed, missing }
      }
    }
    return { removed, missing: [] }
  }

  async function countExpired(days: RetentionDays, spared: ReadonlySet<string>): Promise<CleanupResult> {
    const result = { deletedSessions: 0, deletedTasks: 0 }
    for (const filters of expired(days)) {
      for await (const ids of sessionsOf(filters)) {
        for (const sessionId of ids) {
          if (spared.has(sessionId)) continue
          result.deletedSessions++
          result.deletedTasks += await router.records(tasks).count(tasks, [ofSession(sessionId)])
        }
      }
    }
    return result
  }

  /** Everybody's rows are stored; names the instances that may hold newer ones. */
  async function storeFirst(): Promise<readonly string[]> {
    const [own, { missing }] = await Promise.all([buffer.flush([sessions, tasks]), storedByAll()])
    for (const { failure } of own.values()) if (failure) throw failure
    return missing
  }

  async function cleanup(days: RetentionDays, { dryRun }: { dryRun: boolean }): Promise<CleanupResult> {
    const spared = heldHere()
    if (dryRun) return countExpired(days, spared)
    const { removed, missing } = await removeExpired(days, spared)
    if (missing.length === 0) return removed
    const { deletedSessions: done } = removed
    const what = done === 0 ? 'Nothing was' : `No more than ${done} sessions were`
    throw new AppError('BACKEND_UNAVAILABLE', {
      detail: `${what} removed: some instances did not store what they hold, which may be newer.`,
      members: { missing_instances: missing },
      retryAfterSeconds: RETRY_AFTER_S,
    })
  }

  async function purgeAll(collection: typeof tasks, filters: readonly Filter[]): Promise<number> {
    let total = 0
    while (true) {
      const purged = await router.records(collection).purge(collection, filters, PURGED_AT_ONCE)
      total += purged
      if (purged < PURGED_AT_ONCE) return total
    }
  }

  /**
   * Rows that never became whole, a day's at a time: no statement looks at more. What was examined needs no
   * second look, which the database remembers for all instances. The DELETE's own condition is the whole
   * examination: a row that is written meanwhile is locked by one of the two statements, and is then either
   * whole or younger, so what goes has the stamps that were examined.
   */
  async function purgeIncomplete(collection: typeof tasks, also: readonly Filter[]): Promise<number> {
    const fact = `retention:${collection.name}`
    const until = cutoff(configured.incompleteDays)
    const known = await coordination.getFact(fact)
    let from: number | null =
      known === null ? 0 : (JSON.parse(known) as { examined_until: number }).examined_until
    let total = 0
    while (from !== null && from < until) {
      const next = await oldestAfter(collection, from)
      if (next === null || next >= until) break
      from = Math.min(next + DAY_MS, until)
      const day: Filter[] = [
        { op: 'gte', field: 'updated_at', value: next },
        { op: 'lt', field: 'updated_at', value: from },
      ]
      total += await purgeAll(collection, [{ op: 'incomplete' }, ...also, ...day])
    }
    await coordination.putFact(fact, JSON.stringify({ examined_until: until }))
    return total
  }

  async function oldestAfter(collection: typeof tasks, fromMs: number): Promise<number | null> {
    const [oldest] = await router.records(collection).query(collection, {
      filters: [{ op: 'gte', field: 'updated_at', value: fromMs }],
      sort: 'updated_at',
      descending: false,
      limit: 1,
      fields: [],
    })
    return oldest ? (oldest.updated_at as number) : null
  }

  /**
   * Groups of tasks that have no session, all of them old. Here too the DELETE examines what it deletes; a
   * session that arrives in that very moment is one that came after it.
   */
  async function purgeOrphans(): Promise<number> {
    const old = olderThan('updated_at', configured.incompleteDays)
    let total = 0
    let after = ''
    while (true) {
      const groups = await router.records(tasks).groups(tasks, after, EXAMINED_AT_ONCE)
      const held = new Set(buffer.all(sessions).map((row) => row.key[0]!))
      const found =
        groups.length > 0
          ? await router.records(sessions).readMany(
              sessions,
              groups.map((group) => [group]),
            )
          : []
      const withSession = new Set(found.map((row) => row.key[0]!))
      for (const group of groups) {
        if (withSession.has(group) || held.has(group)) continue
        total += await purgeAll(tasks, [
          { op: 'eq', field: 'session_id', value: group },
          { op: 'orphan' },
          old,
        ])
      }
      if (groups.length < EXAMINED_AT_ONCE) return total
      after = groups.at(-1)!
    }
  }

  return {
    cleanup,
    async run() {
      const spared = heldHere()
      const { removed, missing: notStored } = await removeExpired(configured, spared)
      // What stays incomplete or parentless may lack what others have yet to store.
      const missing = notStored.length > 0 ? notStored : await storeFirst()
      if (missing.length > 0) {
        log.warn('retention put off: some instances did not store what they hold', {
          meta: { missing_instances: missing },
        })
        if (removed.deletedSessions === 0) return null
        return { ...removed, incompleteSessions: 0, incompleteTasks: 0, parentlessTasks: 0 }
      }
      const result = {
        ...removed,
        incompleteSessions: await purgeIncomplete(sessions, [{ op: 'visible' }]),
        incompleteTasks: await purgeIncomplete(tasks, []),
        parentlessTasks: await purgeOrphans(),
      }
      log.info('retention finished', {
        meta: {
          deleted_sessions: result.deletedSessions,
          deleted_tasks: result.deletedTasks,
          incomplete_sessions: result.incompleteSessions,
          incomplete_tasks: result.incompleteTasks,
          parentless_tasks: result.parentlessTasks,
        },
      })
      return result
    },
  }
}
