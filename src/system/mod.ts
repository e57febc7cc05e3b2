/** The system slice: health, metrics, configuration. */
import { z } from '@hono/zod-openapi'
import { createRouter, endpoint, json, type Router } from '../http/endpoint.ts'
import { formatTime } from '../lib/time.ts'

export interface SystemOptions {
  version: string
  instanceId: string
  startedAtMs: number
  nowMs(): number
  /** Backends by name. */
  backends(): {
    name: string
    type: string
    state: 'starting' | 'up' | 'down'
    latencyMs: number | null
  }[]
  buffer(): {
    rows: number
    bytes: number
    capacityRows: number
    lastFlushAtMs: number | null
    collections: {
      collection: string
      rows: number
      bytes: number
      oldestAtMs: number | null
      counts: Record<string, number>
    }[]
  }
  /** Whether the instance takes traffic. */
  ready(): { ready: boolean; reason: string | null }
  metrics(): Promise<{ contentType: string; text: string }>
  /** Without secrets. */
  config(): unknown
}

const conservation = z
  .object({
    collection: z.string().meta({ example: 'translation_tasks' }),
    accepted: z.int(),
    stored: z.int(),
    merged: z.int(),
    voided: z.int(),
    dead_lettered: z.int(),
    buffered: z.int(),
    balanced: z
      .boolean()
      .meta({ description: 'accepted = stored + merged + voided + dead_lettered + buffered.' }),
  })
  .meta({ id: 'Conservation', description: 'Where the rows accepted since the start went.' })

const healthAnswer = z
  .object({
    status: z
      .enum(['healthy', 'degraded'])
      .meta({ description: 'degraded: a backend is down; writes are accepted, reads may fail.' }),
    database: z.enum(['healthy', 'unhealthy']),
    buffer: z.object({
      sessions_count: z.int().meta({ example: 150 }),
      tasks_count: z.int().meta({ example: 850 }),
      total_count: z.int().meta({ example: 1000 }),
      capacity: z.int().meta({ description: 'The hard limit, in rows.', example: 200_000 }),
      usage_percent: z.number().meta({ example: 0.5 }),
      last_flush: z.iso.datetime().nullable().meta({ example: '2025-09-30T10:15:00.000Z' }),
      oldest_age_seconds: z
        .number()
        .nullable()
        .meta({ description: 'Age of the oldest row that is not stored yet.', example: 12.3 }),
      conservation: z.array(conservation),
    }),
    backends: z.array(
      z.object({
        name: z.string().meta({ example: 'sqlite' }),
        type: z.string().meta({ example: 'sqlite' }),
        status: z.enum(['healthy', 'unhealthy', 'starting']),
        latency_ms: z.number().nullable(),
      }),
    ),
    instance_id: z.string(),
    uptime_seconds: z.int().meta({ example: 86_400 }),
    version: z.string().meta({ example: '1.0.0' }),
  })
  .meta({ id: 'Health' })

const liveAnswer = z.object({ status: z.literal('alive') }).meta({ id: 'Alive' })
const readyAnswer = z
  .object({ status: z.enum(['ready', 'not_ready']), reason: z.string().nullable() })
  .meta({ id: 'Readiness' })

