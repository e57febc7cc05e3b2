/** Rows that their backend refused for what they are. */
import { z } from '@hono/zod-openapi'
import type { LetterFilter, StoredLetter } from '../backends/coordination.ts'
import type { Collection, FieldType, Value } from '../collections/definition.ts'
import { endpoint, json, type Router } from '../http/endpoint.ts'
import { identifier, shortText } from '../http/fields.ts'
import { listAnswer, pageOffset, pageQuery } from '../http/listing.ts'
import { validationError } from '../http/problem.ts'
import { decodeCursor, encodeCursor } from '../lib/cursor.ts'
import { formatTime } from '../lib/time.ts'
import type { DeadLetterService } from './dead_letters.ts'

interface DeadLetterRoutesOptions {
  deadLetters: DeadLetterService
  /** Those whose fields have names here. */
  collections: readonly Collection[]
}

const PATH = '/api/v1/system/dead-letters'
const PROBLEMS = ['BACKEND_UNAVAILABLE'] as const
const MAX_IDS = 1000
/** What is to be selected stands in the body: a filter in the query would be ignored, and everything matched. */
const noQuery = z.strictObject({})
const CURSOR = 'dead_letters'
const LETTER_ID = '01999999-0000-7000-8000-000000000000'

const filters = {
  collection: shortText(64, {
    description: 'Only letters of this collection.',
    example: 'translation_tasks',
  })
    .min(1)
    .optional(),
  session_id: identifier(36, {
    description: 'Only letters of this session: its own, and those of its tasks.',
    example: '550e8400-e29b-41d4-a716-446655440000',
  }).optional(),
  reason: shortText(200, {
    description: 'Only letters whose reason contains this text.',
    example: 'Data too long',
  })
    .min(1)
    .optional(),
}

const listQuery = z.object({
  ...filters,
  page: pageQuery.page,
  page_size: pageQuery.page_size,
  cursor: pageQuery.cursor,
})

/** A misspelt filter would mean more letters than were meant: unlike elsewhere, an unknown field is a fault. */
const selection = z
  .strictObject({
    ids: z
      .array(z.uuid().transform((id) => id.toLowerCase()))
      .min(1)
      .max(MAX_IDS)
      .optional()
      .openapi({ description: 'Only these letters.', example: [LETTER_ID] }),
    ...filters,
    dry_run: z.boolean().optional().meta({ description: 'Count only.', example: false }),
  })
  .meta({
    id: 'DeadLetterSelection',
    description: 'Which letters: all that are given hold together, and none of them means all letters.',
  })

const letterAnswer = z
  .object({
    id: z.string().meta({ example: LETTER_ID }),
    collection: z.string().meta({ example: 'translation_tasks' }),
    key: z
      .record(z.string(), z.string())
      .meta({ description: "The key's fields.", example: { session_id: 's', task_id: 'task_0' } }),
    reason: z.string().meta({
      description: 'In the words of the backend; what is not ASCII is escaped as JSON does.',
      example: "Data too long for column 'column_name' at row 1",
    }),
    error_code: z.string().meta({ description: "The backend's own.", example: '1406' }),
    row: z.record(z.string(), z.unknown()).meta({
      description: 'The fields that were written; null is one that was cleared.',
      example: { source_text: 'Hello', status: 'pending' },
    }),
    accepted_at: z.iso.datetime().meta({ example: '2025-09-30T10:00:00.000Z' }),
    failed_at: z.iso
      .datetime()
      .meta({ description: 'When it was refused last.', example: '2025-09-30T10:00:30.000Z' }),
    attempts: z.int().meta({ description: 'How often it was refused.', example: 1 }),
  })
  .meta({ id: 'DeadLetter' })

const matched = z.int().meta({ description: 'Letters that the request means.', example: 3 })
const dryRun = z.boolean().meta({ example: false })

const replayedAnswer = z
  .object({
    matched,
    replayed: z.int().meta({
      description: 'Letters whose rows were tried again; fewer than matched where it had to stop.',
      example: 3,
    }),
    refused: z.int().meta({ description: 'Those of them that were refused again, and stay.', example: 0 }),
    dry_run: dryRun,
  })
  .meta({ id: 'DeadLettersReplayed' })

const purgedAnswer = z
  .object({ matched, purged: z.int().meta({ example: 3 }), dry_run: dryRun })
  .meta({ id: 'DeadLettersPurged' })

const selectionBody = { required: false, ...json(selection, 'Which letters; all without a body.') }

