/** Deleting a session: all that belongs to it is gone, everywhere and at once, and nothing of it comes back. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  type Item,
  sessionItem,
  sessionPath,
  taskItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

/** A stamp of that time as it is stored. */
function stampBytes(ms: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(ms) << 22n)
  return bytes
}

onEachBackend('hard deletes', {}, (on) => {
  const api = translation(on)
  const tombstone = async (id: string) =>
    (await on.store.run<{ finished: number }>('SELECT finished FROM tombstones WHERE group_key = ?', [id]))[0]
  async function rowsOf(id: string): Promise<number> {
    const counts = await Promise.all(
      ['translation_sessions', 'translation_tasks'].map((table) =>
        on.store.run<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table} WHERE session_id = ?`, [id]),
      ),
    )
    return counts.reduce((sum, [row]) => sum + row!.n, 0)
  }

  /** Every way to see something of a session; answers what is still seen. */
  async function traces(id: string, task: string): Promise<string[]> {
    const seen: string[] = []
    const expect404 = (name: string, { status }: { status: number }) =>
      status !== 404 && seen.push(`${name} ${status}`)
    expect404('detail', await api.session(id))
    expect404('tasks', await api.tasksOf(id))
    expect404('task', await api.task(task))
    expect404('task of the session', await api.task(task, { session_id: id }))
    expect404('restore', await api.restore(id))
    expect404('status', await on.http.patch(sessionPath(id, '/status'), { status: 'pending' }))
    expect404('delete', await api.remove(id))
    expect404('undelete', await on.http.post(sessionPath(id, '/undelete')))
    if ((await api.sessions({ q: id })).body.total > 0) seen.push('list')
    if ((await api.tasks({ session_id: id })).body.total > 0) seen.push('list of tasks')
    if ((await api.incomplete()).some(({ session_id }) => session_id === id)) seen.push('incomplete sessions')
    return seen
  }

  for (const state of ['stored', 'buffered', 'half of each']) {
    test(`a session goes with all its tasks, ${state}, and no other does`, async () => {
      const [id, other, task] = [freshId(), freshId(), freshId('t')]
      await api.flush()
      await api.postSessions([sessionItem(id), sessionItem(other)])
      await api.postTasks([...taskItems(id, 20), taskItem(id, task), taskItem(other, 't')])
      if (state !== 'buffered') await api.flush()
      if (state === 'half of each') {
        await api.postTasks(taskItems(id, 20, { from: 10 }))
        await api.patchSessions([{ session_id: id, total_tasks: 7 }])
      }
      const answer = await api.remove(id)
      expect(answer.status).toBe(200)
      const deleted_tasks = state === 'half of each' ? 31 : 21
      expect(answer.body).toEqual({ status: 'deleted', session_id: id, deleted_tasks })
      expect(await traces(id, task)).toEqual([])
      await api.flush()
      expect(await traces(id, task)).toEqual([])
      expect((await api.tasksOf(other)).body.total).toBe(1)
      expect((await api.session(other)).status).toBe(200)
    })
  }

  test('the tables hold nothing of it any more', async () => {
    const id = freshId()
    await api.store([sessionItem(id)], taskItems(id, 5))
    await api.remove(id)
    for (const table of ['translation_sessions', 'translation_tasks']) {
      expect(await on.store.run(`SELECT session_id FROM ${table} WHERE session_id = ?`, [id])).toEqual([])
    }
  })

  test('a session made anew starts clean', async () => {
    const id = freshId()
    const full = { metadata: { a: 1 }, game_info: { b: 2 }, total_tasks: 9, completed_tasks: 3 }
    const task = { target_text: 'old', context: 'old', confidence: 1, retry_count: 4, duration_ms: 5 }
    await api.store([sessionItem(id, full)], [taskItem(id, 'a', task), taskItem(id, 'b', task)])
    const before = (await api.session(id)).body
    await api.remove(id)
    for (const flushed of [false, true]) {
      if (flushed) await api.flush()
      else {
        await api.postSessions([sessionItem(id)])
        await api.postTasks([taskItem(id, 'a')])
      }
      const { body } = await api.session(id)
      expect(body).toMatchObject({ metadata: null, game_info: null, completed_tasks: 0 })
      expect(Date.parse(String(body.created_at))).toBeGreaterThanOrEqual(
        Date.parse(String(before.created_at)),
      )
      expect((await api.task('a', { session_id: id })).body).toMatchObject({
        target_text: null,
        context: null,
        confidence: null,
        retry_count: 0,
        duration_ms: null,
      })
      expect((await api.task('b', { session_id: id })).status).toBe(404)
    }
    expect((await api.session(id)).body.total_tasks).toBe(1)
    expect((await api.remove(id)).body.deleted_tasks).toBe(1)
  })

  test('a patch after the delete does not bring back what it had', async () => {
    const id = freshId()
    await api.store([sessionItem(id)], [taskItem(id, 't')])
    await api.remove(id)
    await api.patchSessions([{ session_id: id, status: 'failed' }])
    await api.patchTasks([{ session_id: id, task_id: 't', status: 'failed' }])
    await api.flush()
    expect((await api.session(id)).status).toBe(404)
    expect((await api.task('t', { session_id: id })).status).toBe(404)
  })

  test('tasks whose session never came go too', async () => {
    const id = freshId()
    await api.store([], taskItems(id, 3))
    expect((await api.remove(id)).body).toEqual({ status: 'deleted', session_id: id, deleted_tasks: 3 })
    expect((await api.tasksOf(id)).status).toBe(404)
  })

  test('so does a session that is not whole', async () => {
    const id = freshId()
    await api.patchSessions([{ session_id: id, status: 'pending' }])
    expect((await api.remove(id)).status).toBe(200)
    expect((await api.remove(id)).status).toBe(404)
  })

  test('what is not there is 404 with its id, again and again', async () => {
    const id = freshId()
    for (let i = 0; i < 3; i++) {
      const answer = await api.remove(id)
      expect(answer.status).toBe(404)
      expect(answer.body).toMatchObject({ error_code: 'SESSION_NOT_FOUND', session_id: id })
    }
  })

  test('of many deletes of one session at the same time each answers, and the session is gone', async () => {
    const id = freshId()
    await api.store([sessionItem(id)], taskItems(id, 500))
    const answers = await Promise.all(Array.from({ length: 8 }, () => api.remove(id)))
    for (const { status } of answers) expect([200, 404]).toContain(status)
    expect(answers.some(({ status }) => status === 200)).toBe(true)
    expect((await api.session(id)).status).toBe(404)
    expect(
      (await on.store.run('SELECT task_id FROM translation_tasks WHERE session_id = ?', [id])).length,
    ).toBe(0)
  })

  test('deletes of many sessions at the same time take nothing of one another', async () => {
    const ids = Array.from({ length: 20 }, () => freshId())
    await api.store(
      ids.map((id) => sessionItem(id)),
      ids.flatMap((id) => taskItems(id, 10)),
    )
    const answers = await Promise.all(ids.slice(0, 10).map((id) => api.remove(id)))
    expect(answers.map(({ body }) => body.deleted_tasks)).toEqual(Array.from({ length: 10 }, () => 10))
    for (const id of ids.slice(10)) expect((await api.tasksOf(id)).body.total).toBe(10)
  })

  test('until an unfinished delete is finished, the session is gone from its paths, made anew or not', async () => {
    const [id, other, task] = [freshId(), freshId(), freshId('t')]
    await api.store([sessionItem(id), sessionItem(other)], [taskItem(other, task)])
    await api.store([], [taskItem(id, task)])
    expect((await api.task(task)).body.session_id).toBe(id)
    // As an instance leaves it that dies in the middle of a delete; the next one takes it up within 10 s.
    await on.store.run(
      `INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
       VALUES ('translation_sessions', ?, ?, 0, 0)`,
      [id, stampBytes(Date.now())],
    )
    for (const anew of [false, true]) {
      if (anew) await api.store([sessionItem(id)], [taskItem(id, task)])
      const answers = {
        detail: await api.session(id),
        tasks: await api.tasksOf(id),
        task: await api.task(task, { session_id: id }),
        restore: await api.restore(id),
        status: await on.http.patch(sessionPath(id, '/status'), { status: 'pending' }),
        undelete: await on.http.post(sessionPath(id, '/undelete')),
      }
      const seen = Object.entries(answers).filter(([, { status }]) => status !== 404)
      expect(seen.map(([name, { status }]) => `${name} ${status}`)).toEqual([])
      // The newest task of that id is then the one of the other session.
      expect((await api.task(task)).body).toMatchObject({ session_id: other })
    }
    await on.store.run('UPDATE tombstones SET finished = 1 WHERE group_key = ?', [id])
    expect((await api.session(id)).status).toBe(200)
    expect((await api.tasksOf(id)).body.total).toBe(1)
  })

  test('a delete during an unfinished one is 404, takes what was made anew, and finishes both', async () => {
    const id = freshId()
    await api.store([sessionItem(id)], taskItems(id, 3))
    await on.store.run(
      `INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
       VALUES ('translation_sessions', ?, ?, 0, 0)`,
      [id, stampBytes(Date.now())],
    )
    await api.store([sessionItem(id, { filename: 'anew' })], [taskItem(id, 'anew')])
    expect((await api.remove(id)).status).toBe(404)
    await until(async () => (await tombstone(id))?.finished === 1, { message: 'the end of the delete' })
    expect((await api.session(id)).status).toBe(404)
    expect(await rowsOf(id)).toBe(0)
    await api.store([sessionItem(id)])
    expect((await api.session(id)).status).toBe(200)
  })

  test('what is not there is deleted all the same: rows of before, stored late by another instance, are void', async () => {
    const id = freshId()
    await api.store([], [taskItem(id, 'a', { status: 'completed', target_text: 'before' })])
    const late = await on.store.run<{ stamps: Uint8Array }>(
      `SELECT stamps FROM translation_tasks WHERE session_id = ? AND task_id = 'a'`,
      [id],
    )
    await on.store.run('DELETE FROM translation_tasks WHERE session_id = ?', [id])
    expect((await api.remove(id)).status).toBe(404)
    expect(await tombstone(id)).toMatchObject({ finished: 1 })
    // As a statement stores it that waited in the server since before the delete.
    const times = on.store.time(Date.now())
    await on.store.run(
      `INSERT INTO translation_tasks (session_id, task_id, batch_id, sheet_name, row_index, column_name, source_text,
         status, created_at, updated_at, stamps) VALUES (?, 'a', 'b', 's', 1, 'c', 'before', 'completed', ?, ?, ?)`,
      [id, times, times, late[0]!.stamps],
    )
    expect((await api.task('a', { session_id: id })).status).toBe(404)
    expect((await api.task('a')).body.session_id).not.toBe(id)
    // What is accepted now is shown, with nothing of before.
    await api.patchTasks([{ session_id: id, task_id: 'a', status: 'processing' }])
    expect((await api.task('a', { session_id: id })).status).toBe(404)
    await api.postTasks([taskItem(id, 'a')])
    expect((await api.task('a', { session_id: id })).body).toMatchObject({ target_text: null })
    expect((await api.remove(id)).status).toBe(200)
    expect(await rowsOf(id)).toBe(0)
  })

  test('a session row of before that comes late is not shown, and its deletion mark hides nothing', async () => {
    const id = freshId()
    await api.store([sessionItem(id)], [taskItem(id, 't')])
    const [row] = await on.store.run<{ stamps: Uint8Array }>(
      'SELECT stamps FROM translation_sessions WHERE session_id = ?',
      [id],
    )
    await api.remove(id)
    const times = on.store.time(Date.now())
    const stamps = new Uint8Array(row!.stamps)
    stamps.set(stamps.subarray(0, 8), stamps.length - 8) // deleted_at, set before the delete
    await on.store.run(
      `INSERT INTO translation_sessions (session_id, filename, file_path, status, llm_provider, deleted_at, created_at,
         updated_at, stamps) VALUES (?, 'f', 'p', 'processing', 'l', ?, ?, ?, ?)`,
      [id, times, times, times, stamps],
    )
    expect((await api.session(id)).status).toBe(404)
    expect((await api.tasksOf(id)).status).toBe(404)
    expect((await on.http.post(sessionPath(id, '/undelete'))).status).toBe(404)
    await api.postSessions([sessionItem(id, { filename: 'anew' })])
    expect((await api.session(id)).body).toMatchObject({ filename: 'anew' })
    await api.remove(id)
  })

  test('case twins and neighbours by name are other sessions', async () => {
    const id = freshId('Del')
    const others = [id.toLowerCase(), id.toUpperCase(), `${id}x`, `${id}%`, `${id}_`]
    await api.store(
      [id, ...others].map((each) => sessionItem(each)),
      [id, ...others].map((each) => taskItem(each, 't')),
    )
    expect((await api.remove(id)).body.deleted_tasks).toBe(1)
    for (const each of others) expect((await api.tasksOf(each)).body.total).toBe(1)
  })
})

const MANY = 100_001

onEachBackend('deletes of very many tasks', { only: ['sqlite'] }, (on) => {
  const api = translation(on)

  describe('more than 100,000', () => {
    test('answer 202 at once; the session is gone from that moment, and its tasks soon', async () => {
      const [id, other] = [freshId(), freshId()]
      await api.store([sessionItem(id), sessionItem(other)], [taskItem(id, 'model'), taskItem(other, 't')])
      await on.store.run(
        `INSERT INTO translation_tasks
         SELECT session_id, 'copy_' || n, batch_id, sheet_name, n, column_name, source_text, target_text, context,
           status, confidence, error_message, retry_count, start_time, end_time, duration_ms, created_at, updated_at, stamps
         FROM translation_tasks, (WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)
           SELECT n FROM counted)
         WHERE session_id = ? AND task_id = 'model'`,
        [MANY - 1, id],
      )
      const answer = await api.remove(id)
      expect(answer.status).toBe(202)
      expect(answer.body).toEqual({ status: 'deleting', session_id: id, deleted_tasks: MANY })
      const gone = async () => {
        expect((await api.session(id)).status).toBe(404)
        expect((await api.tasksOf(id)).status).toBe(404)
        expect((await api.restore(id)).status).toBe(404)
        expect((await api.task('copy_99999')).status).toBe(404)
      }
      const left = async () =>
        (
          await on.store.run<{ n: number }>(
            'SELECT COUNT(*) AS n FROM translation_tasks WHERE session_id = ?',
            [id],
          )
        )[0]!.n
      await gone()
      expect((await api.remove(id)).status).toBe(404)
      // Made anew meanwhile: hidden until the delete is finished, then there, and clean.
      await api.store([sessionItem(id, { filename: 'anew' })], [taskItem(id, 'anew')])
      if ((await left()) > 1) await gone()
      await until(async () => (await left()) === 1, { message: 'the end of the delete', timeoutMs: 30_000 })
      await until(async () => (await api.session(id)).status === 200, { message: 'the session made anew' })
      expect((await api.session(id)).body).toMatchObject({ filename: 'anew', total_tasks: 1 })
      expect((await api.tasksOf(id)).body.items.map(({ task_id }: Item) => task_id)).toEqual(['anew'])
      expect((await api.tasksOf(other)).body.total).toBe(1)
      expect((await on.http.get(`${BASE}/stats`)).status).toBe(200)
    })
  })
})
