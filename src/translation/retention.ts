/** Removing what is old: finished sessions, soft-deleted ones, and what never became whole. */
import type { Coordination, Filter } from '../backends/backend.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/log.ts'
import type { Deletion } from './deletion.ts'

export interface RetentionDays {
  completedDays: number
  /** For cancelled sessions too. */
  failedDays: number
}

export interface CleanupResult {
  deletedSessions: number
  deletedTasks: number
}

export interface Retention {
  cleanup(days: RetentionDays, options: { dryRun: boolean }): Promise<CleanupResult>
  /** The timer's round: finished and soft-deleted sessions, then what stayed incomplete or parentless. */
  run(): Promise<void>
}

interface RetentionOptions {
  router: CollectionRouter
  coordination: Coordination
  buffer: WriteBuffer
  deletion: Deletion
  clock: Clock
  log: Logger
  days: RetentionDays & { deletedDays: number; incompleteDays: number }
}

const DAY_MS = 86_400_000
const EXAMINED_AT_ONCE = 100
const PURGED_AT_ONCE = 1000

export function createRetention({
  router,
  coordination,
  buffer,
  deletion,
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

  /** Deletes up to the newest stamp that was seen: what is written after the look survives. Null = spared. */
  async function removeExamined(sessionId: string, filters: readonly Filter[]): Promise<number | null> {
    if (buffer.get(sessions, [sessionId]) || buffer.group(tasks, sessionId).size > 0) return null
    const stamp = await deletion.newestStored(sessionId)
    const stillExpired = await router
      .records(sessions)
      .count(sessions, [...filters, { op: 'eq', field: 'session_id', value: sessionId }])
    return stillExpired === 0 ? null : deletion.eraseUnlessTouched(sessionId, stamp)
  }

  async function cleanup(days: RetentionDays, { dryRun }: { dryRun: boolean }): Promise<CleanupResult> {
    const result = { deletedSessions: 0, deletedTasks: 0 }
    for (const filters of expired(days)) {
      for await (const ids of sessionsOf(filters)) {
        for (const sessionId of ids) {
          const removed = dryRun
            ? await router.records(tasks).count(tasks, [{ op: 'eq', field: 'session_id', value: sessionId }])
            : await removeExamined(sessionId, filters)
          if (removed === null) continue
          result.deletedSessions++
          result.deletedTasks += removed
        }
      }
    }
    return result
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
   * second look, which the database remembers for all instances.
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

  /** Groups of tasks that have no session, all of them old. */
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
      const cleaned = await cleanup(configured, { dryRun: false })
      const incompleteSessions = await purgeIncomplete(sessions, [{ op: 'visible' }])
      const incompleteTasks = await purgeIncomplete(tasks, [])
      const orphans = await purgeOrphans()
      log.info('retention finished', {
        meta: {
          deleted_sessions: cleaned.deletedSessions,
          deleted_tasks: cleaned.deletedTasks,
          incomplete_sessions: incompleteSessions,
          incomplete_tasks: incompleteTasks,
          parentless_tasks: orphans,
        },
      })
    },
  }
}
