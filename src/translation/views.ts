/** How sessions and tasks look from outside: wire shapes, and the way from a stored record to them. */
import { z } from '@hono/zod-openapi'
import type { Value } from '../collections/definition.ts'
import type { FlatRecord } from '../collections/row.ts'
import { formatTime, MAX_TIME_MS } from '../lib/time.ts'
import { SESSION_ID, sessionStatus, taskStatus } from './schema.ts'

const moment = (description: string) =>
  z.iso.datetime().meta({ description, example: '2025-09-30T10:00:00.000Z' })
const jsonValue = z.record(z.string(), z.unknown()).nullable()
const counter = (description: string, example: number) => z.int().meta({ description, example })

export const sessionSummary = z
  .object({
    session_id: z.string().meta({ example: SESSION_ID }),
    filename: z.string().meta({ example: 'game.xlsx' }),
    file_path: z.string().meta({ example: '/uploads/game.xlsx' }),
    status: sessionStatus,
    llm_provider: z.string().meta({ example: 'openai' }),
    total_tasks: counter('All tasks.', 1000),
    completed_tasks: counter('Completed tasks.', 350),
    failed_tasks: counter('Failed tasks.', 5),
    processing_tasks: counter('Tasks being processed.', 10),
    pending_tasks: counter('total − completed − failed − processing, never below 0.', 635),
    progress: z.number().meta({ description: 'Percent completed, one decimal.', example: 35 }),
    created_at: moment('When it was first accepted.'),
    updated_at: moment('When its newest field was accepted.'),
  })
  .meta({ id: 'SessionSummary', description: 'A session with the counters that the client wrote.' })

export const sessionDetail = sessionSummary
  .extend({
    game_info: jsonValue.meta({
      example: { game_name: 'Fantasy RPG', source_language: 'en', target_language: 'zh' },
    }),
    metadata: jsonValue.meta({ example: { user_id: 'user_123' } }),
    estimated_completion: z.iso.datetime().nullable().meta({
      description: 'From the rate so far; null when it cannot be told.',
      example: '2025-09-30T10:20:00.000Z',
    }),
    dead_lettered_tasks: counter('Tasks that the database refused for what they are.', 0),
  })
  .meta({
    id: 'SessionDetail',
    description: 'A session; its counters are those of the stored tasks where there are any.',
  })

export const taskDetail = z
  .object({
    task_id: z.string().meta({ example: 'task_001' }),
    session_id: z.string().meta({ example: SESSION_ID }),
    batch_id: z.string().meta({ example: 'batch_001' }),
    sheet_name: z.string().meta({ example: 'Dialogue' }),
    row_index: z.int().meta({ example: 10 }),
    column_name: z.string().meta({ example: 'Text' }),
    source_text: z.string().meta({ example: 'Hello, adventurer!' }),
    target_text: z.string().nullable().meta({ example: '你好，冒险者！' }),
    context: z.string().nullable().meta({ example: 'NPC greeting dialogue' }),
    status: taskStatus,
    confidence: z.number().nullable().meta({ example: 0.95 }),
    error_message: z.string().nullable().meta({ example: null }),
    retry_count: z.int().meta({ example: 0 }),
    start_time: z.iso.datetime().nullable().meta({ example: '2025-09-30T10:10:00.000Z' }),
    end_time: z.iso.datetime().nullable().meta({ example: '2025-09-30T10:10:05.000Z' }),
    duration_ms: z.int().nullable().meta({ example: 5000 }),
    created_at: moment('When it was first accepted.'),
    updated_at: moment('When its newest field was accepted.'),
  })
  .meta({ id: 'Task' })

export type SessionSummary = z.infer<typeof sessionSummary>
export type SessionDetail = z.infer<typeof sessionDetail>
export type TaskDetail = z.infer<typeof taskDetail>

/** The stored fields that a summary shows. */
export const SUMMARY_FIELDS = [
  'filename',
  'file_path',
  'status',
  'llm_provider',
  'total_tasks',
  'completed_tasks',
  'failed_tasks',
  'processing_tasks',
] as const

/** Stored tasks of a session by status. */
export type StatusCounts = ReadonlyMap<Value, number>

const asTime = (value: Value | undefined) => (typeof value === 'number' ? formatTime(value) : null)
const asNumber = (value: Value | undefined) => (typeof value === 'number' ? value : 0)
const asJson = (value: Value | undefined) =>
  typeof value === 'string' ? (JSON.parse(value) as Record<string, unknown>) : null

/** `counts` replaces the client's counters where there are stored tasks. */
export function toSummary(record: FlatRecord, counts?: StatusCounts): SessionSummary {
  const stored = counts ? [...counts.values()].reduce((sum, n) => sum + n, 0) : 0
  const of = (status: string) =>
    stored > 0 ? (counts!.get(status) ?? 0) : asNumber(record[`${status}_tasks`])
  const [completed, failed, processing] = [of('completed'), of('failed'), of('processing')]
  const total = Math.max(asNumber(record.total_tasks), stored)
  return {
    session_id: record.session_id as string,
    filename: record.filename as string,
    file_path: record.file_path as string,
    status: record.status as SessionSummary['status'],
    llm_provider: record.llm_provider as string,
    total_tasks: total,
    completed_tasks: completed,
    failed_tasks: failed,
    processing_tasks: processing,
    pending_tasks: Math.max(0, total - completed - failed - processing),
    progress: total > 0 ? Math.round((completed / total) * 1000) / 10 : 0,
    created_at: formatTime(record.created_at as number),
    updated_at: formatTime(record.updated_at as number),
  }
}

export function toDetail(record: FlatRecord, counts: StatusCounts, deadLetters: number): SessionDetail {
  const summary = toSummary(record, counts)
  return {
    ...summary,
    game_info: asJson(record.game_info),
    metadata: asJson(record.metadata),
    estimated_completion: estimate(summary, record.created_at as number, record.updated_at as number),
    dead_lettered_tasks: deadLetters,
  }
}

/** The rest at the rate so far, counted from the last sign of progress. */
function estimate(session: SessionSummary, createdAtMs: number, updatedAtMs: number): string | null {
  const done = session.completed_tasks + session.failed_tasks
  const elapsedMs = updatedAtMs - createdAtMs
  if (session.status !== 'processing' || done === 0 || elapsedMs <= 0) return null
  const remaining = session.total_tasks - done
  if (remaining <= 0) return null
  const atMs = updatedAtMs + Math.round((elapsedMs / done) * remaining)
  return atMs <= MAX_TIME_MS ? formatTime(atMs) : null
}

export function toTask(record: FlatRecord): TaskDetail {
  return {
    task_id: record.task_id as string,
    session_id: record.session_id as string,
    batch_id: record.batch_id as string,
    sheet_name: record.sheet_name as string,
    row_index: record.row_index as number,
    column_name: record.column_name as string,
    source_text: record.source_text as string,
    target_text: record.target_text as string | null,
    context: record.context as string | null,
    status: record.status as TaskDetail['status'],
    confidence: record.confidence as number | null,
    error_message: record.error_message as string | null,
    retry_count: asNumber(record.retry_count),
    start_time: asTime(record.start_time),
    end_time: asTime(record.end_time),
    duration_ms: record.duration_ms as number | null,
    created_at: formatTime(record.created_at as number),
    updated_at: formatTime(record.updated_at as number),
  }
}
