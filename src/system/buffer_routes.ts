/** What is buffered on this instance, in detail. */
import { z } from '@hono/zod-openapi'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import { endpoint, json, type Router } from '../http/endpoint.ts'

export interface BufferRoutesOptions {
  nowMs(): number
  instanceId: string
  buffer: WriteBuffer['status']
  /** Sessions with the most unstored rows of all collections. */
  topSessions(limit: number): { group: string; rows: number }[]
}

const TOP_SESSIONS = 10

const bufferAnswer = z
  .object({
    instance_id: z.string(),
    depth: z.int().meta({ description: 'Rows that are not stored yet, of all collections.', example: 1000 }),
    bytes: z.int().meta({ example: 1_400_000 }),
    capacity: z.int().meta({ description: 'The hard limit, in rows.', example: 200_000 }),
    full: z.boolean().meta({ description: 'Whether writes are answered 503 until it has drained to 80 %.' }),
    collections: z.array(
      z.object({
        collection: z.string().meta({ example: 'translation_tasks' }),
        depth: z.int().meta({ example: 850 }),
        in_flight: z.int().meta({ description: 'Of these, in statements under way.', example: 0 }),
        bytes: z.int().meta({ example: 1_200_000 }),
        oldest_age_seconds: z.number().nullable().meta({ example: 12.3 }),
        drain_rate: z
          .number()
          .meta({ description: 'Rows a second that recent flushes stored.', example: 24_000 }),
      }),
    ),
    top_sessions: z.array(z.object({ session_id: z.string(), rows: z.int().meta({ example: 400 }) })),
  })
  .meta({ id: 'BufferState' })

export function bufferRoutes(router: Router, options: BufferRoutesOptions): void {
  endpoint(
    router,
    {
      method: 'get',
      path: '/api/v1/system/buffer',
      operationId: 'getBuffer',
      scope: 'system:read',
      summary: 'Get what is buffered',
      description: 'Rows of this instance that are accepted and not stored yet.',
      tags: ['System'],
      responses: { 200: json(bufferAnswer, 'The buffer.') },
    },
    async (c) => {
      const { rows, bytes, capacityRows, full, collections } = options.buffer()
      const ageOf = (atMs: number | null) =>
        atMs === null ? null : Math.max(0, options.nowMs() - atMs) / 1000
      return c.json(
        {
          instance_id: options.instanceId,
          depth: rows,
          bytes,
          capacity: capacityRows,
          full,
          collections: collections.map((of) => ({
            collection: of.collection,
            depth: of.rows,
            in_flight: of.inFlight,
            bytes: of.bytes,
            oldest_age_seconds: ageOf(of.oldestAtMs),
            drain_rate: Math.round(of.drainRate),
          })),
          top_sessions: options.topSessions(TOP_SESSIONS).map(({ group, rows: held }) => ({
            session_id: group,
            rows: held,
          })),
        },
        200,
      )
    },
  )
}