export function deadLetterRoutes(router: Router, options: DeadLetterRoutesOptions): void {
  const { deadLetters } = options
  const known = new Map(options.collections.map((collection) => [collection.name, collection]))

  endpoint(
    router,
    {
      method: 'get',
      path: PATH,
      operationId: 'listDeadLetters',
      scope: 'system:admin',
      summary: 'List dead letters',
      description: 'Rows that their backend refused for what they are, with the reason; the newest first.',
      tags: ['System'],
      problems: PROBLEMS,
      request: { query: listQuery },
      responses: { 200: json(listAnswer(letterAnswer, 'DeadLetterList'), 'A page of dead letters.') },
    },
    async (c) => {
      const { page, page_size, cursor, ...filter } = c.req.valid('query')
      const from = cursor === undefined ? { page, offset: pageOffset({ page, page_size }) } : startOf(cursor)
      const { page: number, ...position } = from
      // One letter more than asked for tells whether there is a next page.
      const { total, letters } = await deadLetters.list(filterOf(filter), {
        limit: page_size + 1,
        ...position,
      })
      const shown = letters.slice(0, page_size)
      const next = letters.length > page_size ? shown.at(-1)!.id : null
      return c.json(
        {
          total,
          total_exact: true,
          page: number,
          page_size,
          total_pages: Math.ceil(total / page_size),
          items: shown.map((letter) => toAnswer(letter, known.get(letter.collection))),
          next_cursor: next && encodeCursor({ sort: CURSOR, values: [number + 1, next] }),
        },
        200,
      )
    },
  )

  endpoint(
    router,
    {
      method: 'post',
      path: `${PATH}/replay`,
      operationId: 'replayDeadLetters',
      scope: 'system:admin',
      summary: 'Try dead letters again',
      description:
        'Tries the rows of dead letters again, after what refused them was mended. A row that is stored, or had been superseded, loses its letter; one that is refused again keeps it, with an attempt more. What was accepted later is never overwritten. Letters that fail while it runs are not part of it. Where the write buffer is full, or the backend fails, it stops and answers what was done.',
      tags: ['System'],
      problems: [...PROBLEMS, 'BUFFER_FULL', 'JOURNAL_UNAVAILABLE', 'NOT_READY', 'SHUTTING_DOWN'],
      request: { query: noQuery, body: selectionBody },
      responses: { 200: json(replayedAnswer, 'What was replayed.') },
    },
    async (c) => {
      const { dry_run = false, ...filter } = c.req.valid('json')
      const result = await deadLetters.replay(filterOf(filter), { dryRun: dry_run })
      return c.json({ ...result, dry_run }, 200)
    },
  )

  endpoint(
    router,
    {
      method: 'post',
      path: `${PATH}/purge`,
      operationId: 'purgeDeadLetters',
      scope: 'system:admin',
      summary: 'Throw dead letters away',
      description:
        'Removes dead letters for good. Letters that fail, or fail again, while it runs are not part of it.',
      tags: ['System'],
      problems: PROBLEMS,
      request: { query: noQuery, body: selectionBody },
      responses: { 200: json(purgedAnswer, 'What was removed.') },
    },
    async (c) => {
      const { dry_run = false, ...filter } = c.req.valid('json')
      const result = await deadLetters.purge(filterOf(filter), { dryRun: dry_run })
      return c.json({ ...result, dry_run }, 200)
    },
  )
}

interface Selected {
  ids?: string[] | undefined
  collection?: string | undefined
  session_id?: string | undefined
  reason?: string | undefined
}

function filterOf({ ids, collection, session_id, reason }: Selected): LetterFilter {
  return {
    ...(ids !== undefined && { ids }),
    ...(collection !== undefined && { collection }),
    ...(session_id !== undefined && { group: session_id }),
    ...(reason !== undefined && { reason }),
  }
}

function startOf(text: string): { page: number; before: string } {
  const [page, before] = decodeCursor(text, CURSOR, 2)?.values ?? []
  if (typeof page === 'number' && Number.isSafeInteger(page) && page >= 1 && typeof before === 'string')
    return { page, before }
  throw validationError([{ field: 'cursor', message: 'is no cursor of this list' }])
}

/** The fields of a collection that is not known here have their numbers as names. */
function toAnswer(letter: StoredLetter, collection: Collection | undefined): z.infer<typeof letterAnswer> {
  const { key, values, createdAtMs } = letter.row
  const fields = values.flatMap((value, slot) => {
    if (value === undefined) return []
    const name = collection?.slots[slot]
    return [[name ?? String(slot), name ? shown(collection!.typeOf(name), value) : value]]
  })
  return {
    id: letter.id,
    collection: letter.collection,
    key: Object.fromEntries(key.map((part, i) => [collection?.key[i] ?? String(i), part])),
    reason: letter.reason,
    error_code: letter.code,
    row: Object.fromEntries(fields),
    accepted_at: formatTime(createdAtMs),
    failed_at: formatTime(letter.failedAtMs),
    attempts: letter.attempts,
  }
}

/** A stored value as it came in. */
function shown(type: FieldType, value: Value): unknown {
  if (type === 'json' && typeof value === 'string') return JSON.parse(value)
  if (type === 'timestamp' && typeof value === 'number') return formatTime(value)
  return value
}
