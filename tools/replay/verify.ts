/** Reads back through the query API what was sent. */
import type { Client } from './client.ts'
import { addDifference, compareRecord, createTally, type Tally } from './differences.ts'
import { ReplayError } from './failure.ts'
import { expectedSession, expectedTask, taskIdOf } from './items.ts'
import { inParallel } from './parallel.ts'
import type { PlannedSession } from './plan.ts'

interface VerifyOptions {
  client: Client
  replayId: string
  batchSize: number
  connections: number
  stop: AbortController
  /** Told with the tasks that have just been compared. */
  onCompared: (tasks: number) => void
}

const BASE = '/api/v1/translation'
const PAGE_SIZE = 100
const SAMPLED_TASKS = 20

/** Compares every session's detail and list of tasks, and a sample of tasks one by one. */
export async function verifySessions(
  sessions: readonly PlannedSession[],
  options: VerifyOptions,
): Promise<Tally> {
  const { client, connections, stop } = options
  const tally = createTally()
  const parallel = { width: connections, stop }

  await inParallel(sessions, parallel, async (session) => {
    const expected = expectedSession(session, options.replayId)
    compareRecord(tally, {
      expected,
      stored: await client.find(`${BASE}/sessions/${session.sessionId}`),
      readFrom: 'session',
    })
    await verifyList(session, { ...options, tally })
  })
  await inParallel(sampleTasks(sessions), parallel, async ({ session, index }) => {
    const expected = expectedOf(session, index, options.batchSize)
    const path = `${BASE}/tasks/${expected.task_id}?session_id=${session.sessionId}`
    compareRecord(tally, { expected, stored: await client.find(path), readFrom: 'task' })
  })
  return tally
}

/** Every task of a session by its list, page after page: each must be there once, and no other. */
async function verifyList(session: PlannedSession, options: VerifyOptions & { tally: Tally }): Promise<void> {
  const { tally, batchSize, onCompared } = options
  const { sessionId, rows } = session
  const indexes = new Map(rows.map((_, index) => [taskIdOf(index), index]))
  const isSeen = new Uint8Array(rows.length)
  const add = (taskId: string, detail: string) =>
    addDifference(tally, { session_id: sessionId, task_id: taskId, read_from: 'list', field: null, detail })

  for await (const items of pagesOf(session, options.client)) {
    for (const stored of items) {
      const taskId = String(stored.task_id)
      const index = indexes.get(taskId)
      if (index === undefined) add(taskId, 'was never sent')
      else if (isSeen[index]) add(taskId, 'is listed twice')
      else {
        isSeen[index] = 1
        tally.tasks++
        // The session is in the path; an item of its list need not repeat it.
        compareRecord(tally, {
          expected: expectedOf(session, index, batchSize),
          stored: { session_id: sessionId, ...stored },
          readFrom: 'list',
        })
      }
    }
    onCompared(items.length)
  }
  for (const [taskId, index] of indexes) if (!isSeen[index]) add(taskId, 'is missing')
}

async function* pagesOf(session: PlannedSession, client: Client): AsyncGenerator<Record<string, unknown>[]> {
  const path = `${BASE}/sessions/${session.sessionId}/tasks`
  const cursors = new Set<string>()
  for (let cursor = ''; ; ) {
    const answer = await client.find(`${path}?page_size=${PAGE_SIZE}${cursor}`)
    // A list that is not there has none of the tasks.
    if (answer === null) return
    const { items, next_cursor: next } = answer
    if (!Array.isArray(items)) throw new ReplayError(`GET ${path}: the answer has no items`)
    yield items
    if (next === null) return
    if (typeof next !== 'string') throw new ReplayError(`GET ${path}: the answer has no next_cursor`)
    // A list that goes in a circle must not keep the run for ever.
    if (cursors.has(next)) throw new ReplayError(`GET ${path}: the same next_cursor came twice`)
    cursors.add(next)
    cursor = `&cursor=${encodeURIComponent(next)}`
  }
}

function expectedOf({ batches }: PlannedSession, index: number, batchSize: number): Record<string, unknown> {
  return expectedTask(batches[Math.floor(index / batchSize)]!, index)
}

/** Tasks at even distances over all sessions; all where there are few. */
function* sampleTasks(
  sessions: readonly PlannedSession[],
): Generator<{ session: PlannedSession; index: number }> {
  const total = sessions.reduce((sum, { rows }) => sum + rows.length, 0)
  const step = Math.max(1, total / SAMPLED_TASKS)
  let next = 0
  let before = 0
  for (const session of sessions) {
    for (; next < before + session.rows.length; next += step)
      yield { session, index: Math.floor(next) - before }
    before += session.rows.length
  }
}
