/** GET of sessions and tasks, one and many. */
import { z } from '@hono/zod-openapi'
import type { Filter } from '../backends/backend.ts'
import { translationSessions as sessions, translationTasks as tasks } from '../collections/translation.ts'
import { endpoint, json, type Router } from '../http/endpoint.ts'
import { shortText } from '../http/fields.ts'
import { dateQuery, listAnswer, pageQuery } from '../http/listing.ts'
import { validationError } from '../http/problem.ts'
import { consistencyQuery, covering, type Everywhere } from './everywhere.ts'
import { type Lister, type ListPage, textQuery } from './listing.ts'
import type { Reader } from './read.ts'
import { sessionId, sessionStatus, taskId, taskStatus } from './schema.ts'
import { SUMMARY_FIELDS, sessionDetail, sessionSummary, taskDetail, toSummary, toTask } from './views.ts'

interface QueryRoutesOptions {
  reader: Reader
  lister: Lister
  everywhere: Everywhere
}

const sessionParam = z.object({ session_id: sessionId })
const taskParam = z.object({ task_id: taskId })
const sessionQuery = z.object(consistencyQuery)
const taskQuery = z.object({ session_id: sessionId.optional(), ...consistencyQuery })
const batchId = shortText(64, { description: 'Only tasks of this batch.', example: 'batch_001' }).optional()
const sheetName = shortText(255, {
  description: 'Only tasks of this worksheet.',
  example: 'Dialogue',
}).optional()

const sessionsQuery = z.object({
  status: sessionStatus.optional(),
  llm_provider: shortText(50, {
    description: 'Only sessions of this provider.',
    example: 'openai',
  }).optional(),
  ...dateQuery,
  q: textQuery('filename or file_path'),
  sort_by: z
    .enum(['created_at', 'updated_at'])
    .default('created_at')
    .openapi({ description: 'What to order by; newest first unless `order=asc`.' }),
  ...pageQuery,
  ...consistencyQuery,
})

const taskFilters = {
  status: taskStatus.optional(),
  sheet_name: sheetName,
  batch_id: batchId,
  ...dateQuery,
}

const tasksQuery = z.object({
  session_id: sessionId.optional(),
  ...taskFilters,
  q: textQuery('source_text, target_text or context; needs session_id'),
  sort_by: z.enum(['created_at', 'updated_at', 'task_id']).default('created_at').openapi({
    description:
      'What to order by; newest first unless `order=asc`. `task_id` orders by session and task, ascending unless `order=desc`.',
  }),
  ...pageQuery,
  ...consistencyQuery,
})

const sessionTasksQuery = z.object({
  ...taskFilters,
  q: textQuery('source_text, target_text or context'),
  sort_by: z.enum(['task_id', 'created_at', 'updated_at']).default('task_id').openapi({
    description: 'What to order by: `task_id` ascending, times newest first, unless `order` says otherwise.',
  }),
  ...pageQuery,
  ...consistencyQuery,
})

const READ_PROBLEMS = ['BACKEND_UNAVAILABLE'] as const

