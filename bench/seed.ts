/** Fills a store with sessions and tasks. */
import type { Backend } from '../src/backends/backend.ts'
import type { Row } from '../src/collections/row.ts'
import { translationSessions, translationTasks } from '../src/collections/translation.ts'
import { sessionIdOf, sessionRow, taskRow } from './tasks.ts'

export interface SeededSession {
  sessionId: string
  tasks: number
}

/** How many tasks each session gets: the numbers repeat, so every run has the same sessions. */
const SESSION_SIZES = [1000, 2000, 10_000, 1000, 4000, 5000, 1000, 8000, 3000, 5000]
const CHUNK_ROWS = 2000
const CONNECTIONS = 4
const PENDING_EVERY = 20
/** A batch of 100 tasks is accepted every 50 ms. */
const MS_PER_TASK = 0.5
const FIRST_TASK_MS = Date.UTC(2025, 8, 1)

/** Sizes of sessions that hold `rows` tasks together. */
export function sessionsOf(rows: number): SeededSession[] {
  const sessions: SeededSession[] = []
  for (let left = rows; left > 0; left -= sessions.at(-1)!.tasks) {
    const tasks = Math.min(left, SESSION_SIZES[sessions.length % SESSION_SIZES.length]!)
    sessions.push({ sessionId: sessionIdOf(sessions.length), tasks })
  }
  return sessions
}

/** Stores the sessions and their tasks; `state` says whether all of them are unfinished, or a few. */
export async function seed(
  backend: Backend,
  sessions: readonly SeededSession[],
  state: 'unfinished' | 'mixed',
): Promise<void> {
  const records = backend.records!
  const chunks = chunksOf(sessions, state)
  const work = async () => {
    for (const rows of chunks) {
      const { refused } = await records.write(translationTasks, rows)
      if (refused.length > 0) throw new Error(`a seeded row was refused: ${refused[0]!.reason}`)
    }
  }
  // One iterator for all of them: each takes the next chunk.
  await Promise.all(Array.from({ length: CONNECTIONS }, work))
  const rows = sessions.map(({ sessionId, tasks }, n) =>
    sessionRow(sessionId, tasks, FIRST_TASK_MS + n * 1000),
  )
  await records.write(translationSessions, rows)
}

function* chunksOf(sessions: readonly SeededSession[], state: 'unfinished' | 'mixed'): Generator<Row[]> {
  let chunk: Row[] = []
  let number = 0
  for (const { sessionId, tasks } of sessions) {
    for (let n = 0; n < tasks; n++) {
      const pending = state === 'unfinished' || n % PENDING_EVERY === 0
      const acceptedAtMs = FIRST_TASK_MS + Math.floor(number++ / 100) * 100 * MS_PER_TASK
      chunk.push(taskRow({ sessionId, n, state: pending ? 'pending' : 'completed' }, acceptedAtMs))
      if (chunk.length === CHUNK_ROWS) {
        yield chunk
        chunk = []
      }
    }
  }
  if (chunk.length > 0) yield chunk
}
