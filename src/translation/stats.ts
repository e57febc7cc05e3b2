/** Statistics: exact counts, kept for a while and refreshed in the background, so that asking never waits long. */
import { z } from '@hono/zod-openapi'
import type { Filter } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'
import type { Collection } from '../collections/definition.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import type { Clock } from '../lib/clock.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { inTime } from '../lib/retry.ts'
import { formatTime } from '../lib/time.ts'
import { SHOWN } from './listing.ts'
import { SESSION_STATUSES, TASK_STATUSES } from './schema.ts'

const counter = (example: number) => z.int().meta({ example })

export const statsAnswer = z
  .object({
    sessions: z.object({
      total: counter(1000),
      pending: counter(50),
      processing: counter(30),
      completed: counter(900),
      failed: counter(20),
      cancelled: counter(0),
    }),
    tasks: z.object({
      total: counter(1_000_000),
      pending: counter(5000),
      processing: counter(3000),
      completed: counter(980_000),
      failed: counter(12_000),
    }),
    performance: z.object({
      average_session_time: z.number().meta({
        description: 'Mean seconds from creation to the last change, of the 1,000 newest completed sessions.',
        example: 1800,
      }),
      average_task_time: z.number().meta({
        description: 'Mean duration_ms in seconds, of the 10,000 newest completed tasks.',
        example: 5.2,
      }),
      success_rate: z
        .number()
        .meta({ description: 'Percent of the finished tasks that were completed.', example: 98.8 }),
    }),
    storage: z.object({
      database_size_mb: z.number().meta({ example: 2048 }),
      sessions_table_rows: counter(1000),
      tasks_table_rows: counter(1_000_000),
    }),
    as_of: z.iso
      .datetime()
      .meta({ description: 'When these figures were taken.', example: '2025-09-30T10:15:30.000Z' }),
    estimated: z.boolean().meta({
      description:
        'Whether the counts are estimates, because counting takes too long and no earlier count is known.',
      example: false,
    }),
  })
  .meta({ id: 'Stats' })

export type Stats = z.infer<typeof statsAnswer>

interface StatsOptions {
  router: CollectionRouter
  coordination: Coordination
  clock: Clock
  log: Logger
}

/** Figures younger than this are answered as they are. */
const FRESH_MS = 5000
/** What a caller waits for figures being taken before it gets older ones, or estimates. */
const PATIENCE_MS = 400
const FACT = 'translation_stats'
const SAMPLE_SESSIONS = 1000
const SAMPLE_TASKS = 10_000
const MEGABYTE = 1024 * 1024

export function createStats({ router, coordination, clock, log }: StatsOptions): { read(): Promise<Stats> } {
  let known: { stats: Stats; takenAtMs: number } | null = null
  let taking: Promise<Stats> | null = null

  async function take(): Promise<Stats> {
    const asOfMs = clock.nowMs()
    const store = router.records(tasks)
    const [bySession, byTask, sample, bytes] = await Promise.all([
      router.records(sessions).countBy(sessions, SHOWN, 'status'),
      store.countBy(tasks, SHOWN, 'status'),
      samples(),
      store.sizeBytes(),
    ])
    const stats = compose(
      asOfMs,
      (status) => bySession.get(status) ?? 0,
      (status) => byTask.get(status) ?? 0,
      sample,
      bytes,
      false,
    )
    known = { stats, takenAtMs: clock.nowMs() }
    await coordination.putFact(FACT, JSON.stringify(stats))
    return stats
  }

  async function samples(): Promise<{ sessionSeconds: number; taskSeconds: number }> {
    const newest = (collection: Collection, limit: number, fields: string[]) =>
      router.records(collection).query(collection, {
        filters: [...SHOWN, { op: 'eq', field: 'status', value: 'completed' }],
        sort: 'created_at',
        descending: true,
        limit,
        fields,
      })
    const [doneSessions, doneTasks] = await Promise.all([
      newest(sessions, SAMPLE_SESSIONS, []),
      newest(tasks, SAMPLE_TASKS, ['duration_ms']),
    ])
    return {
      sessionSeconds: mean(
        doneSessions.map((record) => ((record.updated_at as number) - (record.created_at as number)) / 1000),
      ),
      taskSeconds: mean(
        doneTasks.flatMap(({ duration_ms: ms }) => (typeof ms === 'number' ? [ms / 1000] : [])),
      ),
    }
  }

  /** Where counting takes too long and nothing is known yet: what the database's own statistics say. */
  async function estimate(): Promise<Stats> {
    const asOfMs = clock.nowMs()
    const of = async (collection: Collection, statuses: readonly string[]) => {
      const counts = await Promise.all(
        statuses.map((status) =>
          router
            .records(collection)
            .estimate(collection, [{ op: 'eq', field: 'status', value: status } satisfies Filter]),
        ),
      )
      return new Map(statuses.map((status, i) => [status, counts[i]!]))
    }
    const [bySession, byTask, sample, bytes] = await Promise.all([
      of(sessions, SESSION_STATUSES),
      of(tasks, TASK_STATUSES),
      samples(),
      router.records(tasks).sizeBytes(),
    ])
    return compose(
      asOfMs,
      (status) => bySession.get(status)!,
      (status) => byTask.get(status)!,
      sample,
      bytes,
      true,
    )
  }

  async function earlier(): Promise<Stats | null> {
    if (known) return known.stats
    const json = await coordination.getFact(FACT)
    return json === null ? null : (JSON.parse(json) as Stats)
  }

  function refresh(): Promise<Stats> {
    taking ??= take().finally(() => {
      taking = null
    })
    return taking
  }

  return {
    async read() {
      if (known && clock.nowMs() - known.takenAtMs < FRESH_MS) return known.stats
      const fresh = refresh()
      const soon = await inTime(fresh, PATIENCE_MS)
      if (soon) return soon
      // Nobody waits for it any more; the next caller finds it, or a failure in the log.
      fresh.catch((error) => log.warn('statistics not taken', { meta: { error: messageOf(error) } }))
      const older = async () => (await earlier()) ?? (await estimate())
      // Whichever is there first; an outage of the one is an outage of the other, and no reason to wait twice.
      return Promise.race([older(), fresh])
    },
  }
}

function compose(
  asOfMs: number,
  sessionCount: (status: string) => number,
  taskCount: (status: string) => number,
  sample: { sessionSeconds: number; taskSeconds: number },
  bytes: number,
  estimated: boolean,
): Stats {
  const counted = <S extends string>(statuses: readonly S[], count: (status: string) => number) =>
    Object.fromEntries(statuses.map((status) => [status, count(status)])) as Record<S, number>
  const bySession = counted(SESSION_STATUSES, sessionCount)
  const byTask = counted(TASK_STATUSES, taskCount)
  const total = (counts: Record<string, number>) => Object.values(counts).reduce((sum, n) => sum + n, 0)
  const finished = byTask.completed + byTask.failed
  return {
    sessions: { total: total(bySession), ...bySession },
    tasks: { total: total(byTask), ...byTask },
    performance: {
      average_session_time: round(sample.sessionSeconds, 10),
      average_task_time: round(sample.taskSeconds, 1000),
      success_rate: finished === 0 ? 0 : round((byTask.completed / finished) * 100, 10),
    },
    storage: {
      database_size_mb: round(bytes / MEGABYTE, 100),
      sessions_table_rows: total(bySession),
      tasks_table_rows: total(byTask),
    },
    as_of: formatTime(asOfMs),
    estimated,
  }
}

const round = (value: number, scale: number) => Math.round(value * scale) / scale

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}
