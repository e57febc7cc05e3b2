/** The translation slice: its services put together, and its routes mounted. */
import { z } from '@hono/zod-openapi'
import type { Coordination } from '../backends/coordination.ts'
import type { StampSource } from '../buffer/stamp_source.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { Coverage } from '../cluster/coverage.ts'
import type { Job } from '../cluster/jobs.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { translationSessions } from '../collections/translation.ts'
import { createRouter, endpoint, json, type Router } from '../http/endpoint.ts'
import type { Clock } from '../lib/clock.ts'
import type { AppError } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { formatTime } from '../lib/time.ts'
import { adminRoutes } from './admin_routes.ts'
import { createDeletion } from './deletion.ts'
import { createEverywhere } from './everywhere.ts'
import { createLister } from './listing.ts'
import { queryRoutes } from './query_routes.ts'
import { createReader } from './read.ts'
import { createRecovery } from './recovery.ts'
import { recoveryRoutes } from './recovery_routes.ts'
import { createRetention } from './retention.ts'
import { createStats } from './stats.ts'
import { createTotals } from './totals.ts'
import { createWriter } from './write.ts'
import { writeRoutes } from './write_routes.ts'

export interface TranslationOptions {
  router: CollectionRouter
  buffer: WriteBuffer
  coordination: Coordination
  stamps: StampSource
  clock: Clock
  log: Logger
  instanceId: string
  /** Why no write is accepted now, if so. */
  refusal(): AppError | null
  onWritten(collection: string, status: string, rows: number): void
  onRestore(ok: boolean): void
  /** What the retention's timer removed, by kind. */
  onRemoved(kind: string, rows: number): void
  /** What the other instances hold. */
  coverage: Coverage
  /** Rows that came from journals, on all instances. */
  replayedRows(): Promise<number>
  /** The whole time of a read that waits for other instances. */
  readTimeoutMs: number
  flushTimeoutMs: number
  restoreTimeoutMs: number
  deleteMode: 'hard' | 'soft'
  /** After this a delete is applied once more. */
  repeatDeletesAfterMs: number
  exactCountLimit: number
  countKeepMs: number
  retention: {
    everyMs: number
    enabled: boolean
    completedDays: number
    failedDays: number
    deletedDays: number
    incompleteDays: number
  }
}

export interface Slice {
  /** Mounts every route of the slice. */
  mount(app: Router): void
  jobs: readonly Job[]
  /** Waits for work that goes on after its answer. */
  settled(): Promise<void>
}

const BASE = '/api/v1/translation'
const V1_BASE = '/api/v1/persistence'
const RESUME_DELETES_EVERY_MS = 10_000
const REPEAT_DELETES_EVERY_MS = 60_000
const FORGET_DELETES_EVERY_MS = 3600_000
/** How long the other instances may take to store what they hold. */
const OTHERS_MS = 3000

export function createTranslation(options: TranslationOptions): Slice {
  const { router, buffer, coordination, stamps, clock, log } = options
  const reader = createReader({ router, buffer, coordination, stamps })
  const totals = createTotals({
    router,
    clock,
    exactLimit: options.exactCountLimit,
    keepMs: options.countKeepMs,
  })
  const writer = createWriter({
    router,
    buffer,
    stamps,
    refusal: options.refusal,
    onWritten: options.onWritten,
  })
  const everywhere = createEverywhere({
    buffer,
    coverage: options.coverage,
    instanceId: options.instanceId,
    readTimeoutMs: options.readTimeoutMs,
  })
  const recovery = createRecovery({
    everywhere,
    replayedRows: options.replayedRows,
    router,
    buffer,
    coordination,
    clock,
    log,
    instanceId: options.instanceId,
    timeoutMs: options.restoreTimeoutMs,
    onRestore: options.onRestore,
  })
  const deletion = createDeletion({
    router,
    buffer,
    coordination,
    stamps,
    reader,
    log,
    mode: options.deleteMode,
    repeatAfterMs: options.repeatDeletesAfterMs,
    nowMs: clock.nowMs,
  })
  const retention = createRetention({
    router,
    coordination,
    buffer,
    deletion,
    storedByAll: () => everywhere.others(OTHERS_MS),
    clock,
    log,
    days: options.retention,
  })

  async function runRetention(): Promise<void> {
    const removed = await retention.run()
    for (const [kind, rows] of Object.entries(removed ?? {})) options.onRemoved(kind, rows)
  }

  const stats = createStats({ router, coordination, clock, log })
  const writeOptions = {
    writer,
    buffer,
    everywhere,
    instanceId: options.instanceId,
    nowMs: clock.nowMs,
    flushTimeoutMs: options.flushTimeoutMs,
    assertReachable: () => router.backendOf(translationSessions).assertUp(),
  }

  return {
    mount(app) {
      const routes = createRouter()
      writeRoutes(routes, BASE, writeOptions)
      queryRoutesAfterAdmin(routes)
      recoveryRoutes(routes, BASE, recovery, log)
      writeRoutes(routes, V1_BASE, writeOptions, true)
      v1Stats(routes)
      app.route('/', routes)
    },
    jobs: [
      { name: 'resume_deletes', everyMs: RESUME_DELETES_EVERY_MS, run: deletion.resume },
      {
        name: 'repeat_deletes',
        everyMs: Math.min(options.repeatDeletesAfterMs, REPEAT_DELETES_EVERY_MS),
        run: async () => void (await deletion.repeatDeletes()),
      },
      {
        name: 'forget_deletes',
        everyMs: FORGET_DELETES_EVERY_MS,
        run: async () => void (await deletion.purgeTombstones()),
      },
      ...(options.retention.enabled
        ? [
            {
              name: 'retention',
              everyMs: options.retention.everyMs,
              firstAfterMs: options.retention.everyMs,
              run: runRetention,
            },
          ]
        : []),
    ],
    settled: deletion.settled,
  }

  /** `sessions/cleanup` is matched before `sessions/{session_id}`. */
  function queryRoutesAfterAdmin(routes: Router): void {
    adminRoutes(routes, BASE, {
      reader,
      writer,
      deletion,
      retention,
      stats,
      everywhere,
      days: options.retention,
    })
    queryRoutes(routes, BASE, { reader, lister: createLister({ router, totals }), everywhere })
  }

  function v1Stats(routes: Router): void {
    endpoint(
      routes,
      {
        method: 'get',
        path: `${V1_BASE}/stats`,
        operationId: 'v1BufferStats',
        scope: 'translation:read',
        summary: "Get the buffer's figures",
        description: 'What is buffered on this instance.',
        tags: ['Deprecated'],
        deprecated: true,
        responses: { 200: json(v1StatsAnswer, 'The figures.') },
      },
      async (c) => {
        const status = buffer.status()
        const rowsOf = (name: string) =>
          status.collections.find(({ collection }) => collection === name)?.rows ?? 0
        return c.json(
          {
            sessions_count: rowsOf('translation_sessions'),
            tasks_count: rowsOf('translation_tasks'),
            total_count: status.rows,
            capacity: status.capacityRows,
            last_flush: status.lastFlushAtMs === null ? null : formatTime(status.lastFlushAtMs),
          },
          200,
        )
      },
    )
  }
}

const v1StatsAnswer = z
  .object({
    sessions_count: z.int().meta({ example: 150 }),
    tasks_count: z.int().meta({ example: 850 }),
    total_count: z.int().meta({ example: 1000 }),
    capacity: z.int().meta({ example: 200_000 }),
    last_flush: z.iso.datetime().nullable().meta({ example: '2025-09-30T10:15:00.000Z' }),
  })
  .meta({ id: 'BufferFigures' })
