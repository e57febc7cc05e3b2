/** The instances that share the database, and forgetting one that won't come back. */
import { z } from '@hono/zod-openapi'
import type { Coordination, InstanceRecord } from '../backends/coordination.ts'
import { type Liveness, livenessOf } from '../cluster/liveness.ts'
import { endpoint, json, type Router } from '../http/endpoint.ts'
import { listAnswer } from '../http/listing.ts'
import { AppError } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { formatTime } from '../lib/time.ts'

interface InstanceRoutesOptions {
  coordination: Pick<Coordination, 'listInstances' | 'forgetInstance'>
  log: Logger
  /** An instance is forgotten that held so many rows when it was seen last. */
  onForgotten(rows: number): void
}

const instanceId = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, 'is no INSTANCE_ID')
  .openapi({ description: "The instance's INSTANCE_ID.", example: 'instance-b' })

const instanceAnswer = z
  .object({
    instance_id: z.string().meta({ example: 'instance-b' }),
    state: z.enum(['live', 'draining', 'dead', 'lost']).meta({
      description:
        'dead: no sign of life for 5 s, or ended with rows left; named as missing by whatever covers all instances. lost: dead for more than 10 minutes; not waited for, and not named, any more. The journal of either may hold rows.',
      example: 'live',
    }),
    started_at: z.iso.datetime().meta({ example: '2025-09-30T10:00:00.000Z' }),
    seen_at: z.iso
      .datetime()
      .meta({ description: 'Last sign of life.', example: '2025-09-30T10:15:00.000Z' }),
    version: z.string().meta({ example: '1.0.0' }),
    buffered_rows: z
      .int()
      .meta({ description: 'Rows not stored yet, as of its last sign of life.', example: 850 }),
  })
  .meta({ id: 'Instance' })

const forgottenAnswer = z
  .object({ instance_id: z.string().meta({ example: 'instance-b' }), status: z.literal('forgotten') })
  .meta({ id: 'InstanceForgotten' })

/** Those that did not sign off with nothing left. */
function shown(instances: readonly InstanceRecord[], nowMs: number) {
  const states = instances.map((one) => ({ one, state: livenessOf(one, nowMs) }))
  return states.flatMap(({ one, state }) => (state === 'gone' ? [] : { one, state }))
}

function answerOf({ one, state }: { one: InstanceRecord; state: Exclude<Liveness, 'gone'> }) {
  return {
    instance_id: one.instanceId,
    state,
    started_at: formatTime(one.startedAtMs),
    seen_at: formatTime(one.seenAtMs),
    version: one.version,
    buffered_rows: one.bufferedRows,
  }
}

/** Mounts the routes of the table of instances. */
export function instanceRoutes({
  coordination,
  log,
  onForgotten,
}: InstanceRoutesOptions): (router: Router) => void {
  async function forget(id: string): Promise<void> {
    const { nowMs, instances } = await coordination.listInstances()
    const found = shown(instances, nowMs).find(({ one }) => one.instanceId === id)
    const members = { instance_id: id }
    if (!found) throw new AppError('NOT_FOUND', { detail: 'There is no such instance.', members })
    const isDead = found.state === 'dead' || found.state === 'lost'
    // One that gives a sign meanwhile stays.
    if (isDead && (await coordination.forgetInstance(id, found.one.seenAtMs))) {
      const rows = found.one.bufferedRows
      log.warn('a dead instance was forgotten', { meta: { instance: id, rows } })
      return onForgotten(rows)
    }
    throw new AppError('INSTANCE_LIVE', {
      detail: 'The instance lives; one that is stopped signs off by itself.',
      members,
    })
  }

  return (router) => {
    endpoint(
      router,
      {
        method: 'get',
        path: '/api/v1/system/instances',
        operationId: 'listInstances',
        scope: 'system:read',
        summary: 'List the instances',
        description: 'Every instance that shares the database and did not sign off, on one page.',
        tags: ['System'],
        problems: ['BACKEND_UNAVAILABLE'],
        responses: { 200: json(listAnswer(instanceAnswer, 'InstanceList'), 'The instances.') },
      },
      async (c) => {
        const { nowMs, instances } = await coordination.listInstances()
        const items = shown(instances, nowMs).map(answerOf)
        const total = items.length
        return c.json(
          {
            total,
            total_exact: true,
            page: 1,
            page_size: Math.max(1, total),
            total_pages: total === 0 ? 0 : 1,
            items,
            next_cursor: null,
          },
          200,
        )
      },
    )
    endpoint(
      router,
      {
        method: 'delete',
        path: '/api/v1/system/instances/{instance_id}',
        operationId: 'forgetInstance',
        scope: 'system:admin',
        summary: 'Forget a dead instance',
        description:
          'For an instance that will not come back: it is not waited for, nor named as missing, any more. Rows that its journal may hold are stored if it does come back.',
        tags: ['System'],
        problems: ['BACKEND_UNAVAILABLE', 'NOT_FOUND', 'INSTANCE_LIVE'],
        request: { params: z.object({ instance_id: instanceId }) },
        responses: { 200: json(forgottenAnswer, 'Forgotten.') },
      },
      async (c) => {
        const { instance_id } = c.req.valid('param')
        await forget(instance_id)
        return c.json({ instance_id, status: 'forgotten' as const }, 200)
      },
    )
  }
}
