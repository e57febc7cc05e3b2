/** What Backend V2 asks after a restart. */
import { z } from '@hono/zod-openapi'
import { accepts } from 'hono/accepts'
import { endpoint, json, type Router } from '../http/endpoint.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { missingInstances } from './everywhere.ts'
import type { Recovery } from './recovery.ts'
import { JSON_FORM, NDJSON, restoreStream } from './restore_stream.ts'
import { SESSION_ID, sessionId } from './schema.ts'
import { sessionDetail, sessionSummary, taskDetail } from './views.ts'

const incompleteAnswer = z
  .object({
    count: z.int().meta({ example: 3 }),
    sessions: z.array(sessionSummary),
    missing_instances: missingInstances,
  })
  .meta({ id: 'IncompleteSessions' })

const restoreAnswer = z
  .object({
    session_id: z.string().meta({ example: SESSION_ID }),
    session: sessionDetail,
    restored_session: sessionDetail,
    tasks: z.array(taskDetail).meta({ description: 'Tasks that are pending or processing.' }),
    tasks_count: z.int().meta({ example: 640 }),
    restored_tasks_count: z.int().meta({ description: 'The same as `tasks_count`.', example: 640 }),
    missing_instances: missingInstances,
    restored_at: z.iso.datetime().meta({ example: '2025-09-30T10:30:00.000Z' }),
  })
  .meta({
    id: 'Restored',
    description: 'A session and its unfinished tasks; `restored_session` is `session` again.',
  })

const statusAnswer = z
  .object({
    incomplete_sessions: z.int().meta({ example: 3 }),
    restores: z.array(
      z.object({
        session_id: z.string(),
        tasks_count: z.int(),
        instance_id: z.string(),
        restored_at: z.iso.datetime(),
        ok: z.boolean().meta({ description: 'Whether everything was sent.' }),
      }),
    ),
    replayed_rows: z.int().meta({ description: 'Rows taken up from journals.', example: 0 }),
    success_rate: z.number().meta({
      description: 'Percent of the restores that sent everything; 100 where there were none.',
      example: 100,
    }),
    missing_instances: missingInstances,
  })
  .meta({ id: 'RecoveryStatus' })

export function recoveryRoutes(router: Router, base: string, recovery: Recovery, log: Logger): void {
  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/recovery/incomplete-sessions`,
      operationId: 'listIncompleteSessions',
      scope: 'translation:read',
      summary: 'List unfinished sessions',
      description:
        'Every session that is pending or processing, the newest first; waits up to 3 seconds until every instance has stored what it had accepted, and names those that have not.',
      tags: ['Recovery'],
      problems: ['BACKEND_UNAVAILABLE'],
      responses: { 200: json(incompleteAnswer, 'The sessions.') },
    },
    async (c) => {
      const found = await recovery.incomplete()
      const { sessions, missing } = found
      return c.json({ count: sessions.length, sessions, missing_instances: missing }, 200)
    },
  )

  endpoint(
    router,
    {
      method: 'post',
      path: `${base}/recovery/restore/{session_id}`,
      operationId: 'restoreSession',
      scope: 'translation:read',
      limit: 'session',
      summary: 'Restore a session',
      description:
        'The session and its unfinished tasks, streamed from one snapshot; rows not stored yet are part of it: it waits until every instance has stored what it had accepted, and names those that have not in time. With `Accept: application/x-ndjson`: a line with the session, a line a task, and a last line with the count; where that is missing the answer was cut off.',
      tags: ['Recovery'],
      problems: ['BACKEND_UNAVAILABLE', 'BUSY', 'SESSION_NOT_FOUND'],
      request: { params: z.object({ session_id: sessionId }) },
      responses: {
        200: {
          description: 'The session and its unfinished tasks.',
          content: {
            'application/json': { schema: restoreAnswer },
            'application/x-ndjson': {
              schema: z.string().openapi({ example: '{"session":{}}\n{"task":{}}\n{"tasks_count":1}\n' }),
            },
          },
        },
      },
    },
    async (c) => {
      const { session_id } = c.req.valid('param')
      c.set('logFields', { session_id })
      const restore = await recovery.restore(session_id)
      const ndjson =
        accepts(c, {
          header: 'Accept',
          supports: ['application/json', 'application/x-ndjson'],
          default: 'application/json',
        }) === 'application/x-ndjson'
      c.header('Content-Type', ndjson ? 'application/x-ndjson' : 'application/json')
      const ids = { session_id, request_id: c.get('requestId') }
      const body = restoreStream(restore, {
        sessionId: session_id,
        form: ndjson ? NDJSON : JSON_FORM,
        clientTimeoutMs: c.get('clientTimeoutMs'),
        onFailure: (error) => log.error('restore broke off', { ...ids, meta: { error: messageOf(error) } }),
        onLate() {
          log.warn('restore broke off: its client has stopped reading', ids)
          c.env?.hangUp?.()
        },
      })
      return new Response(body, { headers: c.res.headers }) as never
    },
  )

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/recovery/status`,
      operationId: 'getRecoveryStatus',
      scope: 'translation:read',
      summary: 'Get the state of recovery',
      description:
        'Unfinished sessions, the newest restores of all instances and how they went, and rows that came from journals.',
      tags: ['Recovery'],
      problems: ['BACKEND_UNAVAILABLE'],
      responses: { 200: json(statusAnswer, 'The state.') },
    },
    async (c) => c.json(await recovery.status(), 200),
  )
}
