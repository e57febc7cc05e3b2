/** Every JSON example of the API document, sent as printed; what comes back has at least the printed fields. */
import { beforeAll, expect, test } from 'bun:test'
import { onEachBackend, rawRequest } from '../support/in_process.ts'
import {
  BASE,
  type Item,
  sessionItem,
  shapeFaults,
  taskItem,
  translation,
} from '../support/translation_data.ts'

const SESSION_ID = '550e8400-e29b-41d4-a716-446655440000'
const JSON_HEADER = { 'content-type': 'application/json' }

const SESSIONS_REQUEST = `{
  "sessions": [
    {
      "session_id": "550e8400-e29b-41d4-a716-446655440000",
      "filename": "game_translation.xlsx",
      "file_path": "/uploads/game_translation.xlsx",
      "status": "processing",
      "game_info": {
        "game_name": "Fantasy RPG",
        "source_language": "en",
        "target_language": "zh",
        "game_type": "RPG"
      },
      "llm_provider": "openai",
      "metadata": {
        "user_id": "user_123",
        "project_id": "proj_456"
      },
      "total_tasks": 1000,
      "completed_tasks": 0,
      "failed_tasks": 0,
      "processing_tasks": 0
    }
  ]
}`

const SESSIONS_CURL = `{
    "sessions": [{
      "session_id": "550e8400-e29b-41d4-a716-446655440000",
      "filename": "test.xlsx",
      "file_path": "/uploads/test.xlsx",
      "status": "processing",
      "llm_provider": "openai",
      "total_tasks": 100
    }]
  }`

const TASKS_REQUEST = `{
  "tasks": [
    {
      "task_id": "task_001",
      "session_id": "550e8400-e29b-41d4-a716-446655440000",
      "batch_id": "batch_001",
      "sheet_name": "Dialogue",
      "row_index": 10,
      "column_name": "Text",
      "source_text": "Hello, adventurer!",
      "target_text": "你好，冒险者！",
      "context": "NPC greeting dialogue",
      "status": "completed",
      "confidence": 0.95,
      "error_message": null,
      "retry_count": 0,
      "start_time": "2025-09-30T10:10:00Z",
      "end_time": "2025-09-30T10:10:05Z",
      "duration_ms": 5000
    }
  ]
}`

const TASKS_CURL = `{
    "tasks": [{
      "task_id": "task_001",
      "session_id": "550e8400-e29b-41d4-a716-446655440000",
      "batch_id": "batch_001",
      "sheet_name": "Dialogue",
      "row_index": 10,
      "column_name": "Text",
      "source_text": "Hello",
      "status": "pending"
    }]
  }`

const ACCEPTED = { status: 'accepted', count: 1, timestamp: '2025-09-30T10:15:30Z' }

const SUMMARY = {
  session_id: SESSION_ID,
  filename: 'game.xlsx',
  status: 'processing',
  total_tasks: 1000,
  completed_tasks: 350,
  failed_tasks: 5,
  processing_tasks: 10,
  pending_tasks: 635,
  progress: 35.0,
  created_at: '2025-09-30T10:00:00Z',
  updated_at: '2025-09-30T10:05:00Z',
}

/** The counters of the printed session, as Backend V2 would have written them. */
const COUNTERS = { total_tasks: 1000, completed_tasks: 350, failed_tasks: 5, processing_tasks: 10 }

const TASK = {
  task_id: 'task_001',
  session_id: SESSION_ID,
  batch_id: 'batch_001',
  sheet_name: 'Dialogue',
  row_index: 10,
  column_name: 'Text',
  source_text: 'Hello, adventurer!',
  target_text: '你好，冒险者！',
  context: 'NPC greeting dialogue',
  status: 'completed',
  confidence: 0.95,
  error_message: null,
  retry_count: 0,
  start_time: '2025-09-30T10:10:00Z',
  end_time: '2025-09-30T10:10:05Z',
  duration_ms: 5000,
  created_at: '2025-09-30T10:09:00Z',
  updated_at: '2025-09-30T10:10:05Z',
}

const listOf = (item: Item) => ({ total: 150, page: 1, page_size: 20, total_pages: 8, items: [item] })

