/** What is written: translation sessions and tasks as they come in. */
import { z } from '@hono/zod-openapi'
import { count, flag, identifier, jsonObject, longText, shortText, time } from '../http/fields.ts'
import { rejectedItem } from '../http/problem.ts'

export const SESSION_STATUSES = ['pending', 'processing', 'completed', 'failed', 'cancelled'] as const
export const TASK_STATUSES = ['pending', 'processing', 'completed', 'failed'] as const
export const TERMINAL_STATUSES: readonly string[] = ['completed', 'failed', 'cancelled']
export const MAX_BATCH_ITEMS = 1000

export const SESSION_ID = '550e8400-e29b-41d4-a716-446655440000'

export const sessionId = identifier(36, {
  description: 'Identifies the translation session; a UUID is advised. Compared byte by byte.',
  example: SESSION_ID,
})
export const taskId = identifier(64, {
  description: 'Identifies the task within its session. Compared byte by byte.',
  example: 'task_001',
})
export const sessionStatus = z
  .enum(SESSION_STATUSES)
  .meta({ id: 'SessionStatus', description: 'Status of the session.', example: 'processing' })
export const taskStatus = z
  .enum(TASK_STATUSES)
  .meta({ id: 'TaskStatus', description: 'Status of the task.', example: 'completed' })

const sessionRequired = {
  filename: shortText(255, { description: "The file's name.", example: 'game_translation.xlsx' }),
  file_path: shortText(512, { description: "The file's path.", example: '/uploads/game_translation.xlsx' }),
  status: sessionStatus,
  llm_provider: shortText(50, { description: 'Who translates.', example: 'openai' }),
}

const sessionOptional = {
  game_info: jsonObject({
    description: 'About the game. null clears it.',
    example: { game_name: 'Fantasy RPG', source_language: 'en', target_language: 'zh', game_type: 'RPG' },
  }),
  metadata: jsonObject({
    description: "The client's own data; integers beyond 2^53 are rounded, as JSON's are. null clears it.",
    example: { user_id: 'user_123', project_id: 'proj_456' },
  }),
  total_tasks: count({ description: 'All tasks. Absent or cleared reads as 0.', example: 1000 }).nullish(),
  completed_tasks: count({ description: 'Completed tasks.', example: 0 }).nullish(),
  failed_tasks: count({ description: 'Failed tasks.', example: 0 }).nullish(),
  processing_tasks: count({ description: 'Tasks being processed.', example: 0 }).nullish(),
}

const taskRequired = {
  batch_id: identifier(64, {
    description: 'The batch that the task was translated in.',
    example: 'batch_001',
  }),
  sheet_name: shortText(255, { description: "The worksheet's name.", example: 'Dialogue' }),
  row_index: count({ description: 'Row, from 0.', example: 10 }),
  column_name: shortText(255, { description: "The column's name.", example: 'Text' }),
  source_text: longText({ description: 'The text to translate.', example: 'Hello, adventurer!' }),
  status: taskStatus,
}

const taskOptional = {
  target_text: longText({ description: 'The translation.', example: '你好，冒险者！' }).nullish(),
  context: longText({
    description: 'Context for the translator.',
    example: 'NPC greeting dialogue',
  }).nullish(),
  confidence: z
    .number()
    .min(0)
    .max(1)
    .transform((value) => Math.round(value * 10_000) / 10_000)
    .nullish()
    .openapi({
      type: ['number', 'null'],
      minimum: 0,
      maximum: 1,
      description: 'Confidence, rounded to 4 digits.',
      example: 0.95,
    }),
  error_message: longText({ description: 'Why it failed.', example: 'API rate limit exceeded' }).nullish(),
  retry_count: count({ description: 'Attempts after the first.', example: 0 }).nullish(),
  start_time: time({ description: 'When the work on it began.', example: '2025-09-30T10:10:00Z' }),
  end_time: time({ description: 'When the work on it ended.', example: '2025-09-30T10:10:05Z' }),
  duration_ms: count({ description: 'How long it took, in milliseconds.', example: 5000 }).nullish(),
}

/** Every field optional, none of the required ones null. */
function sparse<S extends Record<string, z.ZodType>>(shape: S) {
  return Object.fromEntries(Object.entries(shape).map(([name, field]) => [name, field.optional()])) as {
    [name in keyof S]: z.ZodOptional<S[name]>
  }
}

export const sessionItem = z.object({ session_id: sessionId, ...sessionRequired, ...sessionOptional }).meta({
  id: 'SessionInput',
  description: 'A session. An absent optional field keeps what is stored; null clears it.',
})

export const taskItem = z
  .object({ task_id: taskId, session_id: sessionId, ...taskRequired, ...taskOptional })
  .meta({
    id: 'TaskInput',
    description: 'A task. An absent optional field keeps what is stored; null clears it.',
  })

export const sessionPatch = z
  .object({ session_id: sessionId, ...sparse(sessionRequired), ...sessionOptional })
  .meta({
    id: 'SessionPatch',
    description:
      'The key and any fields of a session; null clears an optional one, and where there are none nothing changes.',
  })

export const taskPatch = z
  .object({ task_id: taskId, session_id: sessionId, ...sparse(taskRequired), ...taskOptional })
  .meta({
    id: 'TaskPatch',
    description:
      'The key and any fields of a task; null clears an optional one, and where there are none nothing changes.',
  })

const items = <S extends z.ZodType>(item: S) =>
  z
    .array(item)
    .min(1, 'must hold at least 1 item')
    .max(MAX_BATCH_ITEMS, `must hold at most ${MAX_BATCH_ITEMS} items`)

export const sessionBatch = z.object({ sessions: items(sessionItem) }).meta({ id: 'SessionBatch' })
export const taskBatch = z.object({ tasks: items(taskItem) }).meta({ id: 'TaskBatch' })
export const sessionPatchBatch = z.object({ sessions: items(sessionPatch) }).meta({ id: 'SessionPatchBatch' })
export const taskPatchBatch = z.object({ tasks: items(taskPatch) }).meta({ id: 'TaskPatchBatch' })

export const writeQuery = z.object({
  partial: flag({
    description: 'Take the good items and answer which were rejected, instead of all or nothing.',
  }),
  wait: flag({
    description:
      'Answer once the rows are stored: 200 with an outcome for each item, 504 if that takes longer than 1.5 s.',
  }),
})

const timestamp = z.iso.datetime().meta({ example: '2025-09-30T10:15:30.000Z' })

export const acceptedAnswer = z
  .object({
    status: z.literal('accepted'),
    count: z.int().meta({ description: 'Items accepted.', example: 1 }),
    rejected: z
      .array(rejectedItem)
      .optional()
      .meta({ description: 'With `partial=true`: what was not accepted, and why.' }),
    timestamp,
  })
  .meta({ id: 'Accepted' })

export const OUTCOMES = ['stored', 'superseded', 'voided', 'refused'] as const

export const storedAnswer = z
  .object({
    status: z.literal('stored'),
    count: z.int().meta({ description: 'Items accepted.' }),
    written: z.int().meta({ description: 'Items that are stored, superseded ones included.' }),
    outcomes: z.array(
      z
        .object({
          index: z.int(),
          outcome: z.enum(OUTCOMES).meta({
            description:
              'superseded: no field of it was the newest. voided: a delete came after it. refused: the database refused it.',
          }),
          reason: z.string().optional(),
        })
        .meta({ id: 'ItemOutcome', description: 'What became of an item.' }),
    ),
    rejected: acceptedAnswer.shape.rejected,
    timestamp,
  })
  .meta({ id: 'Stored' })
