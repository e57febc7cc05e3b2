/** Deleting, cleaning up, changing a status, statistics. */
import { z } from '@hono/zod-openapi'
import { translationSessions } from '../collections/translation.ts'
import { endpoint, json, type Router } from '../http/endpoint.ts'
import { AppError } from '../lib/errors.ts'
import type { Deletion } from './deletion.ts'
import { type Everywhere, naming } from './everywhere.ts'
import { notFound, type Reader } from './read.ts'
import type { Retention } from './retention.ts'
import { SESSION_ID, sessionId, sessionStatus } from './schema.ts'
import { type Stats, statsAnswer } from './stats.ts'
import { sessionDetail } from './views.ts'
import type { Writer } from './write.ts'

interface AdminRoutesOptions {
  reader: Reader
  writer: Writer
  deletion: Deletion
  retention: Retention
  stats: { read(): Promise<Stats> }
  everywhere: Everywhere
  /** Defaults of cleanup. */
  days: { completedDays: number; failedDays: number }
}

const sessionParam = z.object({ session_id: sessionId })

const deletedAnswer = z
  .object({
    status: z.enum(['deleted', 'deleting']),
    session_id: z.string().meta({ example: SESSION_ID }),
    deleted_tasks: z.int().meta({ example: 1000 }),
  })
  .meta({ id: 'Deleted' })

const daysOf = (what: string, example: number) =>
  z
    .int()
    .min(0)
    .max(36_500)
    .optional()
    .meta({ description: `Days that ${what} are kept after their last change.`, example })

const cleanupBody = z
  .object({
    completed_days: daysOf('completed sessions', 90),
    failed_days: daysOf('failed and cancelled sessions', 30),
    dry_run: z.boolean().optional().meta({ description: 'Count only.', example: false }),
  })
  .meta({ id: 'Cleanup' })

const cleanupAnswer = z
  .object({
    status: z.literal('completed'),
    deleted_sessions: z.int().meta({ example: 150 }),
    deleted_tasks: z.int().meta({ example: 150_000 }),
    dry_run: z.boolean(),
  })
  .meta({ id: 'CleanedUp' })

const PROBLEMS = ['BACKEND_UNAVAILABLE', 'NOT_READY'] as const

