/** Removing what is old: finished sessions, soft-deleted ones, and what never became whole. */
import type { Filter } from '../backends/backend.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { newestStamp } from '../collections/row.ts'
import { laterOf } from '../collections/stamp.ts'
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
    const store = router.records(sessions)
    const row = await store.read(sessions, [sessionId])
    if (!row) return null
    const newestTask = await router.records(tasks).newestStamp(tasks, sessionId)
    const stillExpired = await store.count(sessions, [
      ...filters,
      { op: 'eq', field: 'session_id', value: sessionId },
    ])
    if (stillExpired === 0) return null
    return deletion.erase(sessionId, laterOf(newestStamp(row), newestTask))
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

  /** Groups of tasks that have no session, all of them old. */
  async function purgeOrphans(): Promise<number> {
    const old = olderThan('updated_at', configured.incompleteDays)
    let total = 0
    let after = ''
    while (true) {
      const groups = await router.records(tasks).groups(tasks, after, EXAMINED_AT_ONCE)
      for (const group of groups) {
        const ofGroup: Filter = { op: 'eq', field: 'session_id', value: group }
        if (await router.records(sessions).read(sessions, [group])) continue
        total += await purgeAll(tasks, [ofGroup, { op: 'orphan' }, old])
      }
      if (groups.length < EXAMINED_AT_ONCE) return total
      after = groups.at(-1)!
    }
  }

  return {
    cleanup,
    async run() {
      const cleaned = await cleanup(configured, { dryRun: false })
      const old = olderThan('updated_at', configured.incompleteDays)
      const incompleteSessions = await purgeAll(sessions, [{ op: 'incomplete' }, { op: 'visible' }, old])
      const incompleteTasks = await purgeAll(tasks, [{ op: 'incomplete' }, old])
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