onEachBackend('examples of the API document', {}, (on) => {
  const api = translation(on)
  /** As curl does it: the printed bytes, and nothing that was not printed. */
  const curl = (method: string, target: string, body?: string) =>
    rawRequest(on.url, { method, target, ...(body !== undefined && { body, headers: JSON_HEADER }) })

  test('3.1 the printed sessions, and the curl call, are accepted as printed', async () => {
    for (const body of [SESSIONS_REQUEST, SESSIONS_CURL]) {
      const answer = await curl('POST', `${BASE}/sessions/batch`, body)
      expect(answer.status).toBe(202)
      expect(shapeFaults(ACCEPTED, answer.body)).toEqual([])
      expect(answer.body).toMatchObject({ status: 'accepted', count: 1 })
    }
  })

  test('3.1 a bad session is refused in the printed form', async () => {
    const answer = await curl('POST', `${BASE}/sessions/batch`, '{"sessions": [{}]}')
    expect(answer.status).toBe(422)
    const printed = {
      detail: 'Invalid session data format',
      errors: [{ field: 'session_id', message: 'session_id is required' }],
    }
    expect(shapeFaults(printed, answer.body)).toEqual([])
    expect(answer.body.errors).toContainEqual({
      field: 'sessions[0].session_id',
      message: 'session_id is required',
    })
  })

  test('3.2 the curl call and the printed tasks are accepted as printed, and kept to the letter', async () => {
    for (const body of [TASKS_CURL, TASKS_REQUEST]) {
      const answer = await curl('POST', `${BASE}/tasks/batch`, body)
      expect(answer.status).toBe(202)
      expect(shapeFaults(ACCEPTED, answer.body)).toEqual([])
    }
    const stored = await curl('GET', `${BASE}/tasks/task_001`)
    const { created_at, updated_at, start_time, end_time, ...rest } = TASK
    expect(stored.body).toMatchObject(rest)
    expect(stored.body).toMatchObject({
      start_time: '2025-09-30T10:10:00.000Z',
      end_time: '2025-09-30T10:10:05.000Z',
    })
  })

  test('3.3 the curl call flushes and answers the printed fields', async () => {
    const answer = await curl('POST', `${BASE}/flush`)
    expect(answer.status).toBe(200)
    const printed = { status: 'flushed', sessions_written: 10, tasks_written: 850, duration_ms: 1200 }
    expect(shapeFaults(printed, answer.body)).toEqual([])
    expect(answer.body).toMatchObject({ status: 'flushed', sessions_written: 1, tasks_written: 1 })
  })

  test('4.1 both printed list calls answer the printed session with the printed figures', async () => {
    await api.store([sessionItem('printed', { filename: 'game.xlsx', ...COUNTERS })])
    const query = '?status=processing&page=1&page_size=20'
    for (const target of [`${query}&sort_by=created_at&order=desc`, query]) {
      const answer = await curl('GET', `${BASE}/sessions${target}`)
      expect(answer.status).toBe(200)
      expect(shapeFaults(listOf(SUMMARY), answer.body)).toEqual([])
      const found = (answer.body.items as Item[]).find(({ session_id }) => session_id === 'printed')
      const { session_id, created_at, updated_at, ...figures } = SUMMARY
      expect(found).toMatchObject(figures)
    }
  })

  test('4.2 the curl call answers the printed detail', async () => {
    const answer = await curl('GET', `${BASE}/sessions/${SESSION_ID}`)
    expect(answer.status).toBe(200)
    const printed = {
      ...SUMMARY,
      file_path: '/uploads/game.xlsx',
      game_info: { game_name: 'Fantasy RPG', source_language: 'en', target_language: 'zh' },
      llm_provider: 'openai',
      metadata: { user_id: 'user_123' },
      estimated_completion: null,
    }
    expect(shapeFaults(printed, answer.body)).toEqual([])
    // The curl call came after the example: what it left out was kept.
    expect(answer.body).toMatchObject({
      filename: 'test.xlsx',
      total_tasks: 100,
      game_info: { game_name: 'Fantasy RPG', source_language: 'en', target_language: 'zh', game_type: 'RPG' },
      metadata: { user_id: 'user_123', project_id: 'proj_456' },
    })
  })

  test('4.2 a session that is not there is answered in the printed form', async () => {
    const answer = await curl('GET', `${BASE}/sessions/550e8400-e29b-41d4-a716-44665544ffff`)
    expect(answer.status).toBe(404)
    expect(answer.body).toMatchObject({
      detail: 'Session not found',
      session_id: '550e8400-e29b-41d4-a716-44665544ffff',
    })
  })

  test("4.3 the printed calls answer the session's failed tasks in the printed form", async () => {
    const failed = taskItem(SESSION_ID, 'failed', {
      status: 'failed',
      error_message: 'API rate limit exceeded',
      retry_count: 3,
    })
    await api.store([], [failed])
    const { session_id, context, start_time, end_time, duration_ms, ...printed } = TASK
    for (const query of ['?status=failed&page=1', '?status=failed']) {
      const answer = await curl('GET', `${BASE}/sessions/${SESSION_ID}/tasks${query}`)
      expect(answer.status).toBe(200)
      const task = { ...printed, target_text: null, confidence: null, error_message: 'text' }
      expect(shapeFaults({ session_id: SESSION_ID, ...listOf(task) }, answer.body)).toEqual([])
      expect(answer.body).toMatchObject({ session_id: SESSION_ID, total: 1, total_pages: 1 })
      expect((answer.body.items as Item[])[0]).toMatchObject(failed)
    }
  })

  test('4.4 the curl call answers the printed task', async () => {
    const answer = await curl('GET', `${BASE}/tasks/task_001`)
    expect(answer.status).toBe(200)
    expect(shapeFaults(TASK, answer.body)).toEqual([])
  })

  test('4.5 the printed call answers tasks of all sessions in the printed form', async () => {
    const answer = await curl('GET', `${BASE}/tasks?status=completed&page=1&page_size=50`)
    expect(answer.status).toBe(200)
    expect(shapeFaults(listOf(TASK), answer.body)).toEqual([])
    expect(answer.body).toMatchObject({ total: 1, page: 1, page_size: 50, total_pages: 1 })
  })

  test('6.2 the printed body and both curl calls clean up', async () => {
    const bodies = [
      '{\n  "completed_days": 90,\n  "failed_days": 30,\n  "dry_run": false\n}',
      '{"dry_run": true}',
      '{"completed_days": 90, "failed_days": 30, "dry_run": false}',
    ]
    for (const body of bodies) {
      const answer = await curl('POST', `${BASE}/sessions/cleanup`, body)
      expect(answer.status).toBe(200)
      expect(answer.body).toEqual({
        status: 'completed',
        deleted_sessions: 0,
        deleted_tasks: 0,
        dry_run: body.includes('true'),
      })
    }
  })

  test('6.3 the curl call answers the printed statistics', async () => {
    const answer = await curl('GET', `${BASE}/stats`)
    expect(answer.status).toBe(200)
    const counts = { total: 1000, pending: 50, processing: 30, completed: 900, failed: 20 }
    const printed = {
      sessions: counts,
      tasks: counts,
      performance: { average_session_time: 1800, average_task_time: 5.2, success_rate: 98.8 },
      storage: { database_size_mb: 2048, sessions_table_rows: 1000, tasks_table_rows: 1_000_000 },
    }
    expect(shapeFaults(printed, answer.body)).toEqual([])
  })

  test('7.1 the curl call answers the printed health', async () => {
    const answer = await curl('GET', '/health')
    expect(answer.status).toBe(200)
    const printed = {
      status: 'healthy',
      database: 'healthy',
      buffer: {
        sessions_count: 150,
        tasks_count: 850,
        total_count: 1000,
        capacity: 1000,
        usage_percent: 100.0,
        last_flush: '2025-09-30T10:15:00Z',
      },
      uptime_seconds: 86400,
      version: '1.0.0',
    }
    expect(shapeFaults(printed, answer.body)).toEqual([])
    expect(answer.body).toMatchObject({ status: 'healthy', database: 'healthy' })
  })

  test('6.1 the curl call deletes the session with its tasks, in the printed form', async () => {
    const answer = await curl('DELETE', `${BASE}/sessions/${SESSION_ID}`)
    expect(answer.status).toBe(200)
    expect(answer.body).toEqual({ status: 'deleted', session_id: SESSION_ID, deleted_tasks: 2 })
  })
})

