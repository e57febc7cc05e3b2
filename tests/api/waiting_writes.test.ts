/** `?wait=true` and flush: what is answered is stored, and what became of each item. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  type Item,
  sessionItem,
  taskItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

const SLOTS = { translation_sessions: 11, translation_tasks: 14 }

/** Stamps of a row of which every field was accepted at that time. */
function stampsAt(ms: number, slots: number): Uint8Array {
  const stamps = new Uint8Array(slots * 8)
  const view = new DataView(stamps.buffer)
  for (let slot = 0; slot < slots; slot++) view.setBigUint64(slot * 8, BigInt(ms) << 22n)
  return stamps
}

onEachBackend('waiting writes', {}, (on) => {
  const api = translation(on)
  const health = async () =>
    (await on.http.get<{ buffer: { total_count: number; last_flush: string | null } }>('/health')).body.buffer
  const flushesSoFar = async () => {
    const { text } = await on.http.get('/api/v1/system/metrics')
    return Number(/^persistence_flush_total (\d+)$/m.exec(text)?.[1])
  }

  describe('wait=true', () => {
    test('answers 200 once every item is stored, with an outcome for each', async () => {
      const session = freshId()
      const sessions = await api.postSessions([sessionItem(session)], { wait: 'true' })
      expect(sessions.status).toBe(200)
      expect(sessions.body).toMatchObject({
        status: 'stored',
        count: 1,
        written: 1,
        outcomes: [{ index: 0, outcome: 'stored' }],
      })
      expect(String(sessions.body.timestamp)).toMatch(/^\d{4}-.*Z$/)
      const tasks = await api.postTasks(taskItems(session, 3), { wait: 'true' })
      expect(tasks.body).toMatchObject({
        count: 3,
        written: 3,
        outcomes: [0, 1, 2].map((index) => ({ index, outcome: 'stored' })),
      })
      // Stored means in the table: the lists don't see the buffer.
      expect((await api.tasksOf(session)).body.total).toBe(3)
      expect((await health()).total_count).toBe(0)
    })

    test('items of one key have one outcome each', async () => {
      const session = freshId()
      const answer = await api.postTasks(
        [taskItem(session, 't'), taskItem(session, 't', { target_text: 'x' }), taskItem(session, 'u')],
        { wait: 'true' },
      )
      expect(answer.body).toMatchObject({
        count: 3,
        written: 3,
        // The second has every field of the first.
        outcomes: ['superseded', 'stored', 'stored'].map((outcome, index) => ({ index, outcome })),
      })
    })

    test('a patch waits too', async () => {
      const session = freshId()
      await api.store([sessionItem(session)])
      const answer = await api.patchSessions([{ session_id: session, total_tasks: 5 }], { wait: 'true' })
      expect(answer.status).toBe(200)
      expect(answer.body).toMatchObject({ written: 1, outcomes: [{ index: 0, outcome: 'stored' }] })
    })

    test('with partial=true the indexes are the positions in the request', async () => {
      const session = freshId()
      const answer = await api.postTasks(
        [{ bad: 1 }, taskItem(session, 'a'), { bad: 2 }, taskItem(session, 'b')],
        { wait: 'true', partial: 'true' },
      )
      expect(answer.status).toBe(200)
      expect(answer.body).toMatchObject({
        count: 2,
        written: 2,
        outcomes: [
          { index: 1, outcome: 'stored' },
          { index: 3, outcome: 'stored' },
        ],
        rejected: [{ index: 0 }, { index: 2 }],
      })
    })

    for (const kind of ['sessions', 'tasks'] as const) {
      const table = `translation_${kind}` as const

      test(`${kind}: an item no field of which is the newest is superseded, and counts as written`, async () => {
        const session = freshId()
        const items = kind === 'sessions' ? [sessionItem(session)] : [taskItem(session, 't')]
        const post = kind === 'sessions' ? api.postSessions : api.postTasks
        await post(items, { wait: 'true' })
        // As if another instance, whose clock is ahead, had written every field.
        const ahead = stampsAt(Date.now() + 30_000, SLOTS[table])
        await on.store.run(`UPDATE ${table} SET stamps = ? WHERE session_id = ?`, [ahead, session])
        const answer = await post(
          items.map((item) => ({ ...item, status: 'failed' })),
          { wait: 'true' },
        )
        expect(answer.status).toBe(200)
        expect(answer.body).toMatchObject({
          count: 1,
          written: 1,
          outcomes: [{ index: 0, outcome: 'superseded' }],
        })
        const [row] = await on.store.run(`SELECT status FROM ${table} WHERE session_id = ?`, [session])
        expect(row!.status).toBe(items[0]!.status)
      })
    }
  })

  describe('flush', () => {
    test('counts the sessions and tasks that it stored, and nothing where there is nothing', async () => {
      await api.flush()
      expect((await api.flush()).body).toMatchObject({
        status: 'flushed',
        sessions_written: 0,
        tasks_written: 0,
      })
      const ids = Array.from({ length: 10 }, () => freshId())
      await api.postSessions(ids.map((id) => sessionItem(id)))
      await api.postTasks(taskItems(ids[0]!, 850))
      expect(await health()).toMatchObject({ total_count: 860, sessions_count: 10, tasks_count: 850 })
      const { body } = await api.flush()
      expect(body).toMatchObject({ status: 'flushed', sessions_written: 10, tasks_written: 850 })
      expect(await health()).toMatchObject({ total_count: 0 })
      expect((await api.tasksOf(ids[0]!)).body.total).toBe(850)
    })

    test('calls at the same time share one flush, and all that came before them is stored', async () => {
      await api.flush()
      const session = freshId()
      await api.postTasks(taskItems(session, 500))
      const before = await flushesSoFar()
      const answers = await Promise.all(Array.from({ length: 20 }, () => api.flush()))
      expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200))
      expect(await flushesSoFar()).toBe(before + 1)
      expect((await api.tasksOf(session)).body.total).toBe(500)
    })

    test('writes that arrive while flushes run are all stored in the end', async () => {
      const session = freshId()
      await Promise.all(
        Array.from({ length: 40 }, async (_, i) => {
          await api.postTasks(taskItems(session, 25, { from: i * 25 }))
          await api.flush()
        }),
      )
      expect((await api.tasksOf(session)).body.total).toBe(1000)
    })

    test('says when the last one was, in /health', async () => {
      const before = Date.now()
      await api.flush()
      const { last_flush } = await health()
      expect(Date.parse(last_flush!)).toBeGreaterThanOrEqual(before - 1)
      expect(Date.parse(last_flush!)).toBeLessThanOrEqual(Date.now())
    })

    test('a body is ignored', async () => {
      expect((await on.http.post(`${BASE}/flush`, { anything: 1 })).status).toBe(200)
      expect((await on.http.post(`${BASE}/flush`, 'no json')).status).toBe(200)
    })
  })

  describe('at once, without a flush on request', () => {
    const stored = (what: string) => until(async () => (await health()).total_count === 0, { message: what })

    for (const status of ['completed', 'failed', 'cancelled']) {
      test(`a session that becomes ${status} is stored with all that is buffered`, async () => {
        const session = freshId()
        await api.flush()
        await api.postTasks(taskItems(session, 5))
        await api.postSessions([sessionItem(session)])
        expect((await health()).total_count).toBe(6)
        await api.postSessions([sessionItem(session, { status })])
        await stored('the flush of a terminal session')
        expect((await api.tasksOf(session)).body.total).toBe(5)
      })
    }

    test('a patch of a status does the same', async () => {
      const session = freshId()
      await api.store([sessionItem(session)])
      await api.postTasks(taskItems(session, 5))
      await api.patchSessions([{ session_id: session, status: 'completed' }])
      await stored('the flush of a terminal session')
      expect((await api.tasksOf(session)).body.total).toBe(5)
    })

    test('1000 rows of one collection are stored', async () => {
      const session = freshId()
      await api.flush()
      await api.postTasks(taskItems(session, 999))
      expect((await health()).total_count).toBe(999)
      await api.postTasks(taskItems(session, 1, { from: 999 }))
      await stored('the flush at 1000 rows')
      expect((await api.tasksOf(session)).body.total).toBe(1000)
    })

    test('a completed task alone is not', async () => {
      const session = freshId()
      await api.flush()
      await api.postTasks([taskItem(session, 't', { status: 'completed' })])
      await api.postSessions([sessionItem(session, { status: 'processing' })])
      expect((await health()).total_count).toBe(2)
    })
  })
})

