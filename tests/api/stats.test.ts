/** Statistics, and the deprecated paths of version 1. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  type Item,
  type Problem,
  sessionItem,
  taskItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'

const V1 = '/api/v1/persistence'

interface Stats {
  sessions: Record<string, number>
  tasks: Record<string, number>
  performance: { average_session_time: number; average_task_time: number; success_rate: number }
  storage: { database_size_mb: number; sessions_table_rows: number; tasks_table_rows: number }
  as_of: string
  estimated: boolean
}

onEachBackend('statistics of nothing', {}, (on) => {
  test('are zeros, not errors', async () => {
    const answer = await on.http.get<Stats>(`${BASE}/stats`)
    expect(answer.status).toBe(200)
    const none = { total: 0, pending: 0, processing: 0, completed: 0, failed: 0 }
    expect(answer.body.sessions).toEqual({ ...none, cancelled: 0 })
    expect(answer.body.tasks).toEqual(none)
    expect(answer.body.performance).toEqual({
      average_session_time: 0,
      average_task_time: 0,
      success_rate: 0,
    })
    expect(answer.body.storage).toMatchObject({ sessions_table_rows: 0, tasks_table_rows: 0 })
  })
})

onEachBackend('statistics', {}, (on) => {
  const api = translation(on)

  test('count what is stored and shown, by status, as of a moment that they name', async () => {
    const statuses = ['pending', 'processing', 'processing', 'completed', 'completed', 'failed', 'cancelled']
    const sessions = statuses.map((status) => sessionItem(freshId(), { status }))
    const done = sessions
      .filter(({ status }) => status === 'completed')
      .map(({ session_id }) => String(session_id))
    const session = String(sessions[0]!.session_id)
    const tasks = [
      ...taskItems(session, 5, { status: 'pending' }),
      ...taskItems(session, 4, { from: 10, status: 'processing' }),
      ...taskItems(session, 7, { from: 20, status: 'completed', duration_ms: 2000 }),
      ...taskItems(session, 2, { from: 30, status: 'completed', duration_ms: 6500 }),
      taskItem(session, 'no duration', { status: 'completed' }),
      ...taskItems(session, 2, { from: 40, status: 'failed', duration_ms: 99_000 }),
    ]
    await api.store(sessions, tasks)
    // Not whole: stored, but not shown.
    await api.patchSessions([{ session_id: freshId(), status: 'completed' }])
    await api.patchTasks([{ session_id: session, task_id: 'half', status: 'completed', duration_ms: 1 }])
    await api.flush()
    // The completed ones took 100 s and 300 s.
    for (const [i, seconds] of [100, 300].entries()) {
      await on.store.run(
        'UPDATE translation_sessions SET created_at = ?, updated_at = ? WHERE session_id = ?',
        [on.store.time(Date.now() - seconds * 1000 - 5000), on.store.time(Date.now() - 5000), done[i]!],
      )
    }
    const start = Date.now()
    const { status, body } = await on.http.get<Stats>(`${BASE}/stats`)
    expect(status).toBe(200)
    expect(body.sessions).toEqual({
      total: 7,
      pending: 1,
      processing: 2,
      completed: 2,
      failed: 1,
      cancelled: 1,
    })
    expect(body.tasks).toEqual({ total: 21, pending: 5, processing: 4, completed: 10, failed: 2 })
    // 10 of 12 finished ones were completed; 7 took 2 s and 2 took 6.5 s.
    expect(body.performance.success_rate).toBe(83.3)
    expect(body.performance.average_task_time).toBe(3)
    expect(body.performance.average_session_time).toBeCloseTo(200, 0)
    expect(body.storage.sessions_table_rows).toBe(7)
    expect(body.storage.tasks_table_rows).toBe(21)
    expect(body.storage.database_size_mb).toBeGreaterThan(0)
    expect(body.estimated).toBe(false)
    expect(Date.parse(body.as_of)).toBeGreaterThanOrEqual(start - 1)
    expect(Date.parse(body.as_of)).toBeLessThanOrEqual(Date.now())
  })

  test('asked by many at once are taken once', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => on.http.get<Stats>(`${BASE}/stats`)))
    expect(new Set(answers.map(({ body }) => body.as_of)).size).toBe(1)
  })
})

onEachBackend('paths of version 1', {}, (on) => {
  const api = translation(on)

  describe('answer as the ones of today', () => {
    test('writes are stored, with partial and wait too', async () => {
      const [one, two] = [freshId(), freshId()]
      const accepted = await on.http.post(`${V1}/sessions/batch`, { sessions: [sessionItem(one)] })
      expect(accepted.status).toBe(202)
      expect(accepted.body).toMatchObject({ status: 'accepted', count: 1 })
      const partly = await on.http.post(`${V1}/tasks/batch?partial=true&wait=true`, {
        tasks: [{}, taskItem(one, 't')],
      })
      expect(partly.status).toBe(200)
      expect(partly.body).toMatchObject({
        status: 'stored',
        outcomes: [{ index: 1, outcome: 'stored' }],
        rejected: [{ index: 0 }],
      })
      await on.http.post(`${V1}/sessions/batch`, { sessions: [sessionItem(two)] })
      const flushed = await on.http.post(`${V1}/flush`)
      expect(flushed.body).toMatchObject({ status: 'flushed', sessions_written: 2, tasks_written: 0 })
      expect((await api.tasksOf(one)).body.total).toBe(1)
      expect((await api.session(two)).status).toBe(200)
    })

    test('bad batches are refused with the same problems', async () => {
      const answer = await on.http.post<Problem>(`${V1}/tasks/batch`, { tasks: [taskItem('x', 't'), {}] })
      expect(answer.status).toBe(422)
      expect(answer.body.errors!.map(({ field }) => field)).toContain('tasks[1].task_id')
    })

    test('there is no PATCH: it is of this version', async () => {
      for (const kind of ['sessions', 'tasks']) {
        const answer = await on.http.patch<Item>(`${V1}/${kind}/batch`, { [kind]: [] })
        expect(answer.status).toBe(405)
        expect(answer.headers.get('allow')).toBe('POST')
      }
    })
  })

  test("GET stats answers the buffer's figures", async () => {
    await api.flush()
    const stats = async () => (await on.http.get(`${V1}/stats`)).body
    const empty = await stats()
    expect(empty).toMatchObject({ sessions_count: 0, tasks_count: 0, total_count: 0, capacity: 200_000 })
    expect(Date.parse(String(empty.last_flush))).toBeGreaterThan(Date.now() - 10_000)
    const id = freshId()
    await api.postSessions([sessionItem(id)])
    await api.postTasks(taskItems(id, 3))
    expect(await stats()).toMatchObject({ sessions_count: 1, tasks_count: 3, total_count: 4 })
  })
})