export function createSystem(options: SystemOptions): { mount(app: Router): void } {
  function health(): z.infer<typeof healthAnswer> {
    const nowMs = options.nowMs()
    const buffer = options.buffer()
    const backends = options.backends()
    const allUp = backends.every(({ state }) => state === 'up')
    const rowsOf = (name: string) =>
      buffer.collections.find(({ collection }) => collection === name)?.rows ?? 0
    const oldest = Math.min(
      ...buffer.collections.map(({ oldestAtMs }) => oldestAtMs ?? Number.POSITIVE_INFINITY),
    )
    return {
      status: allUp ? 'healthy' : 'degraded',
      database: allUp ? 'healthy' : 'unhealthy',
      buffer: {
        sessions_count: rowsOf('translation_sessions'),
        tasks_count: rowsOf('translation_tasks'),
        total_count: buffer.rows,
        capacity: buffer.capacityRows,
        usage_percent: Math.round((buffer.rows / buffer.capacityRows) * 1000) / 10,
        last_flush: buffer.lastFlushAtMs === null ? null : formatTime(buffer.lastFlushAtMs),
        oldest_age_seconds: Number.isFinite(oldest) ? Math.max(0, nowMs - oldest) / 1000 : null,
        conservation: buffer.collections.map(({ collection, rows, counts }) => {
          const { accepted = 0, stored = 0, merged = 0, voided = 0, dead_lettered = 0 } = counts
          const balanced = accepted === stored + merged + voided + dead_lettered + rows
          return { collection, accepted, stored, merged, voided, dead_lettered, buffered: rows, balanced }
        }),
      },
      backends: backends.map(({ name, type, state, latencyMs }) => ({
        name,
        type,
        status: state === 'up' ? 'healthy' : state === 'down' ? 'unhealthy' : 'starting',
        latency_ms: latencyMs === null ? null : Math.round(latencyMs * 100) / 100,
      })),
      instance_id: options.instanceId,
      uptime_seconds: Math.floor((nowMs - options.startedAtMs) / 1000),
      version: options.version,
    }
  }

  return {
    mount(app) {
      const routes = createRouter()
      for (const path of ['/health', '/api/v1/system/health'] as const) {
        endpoint(
          routes,
          {
            method: 'get',
            path,
            operationId: path === '/health' ? 'getHealth' : 'getSystemHealth',
            summary: 'Get the health of this instance',
            description: 'Answers 200 also when a backend is down: the service still accepts writes then.',
            tags: ['System'],
            responses: { 200: json(healthAnswer, 'The health.') },
          },
          async (c) => c.json(health(), 200),
        )
      }
      endpoint(
        routes,
        {
          method: 'get',
          path: '/health/live',
          operationId: 'getLiveness',
          summary: 'Is the process alive',
          description: 'For a liveness probe.',
          tags: ['System'],
          responses: { 200: json(liveAnswer, 'It is.') },
        },
        async (c) => c.json({ status: 'alive' as const }, 200),
      )
      endpoint(
        routes,
        {
          method: 'get',
          path: '/health/ready',
          operationId: 'getReadiness',
          summary: 'Should traffic come here',
          description:
            'For a readiness probe: not before the first contact with the database, and not while shutting down.',
          tags: ['System'],
          responses: { 200: json(readyAnswer, 'Yes.'), 503: json(readyAnswer, 'No.') },
        },
        async (c) => {
          const { ready, reason } = options.ready()
          if (!ready) c.header('Retry-After', '1')
          return c.json(
            { status: ready ? ('ready' as const) : ('not_ready' as const), reason },
            ready ? 200 : 503,
          )
        },
      )
      endpoint(
        routes,
        {
          method: 'get',
          path: '/api/v1/system/metrics',
          operationId: 'getMetrics',
          summary: 'Get metrics',
          description: 'In the text format of Prometheus.',
          tags: ['System'],
          responses: {
            200: {
              description: 'The metrics.',
              content: {
                'text/plain': { schema: z.string().openapi({ example: 'persistence_flush_total 45' }) },
              },
            },
          },
        },
        async (c) => {
          const { contentType, text } = await options.metrics()
          return c.body(text, 200, { 'Content-Type': contentType }) as never
        },
      )
      endpoint(
        routes,
        {
          method: 'get',
          path: '/api/v1/system/config',
          operationId: 'getConfig',
          summary: 'Get the configuration',
          description: 'What the instance runs with; secrets are not shown.',
          tags: ['System'],
          responses: {
            200: json(z.record(z.string(), z.unknown()).meta({ id: 'Configuration' }), 'The configuration.'),
          },
        },
        async (c) => c.json(options.config() as Record<string, unknown>, 200),
      )
      app.route('/', routes)
    },
  }
}