/** The tables refuse a row for what it is: no text that the door lets through would be refused otherwise. */
const REFUSE: Record<'sqlite' | 'mysql', string> = {
  sqlite: `CREATE TRIGGER refuse BEFORE INSERT ON translation_tasks WHEN NEW.column_name = 'poison'
    BEGIN SELECT RAISE(ABORT, 'poison is refused'); END`,
  mysql: `ALTER TABLE translation_tasks ADD CONSTRAINT refuse CHECK (column_name <> 'poison')`,
}

onEachBackend(
  'rows that the database refuses',
  { expectedErrors: ['row refused by its backend, moved to the dead letters'] },
  (on) => {
    const api = translation(on)

    test('are refused with their reason, alone, and show in the detail of their session until it is deleted', async () => {
      await on.store.run(REFUSE[on.store.kind])
      const session = freshId()
      await api.store([sessionItem(session)])
      const items = taskItems(session, 7).map((item, i) =>
        i === 4 ? { ...item, column_name: 'poison' } : item,
      )
      const answer = await api.postTasks(items, { wait: 'true' })
      expect(answer.status).toBe(200)
      expect(answer.body).toMatchObject({ count: 7, written: 6 })
      const outcomes = answer.body.outcomes as Item[]
      expect(outcomes.map(({ outcome }) => outcome)).toEqual(
        items.map((_, i) => (i === 4 ? 'refused' : 'stored')),
      )
      expect(String(outcomes[4]!.reason)).not.toBe('')

      expect((await api.session(session)).body).toMatchObject({ dead_lettered_tasks: 1, total_tasks: 6 })
      expect((await api.tasksOf(session)).body.total).toBe(6)
      expect((await api.restore(session)).body.session.dead_lettered_tasks).toBe(1)

      expect((await api.remove(session)).body.deleted_tasks).toBe(6)
      await api.store([sessionItem(session)])
      expect((await api.session(session)).body).toMatchObject({ dead_lettered_tasks: 0, total_tasks: 0 })
    })
  },
)

