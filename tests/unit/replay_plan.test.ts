import { expect, test } from 'bun:test'
import { expectedSession, expectedTask, sessionItem, taskItems } from '../../tools/replay/items.ts'
import { interleavedBatches, type PlannedSession, planSessions } from '../../tools/replay/plan.ts'
import type { ReplayRow } from '../../tools/replay/reader.ts'

function rowsIn(counts: Record<string, number>): ReplayRow[] {
  return Object.entries(counts).flatMap(([sheet, count]) =>
    Array.from({ length: count }, (_, row) => ({
      sheet,
      row,
      context: row % 2 ? `about ${row}` : null,
      source: `${sheet} ${row}`,
      target: `译 ${row}`,
    })),
  )
}

const OPTIONS = { file: '/games/saga.en-zh_CN.jsonl', sessions: null, batchSize: 100 }

const sourcesOf = ({ rows }: PlannedSession) => rows.map(({ source }) => source).join()

test('each sheet is a session with a fresh id, its rows in order', () => {
  const rows = rowsIn({ Dialogue: 3, Items: 2 })
  const sessions = planSessions(rows, OPTIONS)
  expect(sessions.map(({ filename }) => filename)).toEqual(['Dialogue.xlsx', 'Items.xlsx'])
  expect(sessions.flatMap((session) => session.rows)).toEqual(rows)
  const again = planSessions(rows, OPTIONS)
  expect(new Set([...sessions, ...again].map(({ sessionId }) => sessionId)).size).toBe(4)
})

test('a sheet whose rows stand apart in the file is one session', () => {
  const rows = [...rowsIn({ A: 1, B: 1 }), ...rowsIn({ A: 1 })]
  expect(planSessions(rows, OPTIONS).map((session) => session.rows.length)).toEqual([2, 1])
})

test("the file's name says game and languages; any other name is the game", () => {
  const gameOf = (file: string) => planSessions(rowsIn({ A: 1 }), { ...OPTIONS, file })[0]!.gameInfo
  expect(gameOf('x/saga.en-zh_CN.jsonl')).toEqual({
    game_name: 'saga',
    source_language: 'en',
    target_language: 'zh_CN',
  })
  expect(gameOf('sample.jsonl')).toEqual({ game_name: 'sample' })
})

test('rows are dealt one by one to the sessions asked for', () => {
  const sessions = planSessions(rowsIn({ A: 5 }), { ...OPTIONS, sessions: 2 })
  expect(sessions.map(sourcesOf)).toEqual(['A 0,A 2,A 4', 'A 1,A 3'])
  expect(sessions.map(({ filename }) => filename)).toEqual(['saga_1.xlsx', 'saga_2.xlsx'])
})

test('rows are dealt again where there are more sessions than rows', () => {
  const sessions = planSessions(rowsIn({ A: 2 }), { ...OPTIONS, sessions: 5 })
  expect(sessions.map(sourcesOf)).toEqual(['A 0', 'A 1', 'A 0', 'A 1', 'A 0'])
})

test('no rows make no session', () => {
  expect(planSessions([], OPTIONS)).toEqual([])
  expect(planSessions([], { ...OPTIONS, sessions: 3 })).toEqual([])
})

test('batches cover every row once and take turns between the sessions', () => {
  const sessions = planSessions(rowsIn({ A: 250, B: 100, C: 1 }), OPTIONS)
  const order = [...interleavedBatches(sessions)]
  expect(order.map(({ session, from, to }) => [session.filename, from, to])).toEqual([
    ['A.xlsx', 0, 100],
    ['B.xlsx', 0, 100],
    ['C.xlsx', 0, 1],
    ['A.xlsx', 100, 200],
    ['A.xlsx', 200, 250],
  ])
  expect(sessions[0]!.batches.map(({ batchId }) => batchId)).toEqual(['batch_001', 'batch_002', 'batch_003'])
})

test('every state carries the required fields, and what is expected is all three laid over each other', () => {
  const [session] = planSessions(rowsIn({ A: 120 }), OPTIONS)
  const batch = session!.batches[1]!
  batch.startMs = Date.UTC(2025, 8, 30)
  batch.endMs = batch.startMs + 1234
  const [pending, processing, completed] = (['pending', 'processing', 'completed'] as const).map(
    (state) => taskItems(batch, state)[1]!,
  )
  for (const item of [pending, processing, completed]) {
    expect(item).toMatchObject({
      task_id: 'task_101',
      session_id: session!.sessionId,
      batch_id: 'batch_002',
      sheet_name: 'A',
      row_index: 101,
      column_name: 'Text',
      source_text: 'A 101',
    })
  }
  expect([pending, processing, completed].map((item) => item!.status)).toEqual([
    'pending',
    'processing',
    'completed',
  ])
  expect(expectedTask(batch, 101)).toEqual({ ...pending, ...processing, ...completed })
  expect(expectedTask(batch, 101)).toMatchObject({
    context: 'about 101',
    target_text: '译 101',
    start_time: '2025-09-30T00:00:00.000Z',
    end_time: '2025-09-30T00:00:01.234Z',
    duration_ms: 1234,
  })
  expect(completed).not.toHaveProperty('context')
})

test('confidence lies between 0 and 1 and has at most four digits', () => {
  const [session] = planSessions(rowsIn({ A: 1000 }), { ...OPTIONS, batchSize: 1000 })
  const values = taskItems(session!.batches[0]!, 'completed').map((item) => Number(item.confidence))
  expect(values.every((value) => value >= 0 && value <= 1 && value === Number(value.toFixed(4)))).toBe(true)
  expect(new Set(values).size).toBe(1000)
})

test('a session is processing until its last task is completed', () => {
  const [session] = planSessions(rowsIn({ A: 3 }), OPTIONS)
  expect(sessionItem(session!, { replayId: 'r', completed: 2, processing: 1 })).toMatchObject({
    status: 'processing',
    total_tasks: 3,
    completed_tasks: 2,
    processing_tasks: 1,
  })
  expect(expectedSession(session!, 'r')).toMatchObject({
    status: 'completed',
    completed_tasks: 3,
    processing_tasks: 0,
    pending_tasks: 0,
    progress: 100,
  })
})
