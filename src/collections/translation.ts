import { defineCollection } from './definition.ts'

/** A translation session: one file in translation. */
export const translationSessions = defineCollection({
  name: 'translation_sessions',
  kind: 'records',
  key: ['session_id'],
  fields: {
    filename: { type: 'text', required: true },
    file_path: { type: 'text', required: true },
    status: { type: 'text', required: true },
    game_info: { type: 'json' },
    llm_provider: { type: 'text', required: true },
    metadata: { type: 'json' },
    total_tasks: { type: 'integer' },
    completed_tasks: { type: 'integer' },
    failed_tasks: { type: 'integer' },
    processing_tasks: { type: 'integer' },
    deleted_at: { type: 'timestamp' },
  },
  filters: ['status', 'llm_provider'],
  sorts: ['created_at', 'updated_at', 'key'],
  search: ['filename', 'file_path'],
  hiddenBy: 'deleted_at',
  buffered: true,
})

/**
 * A translation task: one cell. Its key is (session, task): clients number the tasks of every
 * session from 0, and a session's tasks become one range of the clustered index.
 */
export const translationTasks = defineCollection({
  name: 'translation_tasks',
  kind: 'records',
  key: ['session_id', 'task_id'],
  fields: {
    batch_id: { type: 'text', required: true },
    sheet_name: { type: 'text', required: true },
    row_index: { type: 'integer', required: true },
    column_name: { type: 'text', required: true },
    source_text: { type: 'text', required: true },
    target_text: { type: 'text' },
    context: { type: 'text' },
    status: { type: 'text', required: true },
    confidence: { type: 'decimal' },
    error_message: { type: 'text' },
    retry_count: { type: 'integer' },
    start_time: { type: 'timestamp' },
    end_time: { type: 'timestamp' },
    duration_ms: { type: 'integer' },
  },
  filters: ['session_id', 'task_id', 'batch_id', 'status', 'sheet_name'],
  sorts: ['created_at', 'updated_at', 'key'],
  search: ['source_text', 'target_text', 'context'],
  parent: translationSessions,
  buffered: true,
})
