/** DELETE_MODE=soft: hidden everywhere, brought back by undelete, purged by cleanup after 7 days. */
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

const DAY_MS = 86_400_000
const SOFT = { DELETE_MODE: 'soft' }

interface Stats extends Item {
  sessions: { total: number; completed: number }
  tasks: { total: number; completed: number; failed: number }
  performance: { average_session_time: number; average_task_time: number; success_rate: number }
}

onEachBackend('soft deletes', { env: SOFT }, (on) => {
  const api = translation(on)
  const undelete = (id: string) => on.http.post<Item>(sessionPath(id, '/undelete'))

  /** What is still seen of a session, and of a task of it. */
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
    if ((await api.sessions({ q: id })).body.total > 0) seen.push('list')
    if ((await api.tasks({ session_id: id })).body.total > 0) seen.push('list of tasks')
    if ((await api.tasks({ batch_id: id })).body.items.length > 0) seen.push('list of tasks by batch')
    if ((await api.incomplete()).some(({ session_id }) => session_id === id)) seen.push('incomplete sessions')
    return seen
  }

  for (const state of ['stored', 'buffered']) {
    test(`a session is hidden everywhere, with its tasks (${state})`, async () => {
      const [id, other, task] = [freshId(), freshId(), freshId('t')]
      await api.flush()
      await api.postSessions([sessionItem(id), sessionItem(other)])
      await api.postTasks([
        ...taskItems(id, 20, { batch_id: id }),
        taskItem(id, task, { batch_id: id }),
        taskItem(other, 't'),
      ])
      if (state === 'stored') await api.flush()
      const answer = await api.remove(id)
      expect(answer.status).toBe(200)
      expect(answer.body).toEqual({ status: 'deleted', session_id: id, deleted_tasks: 21 })
      expect(await traces(id, task)).toEqual([])
      expect((await api.tasksOf(other)).body.total).toBe(1)
    })
  }

  test('undelete brings all of it back, to the letter', async () => {
    const id = freshId()
    await api.store([sessionItem(id, { metadata: { a: 1 } })], taskItems(id, 5, { target_text: 'x' }))
    const [session, tasks] = [(await api.session(id)).body, (await api.tasksOf(id)).body.items]
    await api.remove(id)
    const answer = await undelete(id)
    expect(answer.status).toBe(200)
    const { updated_at, ...rest } = session
    expect(answer.body).toMatchObject(rest)
    expect((await api.session(id)).body).toMatchObject(rest)
    expect((await api.tasksOf(id)).body.items).toEqual(tasks)
    expect((await api.incomplete()).map(({ session_id }) => session_id)).toContain(id)
    expect((await api.restore(id)).body.tasks_count).toBe(5)
    // And it can be deleted, and brought back, again.
    expect((await api.remove(id)).status).toBe(200)
    expect((await api.session(id)).status).toBe(404)
    expect((await undelete(id)).status).toBe(200)
  })

  test('what is written to a deleted session is taken, stays hidden, and is there after undelete', async () => {
    const [id, early, late] = [freshId(), freshId('t'), freshId('t')]
    await api.store([sessionItem(id)])
    await api.postTasks([taskItem(id, early)])
    await api.remove(id)
    for (const flushed of [false, true]) {
      if (flushed) await api.flush()
      else {
        const written = [
          await api.postTasks([taskItem(id, late)]),
          await api.patchTasks([{ session_id: id, task_id: early, target_text: 'written later' }]),
          await api.postSessions([sessionItem(id, { filename: 'written later' })]),
        ]
        expect(written.map(({ status }) => status)).toEqual([202, 202, 202])
      }
      expect(await traces(id, late)).toEqual([])
      expect(await traces(id, early)).toEqual([])
    }
    expect((await undelete(id)).body).toMatchObject({ filename: 'written later', total_tasks: 2 })
    expect((await api.task(late)).status).toBe(200)
    expect((await api.task(early)).body.target_text).toBe('written later')
  })

  test('the same task_id elsewhere is not hidden with it', async () => {
    const [id, other, task] = [freshId(), freshId(), freshId('t')]
    await api.store([sessionItem(id), sessionItem(other)], [taskItem(other, task)])
    await api.store([], [taskItem(id, task)])
    expect((await api.task(task)).body.session_id).toBe(id)
    await api.remove(id)
    expect((await api.task(task)).body.session_id).toBe(other)
  })

  test('tasks whose session never came can be hidden, and are there after undelete once it has come', async () => {
    const id = freshId()
    await api.store([], taskItems(id, 3))
    expect((await api.remove(id)).body).toEqual({ status: 'deleted', session_id: id, deleted_tasks: 3 })
    expect((await api.tasksOf(id)).status).toBe(404)
    expect((await api.tasks({ session_id: id })).body.total).toBe(0)
    expect((await undelete(id)).status).toBe(404)
    expect((await api.tasksOf(id)).status).toBe(404)
    await api.store([sessionItem(id)])
    expect((await undelete(id)).status).toBe(200)
    expect((await api.tasksOf(id)).body.total).toBe(3)
  })

  test('undelete of what is not deleted is 409, of what is not there 404', async () => {
    const [id, half] = [freshId(), freshId()]
    await api.store([sessionItem(id)])
    const conflict = await undelete(id)
    expect(conflict.status).toBe(409)
    expect(conflict.body).toMatchObject({ error_code: 'SESSION_NOT_DELETED', session_id: id })
    await api.patchSessions([{ session_id: half, status: 'pending' }])
    for (const missing of [half, freshId()]) {
      const answer = await undelete(missing)
      expect(answer.status).toBe(404)
      expect(answer.body).toMatchObject({ error_code: 'SESSION_NOT_FOUND', session_id: missing })
    }
  })

  test('a second delete is 404, and moves no purge into the future', async () => {
    const id = freshId()
    const deletedAt = async () =>
      (await on.store.run('SELECT deleted_at FROM translation_sessions WHERE session_id = ?', [id]))[0]!
        .deleted_at
    await api.store([sessionItem(id)])
    await api.remove(id)
    const first = await deletedAt()
    expect((await api.remove(id)).status).toBe(404)
    expect(await deletedAt()).toEqual(first)
  })

  describe('cleanup', () => {
    const cleanup = async (body: Item = {}) =>
      (
        await on.http.post<{ deleted_sessions: number; deleted_tasks: number }>(
          `${BASE}/sessions/cleanup`,
          body,
        )
      ).body

    async function deletedDaysAgo(id: string, days: number): Promise<void> {
      await api.store([sessionItem(id)], taskItems(id, 4))
      await api.remove(id)
      await on.store.run('UPDATE translation_sessions SET deleted_at = ? WHERE session_id = ?', [
        on.store.time(Date.now() - days * DAY_MS),
        id,
      ])
    }

    test('purges what was deleted more than 7 days ago, whatever its status, and leaves the rest', async () => {
      const [old, young] = [freshId(), freshId()]
      await deletedDaysAgo(old, 7.01)
      await deletedDaysAgo(young, 6.99)
      expect(await cleanup({ dry_run: true })).toMatchObject({ deleted_sessions: 1, deleted_tasks: 4 })
      expect(await cleanup()).toMatchObject({ deleted_sessions: 1, deleted_tasks: 4 })
      expect(await cleanup()).toMatchObject({ deleted_sessions: 0, deleted_tasks: 0 })
      expect((await undelete(old)).status).toBe(404)
      expect((await undelete(young)).body).toMatchObject({ session_id: young, total_tasks: 4 })
      expect(
        (await on.store.run('SELECT task_id FROM translation_tasks WHERE session_id = ?', [old])).length,
      ).toBe(0)
    })

    test('a finished session that is hidden waits for its 7 days, however old it is', async () => {
      const id = freshId()
      await api.store([sessionItem(id, { status: 'completed' })])
      await api.remove(id)
      await on.store.run('UPDATE translation_sessions SET updated_at = ? WHERE session_id = ?', [
        on.store.time(Date.now() - 400 * DAY_MS),
        id,
      ])
      expect(await cleanup()).toMatchObject({ deleted_sessions: 0 })
      expect((await undelete(id)).status).toBe(200)
    })

    test('a session that is made anew after the purge starts clean, and is shown', async () => {
      const id = freshId()
      await deletedDaysAgo(id, 8)
      await cleanup()
      await api.store([sessionItem(id)])
      expect((await api.session(id)).body).toMatchObject({ total_tasks: 0 })
    })
  })
})

