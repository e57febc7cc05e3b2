/** The bodies that Backend V2 sends, and what must be read back at the end. */
import type { PlannedBatch, PlannedSession } from './plan.ts'

/** The states that every task goes through, in this order. */
export const TASK_STATES = ['pending', 'processing', 'completed'] as const
export type TaskState = (typeof TASK_STATES)[number]

type Item = Record<string, unknown>

interface SessionProgress {
  /** Tag of this run, by which its sessions can be told from others. */
  replayId: string
  completed: number
  processing: number
}

/** A session as far as it has got; it is completed with its last task. */
export function sessionItem(session: PlannedSession, progress: SessionProgress): Item {
  const { rows, filename, gameInfo, sessionId } = session
  return {
    session_id: sessionId,
    filename,
    file_path: `/uploads/${filename}`,
    status: progress.completed === rows.length ? 'completed' : 'processing',
    game_info: gameInfo,
    llm_provider: 'openai',
    metadata: { user_id: 'replay', replay_id: progress.replayId },
    total_tasks: rows.length,
    completed_tasks: progress.completed,
    failed_tasks: 0,
    processing_tasks: progress.processing,
  }
}

/** The detail that a replayed session must have at the end. */
export function expectedSession(session: PlannedSession, replayId: string): Item {
  const posted = sessionItem(session, { replayId, completed: session.rows.length, processing: 0 })
  return { ...posted, pending_tasks: 0, progress: 100 }
}

/** The tasks of a batch on entering a state. */
export function taskItems(batch: PlannedBatch, state: TaskState): Item[] {
  return Array.from({ length: batch.to - batch.from }, (_, n) => {
    const index = batch.from + n
    return { ...requiredFields(batch, index), status: state, ...addedFields(batch, index)[state] }
  })
}

/** What task `index` of a session must be at the end: all that was said of it in its three states. */
export function expectedTask(batch: PlannedBatch, index: number): Item {
  const { pending, processing, completed } = addedFields(batch, index)
  return { ...requiredFields(batch, index), status: 'completed', ...pending, ...processing, ...completed }
}

export function taskIdOf(index: number): string {
  return `task_${index}`
}

function requiredFields(batch: PlannedBatch, index: number): Item {
  const { sheet, row, source } = batch.session.rows[index]!
  return {
    task_id: taskIdOf(index),
    session_id: batch.session.sessionId,
    batch_id: batch.batchId,
    sheet_name: sheet,
    row_index: row,
    column_name: 'Text',
    source_text: source,
  }
}

/** What each state adds. The context comes with the first alone: later writes must not lose it. */
function addedFields({ session, startMs, endMs }: PlannedBatch, index: number): Record<TaskState, Item> {
  const { context, target } = session.rows[index]!
  const start_time = new Date(startMs).toISOString()
  return {
    pending: { context, retry_count: 0 },
    processing: { start_time },
    completed: {
      target_text: target,
      confidence: confidenceOf(index),
      error_message: null,
      start_time,
      end_time: new Date(endMs).toISOString(),
      duration_ms: endMs - startMs,
    },
  }
}

/** From 0 to 1 in four digits, each value met in turn: 7919 is prime to 10,001. */
function confidenceOf(index: number): number {
  return ((index * 7919) % 10_001) / 10_000
}
