/** POST and PATCH of batches, and flush. */
import { z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { Collection } from '../collections/definition.ts'
import { translationSessions, translationTasks } from '../collections/translation.ts'
import type { RequestEnv } from '../http/context.ts'
import { endpoint, json, type Router } from '../http/endpoint.ts'
import { AppError } from '../lib/errors.ts'
import { withDeadline } from '../lib/retry.ts'
import { formatTime } from '../lib/time.ts'
import { type Everywhere, missingInstances } from './everywhere.ts'
import {
  acceptedAnswer,
  MAX_BATCH_ITEMS,
  sessionBatch,
  sessionItem,
  sessionPatch,
  sessionPatchBatch,
  storedAnswer,
  taskBatch,
  taskItem,
  taskPatch,
  taskPatchBatch,
  writeQuery,
} from './schema.ts'
import type { Item, Writer } from './write.ts'

interface WriteRoutesOptions {
  writer: Writer
  buffer: WriteBuffer
  everywhere: Everywhere
  /** Names this instance where it is the one that is late. */
  instanceId: string
  nowMs(): number
  /** How long a flush on request may take. */
  flushTimeoutMs: number
  /** Throws while the backends are known to be down. */
  assertReachable(): void
}

export const flushAnswer = z
  .object({
    status: z.literal('flushed'),
    sessions_written: z.int().meta({ example: 10 }),
    tasks_written: z.int().meta({ example: 850 }),
    duration_ms: z.int().meta({ example: 1200 }),
  })
  .meta({ id: 'Flushed' })

const flushIncomplete = flushAnswer
  .extend({
    status: z.literal('error'),
    missing_instances: missingInstances.meta({ example: ['instance-b'] }),
    error_code: z.literal('FLUSH_TIMEOUT'),
    detail: z.string().meta({ example: 'Not everything that was accepted is stored.' }),
    request_id: z.string().meta({ example: '01999999-0000-7000-8000-000000000000' }),
  })
  .meta({ id: 'FlushIncomplete' })

const BATCHES = [
  {
    method: 'post',
    path: 'sessions',
    collection: translationSessions,
    body: sessionBatch,
    item: sessionItem,
    operation: 'writeSessions',
    summary: 'Write translation sessions',
  },
  {
    method: 'post',
    path: 'tasks',
    collection: translationTasks,
    body: taskBatch,
    item: taskItem,
    operation: 'writeTasks',
    summary: 'Write translation tasks',
  },
  {
    method: 'patch',
    path: 'sessions',
    collection: translationSessions,
    body: sessionPatchBatch,
    item: sessionPatch,
    operation: 'patchSessions',
    summary: 'Patch translation sessions',
  },
  {
    method: 'patch',
    path: 'tasks',
    collection: translationTasks,
    body: taskPatchBatch,
    item: taskPatch,
    operation: 'patchTasks',
    summary: 'Patch translation tasks',
  },
] as const

const DESCRIPTIONS = {
  post: 'Accepts up to 1000 items, all or nothing, and answers before they are stored, which they are within 30 seconds while the backend is up. Repeating a request changes nothing. An absent optional field keeps what is stored, null clears it; several items of one key are merged in their order.',
  patch:
    'As POST, with sparse items: the key and any fields. What does not exist yet is stored, and shown once its required fields have arrived.',
}

/** `base` is the path before `/sessions/batch`; the deprecated paths are the same routes. */
export function writeRoutes(
  router: Router,
  base: string,
  options: WriteRoutesOptions,
  deprecated = false,
): void {
  const prefix = deprecated ? 'v1' : ''
  const name = (operation: string) =>
    prefix ? `${prefix}${operation[0]!.toUpperCase()}${operation.slice(1)}` : operation
  const tags = [deprecated ? 'Deprecated' : 'Write']

  for (const batch of BATCHES) {
    if (deprecated && batch.method === 'patch') continue
    endpoint(
      router,
      {
        method: batch.method,
        path: `${base}/${batch.path}/batch`,
        operationId: name(batch.operation),
        scope: 'translation:write',
        limit: 'none',
        summary: batch.summary,
        description: DESCRIPTIONS[batch.method],
        tags,
        ...(deprecated && { deprecated }),
        problems: ['BUFFER_FULL', 'NOT_READY', 'SHUTTING_DOWN', 'WRITE_PENDING'],
        batch: { list: batch.path, item: batch.item, maxItems: MAX_BATCH_ITEMS },
        request: { query: writeQuery, body: { required: true, ...json(batch.body, 'The items.') } },
        responses: {
          202: json(acceptedAnswer, 'Accepted.'),
          200: json(storedAnswer, 'With `wait=true`: stored.'),
        },
      },
      async (c) => {
        const body = c.req.valid('json' as never) as Record<string, Item[]>
        return answerBatch(c as never, batch.collection, body[batch.path]!, options) as never
      },
    )
  }

  endpoint(
    router,
    {
      method: 'post',
      path: `${base}/flush`,
      operationId: name('flush'),
      scope: 'translation:write',
      limit: 'none',
      summary: 'Store everything that is buffered',
      description:
        'Waits, at most 8 seconds, until every instance has stored what it had accepted before the call. Where one has not, what the others hold is stored, and the answer names it. Concurrent calls share one flush.',
      tags,
      ...(deprecated && { deprecated }),
      problems: ['BACKEND_UNAVAILABLE', 'NOT_READY'],
      responses: {
        200: json(flushAnswer, 'Stored.'),
        504: json(flushIncomplete, 'Stored as far as the instances answered in time.'),
      },
    },
    async (c) => {
      options.assertReachable()
      const { missing, ...written } = await flushEverywhere(options)
      if (missing.length === 0) return c.json({ status: 'flushed' as const, ...written }, 200)
      c.set('errorCode', 'FLUSH_TIMEOUT')
      c.set('logFields', { meta: { missing_instances: missing } })
      return c.json(
        {
          status: 'error' as const,
          ...written,
          missing_instances: missing,
          error_code: 'FLUSH_TIMEOUT' as const,
          detail:
            'Not everything that was accepted is stored: the instances named are dead, or were not done in time.',
          request_id: c.get('requestId'),
        },
        504,
      )
    },
  )
}

async function answerBatch(
  c: Context<RequestEnv>,
  collection: Collection,
  items: Item[],
  options: WriteRoutesOptions,
): Promise<Response> {
  const { writer } = options
  const stamp = await writer.accept(collection, items)
  const sorted = c.get('sorted')
  const rejected = sorted && { rejected: sorted.rejected }
  c.set('logFields', logFields(items, options.buffer.status().rows))
  if (c.req.query('wait') !== 'true') {
    return c.json(
      { status: 'accepted', count: items.length, ...rejected, timestamp: formatTime(options.nowMs()) },
      202,
    )
  }
  const settled = await writer.settle(collection, items, stamp).catch((error) => {
    // What was rejected can't be asked for later.
    if (error instanceof AppError) Object.assign(error.members, rejected)
    throw error
  })
  const outcomes = settled.map((outcome) => ({
    ...outcome,
    index: sorted?.positions[outcome.index] ?? outcome.index,
  }))
  const written = outcomes.filter(({ outcome }) => outcome === 'stored' || outcome === 'superseded').length
  return c.json(
    {
      status: 'stored',
      count: items.length,
      written,
      outcomes,
      ...rejected,
      timestamp: formatTime(options.nowMs()),
    },
    200,
  )
}

function logFields(items: readonly Item[], bufferedRows: number) {
  const session = items[0]?.session_id
  const one = typeof session === 'string' && items.every((item) => item.session_id === session)
  return { ...(one && { session_id: session }), meta: { count: items.length, buffer_size: bufferedRows } }
}

function storedRows(buffer: WriteBuffer): { sessions: number; tasks: number } {
  const of = (name: string) =>
    buffer.status().collections.find(({ collection }) => collection === name)?.counts.stored ?? 0
  return { sessions: of(translationSessions.name), tasks: of(translationTasks.name) }
}

/** The own flush; rows that are counted so far where it isn't done in time. It goes on then. */
async function flushOwn(
  options: WriteRoutesOptions,
): Promise<{ sessions: number; tasks: number; late: boolean }> {
  const before = storedRows(options.buffer)
  const late = new AppError('FLUSH_TIMEOUT')
  try {
    const reports = await withDeadline(options.buffer.flush(), options.flushTimeoutMs, () => late)
    for (const { failure } of reports.values()) if (failure) throw failure
    const written = (collection: Collection) => reports.get(collection.name)?.written ?? 0
    return { sessions: written(translationSessions), tasks: written(translationTasks), late: false }
  } catch (error) {
    if (error !== late) throw error
    const { sessions, tasks } = storedRows(options.buffer)
    return { sessions: sessions - before.sessions, tasks: tasks - before.tasks, late: true }
  }
}

async function flushEverywhere(options: WriteRoutesOptions): Promise<{
  sessions_written: number
  tasks_written: number
  duration_ms: number
  missing: string[]
}> {
  const { everywhere, instanceId } = options
  const start = performance.now()
  const [own, others] = await Promise.all([flushOwn(options), everywhere.others(options.flushTimeoutMs)])
  return {
    sessions_written: own.sessions + (others.written[translationSessions.name] ?? 0),
    tasks_written: own.tasks + (others.written[translationTasks.name] ?? 0),
    duration_ms: Math.round(performance.now() - start),
    missing: [...(own.late ? [instanceId] : []), ...others.missing],
  }
}