onEachBackend('statistics of soft deletes', { env: SOFT }, (on) => {
  const api = translation(on)

  test('leave out hidden sessions and their tasks, in counts and in means', async () => {
    const [shown, hidden] = [freshId(), freshId()]
    await api.store(
      [sessionItem(shown, { status: 'completed' }), sessionItem(hidden, { status: 'completed' })],
      [
        ...taskItems(shown, 4, { status: 'completed', duration_ms: 1000 }),
        ...taskItems(hidden, 6, { status: 'completed', duration_ms: 9000 }),
        ...taskItems(hidden, 5, { from: 6, status: 'failed' }),
      ],
    )
    await on.store.run('UPDATE translation_sessions SET created_at = ? WHERE session_id = ?', [
      on.store.time(Date.now() - DAY_MS),
      hidden,
    ])
    await api.remove(hidden)
    const { sessions, tasks, performance } = (await on.http.get<Stats>(`${BASE}/stats`)).body
    expect(sessions).toMatchObject({ total: 1, completed: 1 })
    expect(tasks).toMatchObject({ total: 4, completed: 4, failed: 0 })
    expect(performance.success_rate).toBe(100)
    expect(performance.average_task_time).toBe(1)
    expect(performance.average_session_time).toBeLessThan(60)
  })
})
