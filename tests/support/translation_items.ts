/** Items to send: complete, unless a field is taken away. */

/** An item of a batch. */
export type Item = Record<string, unknown>

/** A session that is being worked on. */
export function sessionItem(sessionId: string, fields: Item = {}): Item {
  return {
    session_id: sessionId,
    filename: `${sessionId}.xlsx`,
    file_path: `/uploads/${sessionId}.xlsx`,
    status: 'processing',
    llm_provider: 'openai',
    ...fields,
  }
}

/** A pending task. */
export function taskItem(sessionId: string, taskId: string, fields: Item = {}): Item {
  return {
    session_id: sessionId,
    task_id: taskId,
    batch_id: 'batch_001',
    sheet_name: 'Dialogue',
    row_index: 0,
    column_name: 'Text',
    source_text: `source of ${taskId}`,
    status: 'pending',
    ...fields,
  }
}

/** Pending tasks `task_<from>`, …, numbered as API.md's client does; `row_index` is the number. */
export function taskItems(
  sessionId: string,
  count: number,
  { from = 0, ...fields }: Item & { from?: number } = {},
) {
  return Array.from({ length: count }, (_, i) =>
    taskItem(sessionId, `task_${from + i}`, { row_index: from + i, ...fields }),
  )
}