onEachBackend(
  'writes to a database that is slow',
  {
    only: ['mysql', 'mariadb'],
    env: { BUFFER_FLUSH_TIMEOUT: '1.5' },
    expectedErrors: ['request failed'],
  },
  (on) => {
    const api = translation(on)

    test('a write that waits is answered 504 after 1.5 s: accepted, and stored in the end', async () => {
      const session = freshId()
      await api.store([sessionItem(session)], [taskItem(session, 't')])
      const unlock = await on.store.lock!('UPDATE translation_tasks SET row_index = 9 WHERE session_id = ?', [
        session,
      ])
      const start = performance.now()
      const answer = await api.postTasks([taskItem(session, 't', { status: 'completed' })], { wait: 'true' })
      expect(performance.now() - start).toBeWithin(1400, 3000)
      await unlock()
      expect(answer.status).toBe(504)
      expect(answer.headers.get('content-type')).toBe('application/problem+json')
      expect(answer.body).toMatchObject({
        status: 504,
        error_code: 'WRITE_PENDING',
        accepted: true,
        count: 1,
      })
      await until(async () => (await api.tasksOf(session)).body.items[0]!.status === 'completed', {
        message: 'the accepted row to be stored',
      })
    })

    test('a flush that takes too long is answered 504 with what it stored, and goes on', async () => {
      const session = freshId()
      await api.store([sessionItem(session)], [taskItem(session, 't')])
      const unlock = await on.store.lock!('UPDATE translation_tasks SET row_index = 9 WHERE session_id = ?', [
        session,
      ])
      await api.postSessions([sessionItem(freshId())])
      await api.postTasks([taskItem(session, 't', { status: 'completed' })])
      const answer = await api.flush()
      await unlock()
      expect(answer.status).toBe(504)
      expect(answer.body).toMatchObject({
        status: 'error',
        error_code: 'FLUSH_TIMEOUT',
        sessions_written: 1,
        tasks_written: 0,
        missing_instances: [expect.stringMatching(/^instance-/)],
      })
      await until(async () => (await api.tasksOf(session)).body.items[0]!.status === 'completed', {
        message: 'the accepted row to be stored',
      })
    })
  },
)