onEachBackend('recovery examples of the API document', {}, (on) => {
  const api = translation(on)
  const tasks = Array.from({ length: 1000 }, (_, i) =>
    taskItem(SESSION_ID, `task_${i + 1}`, {
      row_index: i,
      status: i < 350 ? 'completed' : i < 360 ? 'failed' : 'pending',
    }),
  )
  const game = { filename: 'game.xlsx', game_info: { game_name: 'Fantasy RPG' }, total_tasks: 1000 }

  beforeAll(() => api.store([sessionItem(SESSION_ID, game)], tasks))

  test('5.1 the curl call answers the incomplete session with the printed figures', async () => {
    const answer = await rawRequest(on.url, {
      method: 'GET',
      target: `${BASE}/recovery/incomplete-sessions`,
    })
    expect(answer.status).toBe(200)
    const { processing_tasks, progress, ...session } = SUMMARY
    expect(shapeFaults({ count: 3, sessions: [session] }, answer.body)).toEqual([])
    expect(answer.body).toMatchObject({
      count: 1,
      sessions: [{ total_tasks: 1000, completed_tasks: 350, failed_tasks: 10, pending_tasks: 640 }],
    })
  })

  test('5.2 the curl call restores the session with the printed figures, for both printed clients', async () => {
    const target = `${BASE}/recovery/restore/${SESSION_ID}`
    const answer = await rawRequest(on.url, { method: 'POST', target })
    expect(answer.status).toBe(200)
    const session = {
      session_id: SESSION_ID,
      filename: 'game.xlsx',
      file_path: '/uploads/game.xlsx',
      status: 'processing',
      game_info: {},
      llm_provider: 'openai',
      total_tasks: 1000,
      completed_tasks: 350,
      failed_tasks: 10,
      pending_tasks: 640,
    }
    const { session_id, target_text, context, updated_at, ...task } = TASK
    const { confidence, error_message, retry_count, start_time, end_time, duration_ms, ...printed } = task
    const restored = { session_id: SESSION_ID, session, tasks_count: 640, tasks: [printed] }
    expect(shapeFaults({ ...restored, restored_at: '2025-09-30T10:30:00Z' }, answer.body)).toEqual([])
    expect(answer.body).toMatchObject({
      session_id: SESSION_ID,
      session: { completed_tasks: 350, failed_tasks: 10, pending_tasks: 640 },
      tasks_count: 640,
      // The fields of REQUIREMENTS_V2 §3.4.
      restored_session: answer.body.session as Item,
      restored_tasks_count: 640,
    })
    const ids = (answer.body.tasks as Item[]).map(({ task_id }) => task_id)
    expect(new Set(ids)).toEqual(new Set(tasks.slice(360).map(({ task_id }) => task_id)))
  })
})