export function adminRoutes(router: Router, base: string, options: AdminRoutesOptions): void {
  const { reader, writer, deletion, retention, stats, days, everywhere } = options

  /** Another instance may hold it. Throws SESSION_NOT_FOUND, once all that live have stored what they hold. */
  async function assertSomewhere(id: string): Promise<void> {
    await everywhere.afterOthers(async ({ missing, late }) => {
      if (await reader.shownSession(id)) return
      if (late.length === 0) throw naming(notFound(id), missing)
      throw new AppError('BACKEND_UNAVAILABLE', {
        detail: 'Another instance may hold the session, and has not stored it yet; nothing was changed.',
        members: { session_id: id, missing_instances: missing },
        retryAfterSeconds: 1,
      })
    })
  }

  /** With the backend down, a session that is wholly buffered here can still be changed. Throws SESSION_NOT_FOUND. */
  async function isOffline(id: string): Promise<boolean> {
    try {
      if (!(await reader.shownSession(id))) await assertSomewhere(id)
      return false
    } catch (error) {
      if (!(error instanceof AppError) && reader.bufferedSession(id)) return true
      throw error
    }
  }

  // Before the routes with an id: `cleanup` is never read as a session.
  for (const method of ['post', 'delete'] as const) {
    const deprecated = method === 'delete'
    endpoint(
      router,
      {
        method,
        path: `${base}/sessions/cleanup`,
        operationId: deprecated ? 'v1Cleanup' : 'cleanup',
        scope: 'translation:admin',
        summary: 'Remove expired sessions',
        description:
          'Removes, or with `dry_run` counts, sessions past their retention with all their tasks. Soft-deleted ones go after 7 days.',
        tags: [deprecated ? 'Deprecated' : 'Management'],
        ...(deprecated && { deprecated }),
        problems: PROBLEMS,
        request: { body: { required: false, ...json(cleanupBody, 'How long to keep what.') } },
        responses: { 200: json(cleanupAnswer, 'What was removed, or would be.') },
      },
      async (c) => {
        const body = c.req.valid('json')
        const dryRun = body.dry_run ?? false
        const result = await retention.cleanup(
          {
            completedDays: body.completed_days ?? days.completedDays,
            failedDays: body.failed_days ?? days.failedDays,
          },
          { dryRun },
        )
        return c.json(
          {
            status: 'completed' as const,
            deleted_sessions: result.deletedSessions,
            deleted_tasks: result.deletedTasks,
            dry_run: dryRun,
          },
          200,
        )
      },
    )
  }

  endpoint(
    router,
    {
      method: 'delete',
      path: `${base}/sessions/{session_id}`,
      operationId: 'deleteSession',
      scope: 'translation:write',
      summary: 'Delete a session',
      description:
        'Deletes the session with all its tasks and dead letters, or hides it where soft deletes are configured. More than 100,000 tasks: 202, and the session is gone from this moment.',
      tags: ['Management'],
      problems: [...PROBLEMS, 'SESSION_NOT_FOUND'],
      request: { params: sessionParam },
      responses: { 200: json(deletedAnswer, 'Deleted.'), 202: json(deletedAnswer, 'Being deleted.') },
    },
    async (c) => {
      const { session_id } = c.req.valid('param')
      c.set('logFields', { session_id })
      const { status, deletedTasks } = await deletion.remove(session_id)
      return c.json({ status, session_id, deleted_tasks: deletedTasks }, status === 'deleting' ? 202 : 200)
    },
  )

  endpoint(
    router,
    {
      method: 'post',
      path: `${base}/sessions/{session_id}/undelete`,
      operationId: 'undeleteSession',
      scope: 'translation:write',
      summary: 'Take a soft delete back',
      description: 'Shows a soft-deleted session, and its tasks, again.',
      tags: ['Management'],
      problems: [...PROBLEMS, 'SESSION_NOT_FOUND', 'SESSION_NOT_DELETED'],
      request: { params: sessionParam },
      responses: { 200: json(sessionDetail, 'The session.') },
    },
    async (c) => {
      const { session_id } = c.req.valid('param')
      c.set('logFields', { session_id })
      await deletion.undelete(session_id)
      return c.json(await reader.session(session_id), 200)
    },
  )

  endpoint(
    router,
    {
      method: 'patch',
      path: `${base}/sessions/{session_id}/status`,
      operationId: 'setSessionStatus',
      scope: 'translation:write',
      summary: 'Set the status of a session',
      description:
        'Accepted like any write; the answer is the session with it. A session that is not found is looked for on every instance, for up to 3 seconds.',
      tags: ['Management'],
      problems: [...PROBLEMS, 'BUFFER_FULL', 'SHUTTING_DOWN', 'SESSION_NOT_FOUND'],
      request: {
        params: sessionParam,
        body: {
          required: true,
          ...json(z.object({ status: sessionStatus }).meta({ id: 'StatusChange' }), 'The new status.'),
        },
      },
      responses: { 200: json(sessionDetail, 'The session.') },
    },
    async (c) => {
      const { session_id } = c.req.valid('param')
      c.set('logFields', { session_id })
      const change = [{ session_id, status: c.req.valid('json').status }]
      const offline = await isOffline(session_id)
      await writer.accept(translationSessions, change)
      return c.json(offline ? reader.bufferedSession(session_id)! : await reader.session(session_id), 200)
    },
  )

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/stats`,
      operationId: 'getStats',
      scope: 'translation:read',
      summary: 'Get statistics',
      description: 'Counts, times and sizes, as of a moment that the answer names.',
      tags: ['Management'],
      problems: ['BACKEND_UNAVAILABLE'],
      responses: { 200: json(statsAnswer, 'The statistics.') },
    },
    async (c) => c.json(await stats.read(), 200),
  )
}
