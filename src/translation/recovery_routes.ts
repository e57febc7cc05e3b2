/** What Backend V2 asks after a restart. */
import { z } from '@hono/zod-openapi'
import { accepts } from 'hono/accepts'
import { endpoint, json, type Router } from '../http/endpoint.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { missingInstances } from './everywhere.ts'
import type { Recovery, Restore } from './recovery.ts'
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
    restored_session: sessionDetail.meta({ description: 'The same as `session`.' }),
    tasks: z.array(taskDetail).meta({ description: 'Tasks that are pending or processing.' }),
    tasks_count: z.int().meta({ example: 640 }),
    restored_tasks_count: z.int().meta({ description: 'The same as `tasks_count`.', example: 640 }),
    missing_instances: missingInstances,
    restored_at: z.iso.datetime().meta({ example: '2025-09-30T10:30:00.000Z' }),
  })
  .meta({ id: 'Restored' })

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
      summary: 'Restore a session',
      description:
        'The session and its unfinished tasks, streamed from one snapshot; rows not stored yet are part of it: it waits until every instance has stored what it had accepted, and names those that have not in time. With `Accept: application/x-ndjson`: a line with the session, a line a task, and a last line with the count; where that is missing the answer was cut off.',
      tags: ['Recovery'],
      problems: ['BACKEND_UNAVAILABLE', 'SESSION_NOT_FOUND'],
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
      return new Response(
        restoreBody(session_id, restore, ndjson ? NDJSON : JSON_FORM, (error) =>
          log.error('restore broke off', {
            session_id,
            request_id: c.get('requestId'),
            meta: { error: messageOf(error) },
          }),
        ),
        {
          headers: c.res.headers,
        },
      ) as never
    },
  )

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/recovery/status`,
      operationId: 'getRecoveryStatus',
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

/** The two forms of a restore: what goes before, between and after the tasks. */
interface Form {
  head(sessionId: string, session: unknown): string
  task(task: unknown, first: boolean): string
  tail(count: number, missing: readonly string[], restoredAt: string): string
}

const JSON_FORM: Form = {
  head: (sessionId, session) => {
    const text = JSON.stringify(session)
    return `{"session_id":${JSON.stringify(sessionId)},"session":${text},"restored_session":${text},"tasks":[`
  },
  task: (task, first) => `${first ? '' : ','}${JSON.stringify(task)}`,
  tail: (count, missing, restoredAt) =>
    `],"tasks_count":${count},"restored_tasks_count":${count},"missing_instances":${JSON.stringify(missing)},"restored_at":"${restoredAt}"}`,
}

const NDJSON: Form = {
  head: (sessionId, session) => `${JSON.stringify({ session_id: sessionId, session })}\n`,
  task: (task) => `${JSON.stringify({ task })}\n`,
  tail: (count, missing, restoredAt) =>
    `${JSON.stringify({ tasks_count: count, restored_tasks_count: count, missing_instances: missing, restored_at: restoredAt })}\n`,
}

/**
 * Pulled by the client, a page at a time, so memory stays flat whatever the session's size. A failure on
 * the way breaks the connection: half an answer must not look like a whole one.
 */
function restoreBody(
  sessionId: string,
  restore: Restore,
  form: Form,
  onFailure: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const pages = restore.tasks[Symbol.asyncIterator]()
  let count = 0
  let started = false
  let cancelled = false
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (!started) {
          started = true
          controller.enqueue(encoder.encode(form.head(sessionId, restore.session)))
          return
        }
        try {
          const page = await pages.next()
          if (page.done) {
            const restoredAt = await restore.finish(count, true)
            controller.enqueue(encoder.encode(form.tail(count, restore.missing, restoredAt)))
            controller.close()
            return
          }
          let text = ''
          for (const task of page.value) text += form.task(task, count++ === 0)
          controller.enqueue(encoder.encode(text))
        } catch (error) {
          if (cancelled) return
          onFailure(error)
          await restore.finish(count, false)
          controller.error(error)
        }
      },
      async cancel() {
        cancelled = true
        await pages.return?.()
        await restore.finish(count, false)
      },
    },
    { highWaterMark: 1 },
  )
}
