/** The system slice: health, metrics, configuration. */
import { z } from '@hono/zod-openapi'
import { createRouter, endpoint, json, type Router } from '../http/endpoint.ts'
import { type BufferRoutesOptions, bufferRoutes } from './buffer_routes.ts'
import { type HealthOptions, healthAnswer, healthOf } from './health.ts'

export interface SystemOptions extends HealthOptions, BufferRoutesOptions {
  /** Whether the instance takes traffic. */
  ready(): { ready: boolean; reason: string | null }
  metrics(): Promise<{ contentType: string; text: string }>
  /** Without secrets. */
  config(): unknown
  /** Routes of this slice that stand in files of their own. */
  routes: readonly ((router: Router) => void)[]
}

const liveAnswer = z.object({ status: z.literal('alive') }).meta({ id: 'Alive' })
const readyAnswer = z
  .object({ status: z.enum(['ready', 'not_ready']), reason: z.string().nullable() })
  .meta({ id: 'Readiness' })

export function createSystem(options: SystemOptions): { mount(app: Router): void } {
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
            scope: path === '/health' ? 'open' : 'system:read',
            limit: 'none',
            summary: 'Get the health of this instance',
            description: 'Answers 200 also when a backend is down: the service still accepts writes then.',
            tags: ['System'],
            responses: { 200: json(healthAnswer, 'The health.') },
          },
          async (c) =>
            c.json(healthOf(options, { reasons: c.get('principal').scopes.has('system:read') }), 200),
        )
      }
      endpoint(
        routes,
        {
          method: 'get',
          path: '/health/live',
          operationId: 'getLiveness',
          scope: 'open',
          limit: 'none',
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
          scope: 'open',
          limit: 'none',
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
          scope: 'system:read',
          limit: 'none',
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
          scope: 'system:read',
          summary: 'Get the configuration',
          description: 'What the instance runs with; secrets are not shown.',
          tags: ['System'],
          responses: {
            200: json(z.record(z.string(), z.unknown()).meta({ id: 'Configuration' }), 'The configuration.'),
          },
        },
        async (c) => c.json(options.config() as Record<string, unknown>, 200),
      )
      bufferRoutes(routes, options)
      for (const mountRoutes of options.routes) mountRoutes(routes)
      app.route('/', routes)
    },
  }
}