export function queryRoutes(router: Router, base: string, options: QueryRoutesOptions): void {
  const { reader, lister, everywhere } = options

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/sessions`,
      operationId: 'listSessions',
      scope: 'translation:read',
      summary: 'List translation sessions',
      description: 'Stored sessions, with the counters that the client wrote.',
      tags: ['Query'],
      problems: READ_PROBLEMS,
      request: { query: sessionsQuery },
      responses: {
        200: json(
          covering(listAnswer(sessionSummary, 'SessionListPage'), 'SessionList'),
          'A page of sessions.',
        ),
      },
    },
    async (c) => {
      const query = c.req.valid('query')
      const answer = await everywhere.read(query.consistency, async () =>
        answerOf(
          await lister.list(sessions, filtersOf(query), { ...query, sort: query.sort_by }, SUMMARY_FIELDS),
          toSummary,
        ),
      )
      return c.json(answer, 200)
    },
  )

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/sessions/{session_id}`,
      operationId: 'getSession',
      scope: 'translation:read',
      limit: 'session',
      summary: 'Get a translation session',
      description: 'The stored session, merged with what this instance has buffered of it.',
      tags: ['Query'],
      problems: [...READ_PROBLEMS, 'SESSION_NOT_FOUND'],
      request: { params: sessionParam, query: sessionQuery },
      responses: { 200: json(covering(sessionDetail, 'SessionRead'), 'The session.') },
    },
    async (c) => {
      const { session_id } = c.req.valid('param')
      c.set('logFields', { session_id })
      const { consistency } = c.req.valid('query')
      return c.json(await everywhere.read(consistency, () => reader.session(session_id)), 200)
    },
  )

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/sessions/{session_id}/tasks`,
      operationId: 'listSessionTasks',
      scope: 'translation:read',
      limit: 'session',
      summary: "List a session's tasks",
      description:
        'Stored tasks of one session; readable as soon as they are there, even before their session is.',
      tags: ['Query'],
      problems: [...READ_PROBLEMS, 'SESSION_NOT_FOUND'],
      request: { params: sessionParam, query: sessionTasksQuery },
      responses: {
        200: json(
          covering(
            listAnswer(taskDetail, 'SessionTaskListPage').extend({ session_id: z.string() }),
            'SessionTaskList',
          ),
          'A page of tasks.',
        ),
      },
    },
    async (c) => {
      const { session_id } = c.req.valid('param')
      const query = c.req.valid('query')
      c.set('logFields', { session_id })
      const filters: Filter[] = [{ op: 'eq', field: 'session_id', value: session_id }, ...filtersOf(query)]
      const answer = await everywhere.read(query.consistency, async () => {
        const [page] = await Promise.all([
          lister.list(tasks, filters, { ...query, sort: sortOf(query.sort_by) }),
          reader.assertTasksReadable(session_id),
        ])
        return { session_id, ...answerOf(page, toTask) }
      })
      return c.json(answer, 200)
    },
  )

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/tasks`,
      operationId: 'listTasks',
      scope: 'translation:read',
      limit: 'session',
      summary: 'List translation tasks',
      description: 'Stored tasks of all sessions.',
      tags: ['Query'],
      problems: READ_PROBLEMS,
      request: { query: tasksQuery },
      responses: {
        200: json(covering(listAnswer(taskDetail, 'TaskListPage'), 'TaskList'), 'A page of tasks.'),
      },
    },
    async (c) => {
      const { session_id, ...query } = c.req.valid('query')
      if (query.q !== undefined && session_id === undefined) {
        throw validationError([
          { field: 'q', message: 'needs session_id: text is searched within one session' },
        ])
      }
      const filters: Filter[] = [
        ...(session_id === undefined ? [] : [{ op: 'eq' as const, field: 'session_id', value: session_id }]),
        ...filtersOf(query),
      ]
      const answer = await everywhere.read(query.consistency, async () =>
        answerOf(await lister.list(tasks, filters, { ...query, sort: sortOf(query.sort_by) }), toTask),
      )
      return c.json(answer, 200)
    },
  )

  endpoint(
    router,
    {
      method: 'get',
      path: `${base}/tasks/{task_id}`,
      operationId: 'getTask',
      scope: 'translation:read',
      limit: 'session',
      summary: 'Get a translation task',
      description:
        'The newest task of that id in any session, or that of `session_id`; merged with what this instance has buffered of it.',
      tags: ['Query'],
      problems: [...READ_PROBLEMS, 'TASK_NOT_FOUND'],
      request: { params: taskParam, query: taskQuery },
      responses: { 200: json(covering(taskDetail, 'TaskRead'), 'The task.') },
    },
    async (c) => {
      const { task_id } = c.req.valid('param')
      const { session_id, consistency } = c.req.valid('query')
      return c.json(await everywhere.read(consistency, () => reader.task(task_id, session_id)), 200)
    },
  )
}

const sortOf = (sortBy: string) => (sortBy === 'task_id' ? 'key' : sortBy)

interface FilterQuery {
  from_date?: number | undefined
  to_date?: number | undefined
  q?: string | undefined
  [field: string]: unknown
}

const EQUAL = ['status', 'llm_provider', 'sheet_name', 'batch_id'] as const

function filtersOf(query: FilterQuery): Filter[] {
  const filters: Filter[] = []
  for (const field of EQUAL) {
    const value = query[field]
    if (typeof value === 'string') filters.push({ op: 'eq', field, value })
  }
  if (query.from_date !== undefined) filters.push({ op: 'gte', field: 'created_at', value: query.from_date })
  if (query.to_date !== undefined) filters.push({ op: 'lte', field: 'created_at', value: query.to_date })
  if (query.q !== undefined) filters.push({ op: 'text', value: query.q })
  return filters
}

function answerOf<T>({ records, ...page }: ListPage, view: (record: ListPage['records'][number]) => T) {
  return { ...page, items: records.map((record) => view(record)) }
}
