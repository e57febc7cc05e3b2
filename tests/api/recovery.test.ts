/** What Backend V2 gets after a restart: unfinished sessions, and their unfinished tasks in both forms. */
import { beforeAll, describe, expect, test } from 'bun:test'
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

const UNFINISHED = ['pending', 'processing'] as const
const FINISHED = ['completed', 'failed', 'cancelled'] as const

interface Status extends Item {
  incomplete_sessions: number
  restores: {
    session_id: string
    tasks_count: number
    ok: boolean
    instance_id: string
    restored_at: string
  }[]
  success_rate: number
}

onEachBackend('incomplete sessions', {}, (on) => {
  const api = translation(on)
  const incomplete = async () => (await api.incomplete()).map(({ session_id }) => session_id)

  test('there are none at first', async () => {
    const { body } = await on.http.get(`${BASE}/recovery/incomplete-sessions`)
    expect(body).toEqual({ count: 0, sessions: [], missing_instances: [] })
  })

  for (const flushed of [true, false]) {
    const where = flushed ? 'stored' : 'buffered'

    test(`are the pending and the processing ones (${where})`, async () => {
      const open = UNFINISHED.map((status) => sessionItem(freshId(), { status }))
      const closed = FINISHED.map((status) => sessionItem(freshId(), { status }))
      await api.flush()
      await api.postSessions([...open, ...closed])
      if (flushed) await api.flush()
      const found = await incomplete()
      for (const { session_id } of open) expect(found).toContain(session_id)
      for (const { session_id } of closed) expect(found).not.toContain(session_id)
    })
  }

  test('one that is finished in the buffer is gone', async () => {
    const id = freshId()
    await api.store([sessionItem(id)])
    await api.patchTasks([{ session_id: id, task_id: 't', status: 'pending' }])
    expect(await incomplete()).toContain(id)
    await api.patchSessions([{ session_id: id, total_tasks: 5 }])
    expect(await incomplete()).toContain(id)
    await api.patchSessions([{ session_id: id, status: 'completed' }])
    expect(await incomplete()).not.toContain(id)
  })

  test('one that is taken up again in the buffer is there', async () => {
    const id = freshId()
    await api.store([sessionItem(id, { status: 'completed' })])
    expect(await incomplete()).not.toContain(id)
    await api.patchSessions([{ session_id: id, status: 'processing' }])
    expect(await incomplete()).toContain(id)
  })

  test('one that gets whole by what is buffered is there, one that is not is not', async () => {
    const [whole, half] = [freshId(), freshId()]
    const { filename, ...rest } = sessionItem(whole)
    await api.patchSessions([rest, { session_id: half, status: 'processing' }])
    await api.flush()
    expect(await incomplete()).not.toContain(whole)
    await api.patchSessions([{ session_id: whole, filename }])
    expect(await incomplete()).toContain(whole)
    expect(await incomplete()).not.toContain(half)
  })

  test('come newest first, with the counters of their stored tasks', async () => {
    const [older, newer] = [freshId(), freshId()]
    await api.store([sessionItem(older), sessionItem(newer, { total_tasks: 9, completed_tasks: 2 })])
    for (const [id, day] of [
      [older, 1],
      [newer, 2],
    ] as const) {
      const time = on.store.time(Date.UTC(2099, 0, day))
      await on.store.run('UPDATE translation_sessions SET created_at = ? WHERE session_id = ?', [time, id])
    }
    await api.store([], [...taskItems(older, 2, { status: 'completed' }), taskItem(older, 'left')])
    const sessions = await api.incomplete()
    expect(sessions.slice(0, 2).map(({ session_id }) => session_id)).toEqual([newer, older])
    expect(sessions[0]).toMatchObject({ total_tasks: 9, completed_tasks: 2, pending_tasks: 7 })
    expect(sessions[1]).toMatchObject({ total_tasks: 3, completed_tasks: 2, pending_tasks: 1 })
  })

  test('are all there, however many they are', async () => {
    const prefix = freshId('many')
    const ids = Array.from({ length: 1200 }, (_, i) => `${prefix}-${i}`)
    await api.store(ids.map((id) => sessionItem(id)))
    const found = (await incomplete()).filter((id) => String(id).startsWith(prefix))
    expect(new Set(found)).toEqual(new Set(ids))
    expect(found.length).toBe(1200)
  })
})

onEachBackend('restore', {}, (on) => {
  const api = translation(on)
  const big = freshId('big')
  const bigTasks = taskItems(big, 5000, { target_text: '译'.repeat(100) })

  beforeAll(() => api.store([sessionItem(big, { metadata: { a: 1 }, total_tasks: 5000 })], bigTasks))

  async function lines(id: string, accept = 'application/x-ndjson') {
    const answer = await on.http.post(`${BASE}/recovery/restore/${encodeURIComponent(id)}`, undefined, {
      accept,
    })
    return {
      ...answer,
      lines: answer.text
        .split('\n')
        .slice(0, -1)
        .map((line): Item => JSON.parse(line)),
    }
  }

  const idsOf = (tasks: readonly unknown[]) => tasks.map((task) => String((task as Item).task_id)).sort()

  /** Both forms, which have to say the same; answers the restored tasks by id. */
  async function restored(id: string): Promise<Map<string, Item>> {
    const { body } = await api.restore(id)
    const ndjson = await lines(id)
    const tasks = new Map(body.tasks.map((task) => [String(task.task_id), task]))
    const streamed = ndjson.lines.slice(1, -1).map(({ task }) => task as Item)
    expect(streamed.length).toBe(body.tasks.length)
    expect(tasks.size).toBe(body.tasks.length)
    for (const task of streamed) expect(task).toEqual(tasks.get(String(task.task_id))!)
    expect(ndjson.lines[0]).toEqual({ session_id: id, session: body.session })
    return tasks
  }

  test('gives 5000 tasks as JSON, with the fields of both printed clients', async () => {
    const { status, body, headers } = await api.restore(big)
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('application/json')
    expect(body).toMatchObject({
      session_id: big,
      session: { session_id: big, metadata: { a: 1 }, total_tasks: 5000, pending_tasks: 5000 },
      tasks_count: 5000,
      restored_tasks_count: 5000,
      missing_instances: [],
    })
    expect(body.restored_session).toEqual(body.session)
    expect(Date.parse(String(body.restored_at))).toBeGreaterThan(Date.now() - 10_000)
    expect(idsOf(body.tasks)).toEqual(idsOf(bigTasks))
    expect(body.tasks.find(({ task_id }) => task_id === 'task_4999')).toMatchObject(bigTasks[4999]!)
  })

  test('gives 5000 tasks as NDJSON: the session, a line a task, the count', async () => {
    const answer = await lines(big)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toBe('application/x-ndjson')
    expect(answer.lines.length).toBe(5002)
    expect(answer.lines[0]).toMatchObject({
      session_id: big,
      session: { session_id: big, metadata: { a: 1 } },
    })
    expect(idsOf(answer.lines.slice(1, -1).map(({ task }) => task))).toEqual(idsOf(bigTasks))
    expect(answer.lines.at(-1)).toMatchObject({
      tasks_count: 5000,
      restored_tasks_count: 5000,
      missing_instances: [],
    })
    expect(answer.text.endsWith('\n')).toBe(true)
  })

  for (const accept of ['application/json;q=0.5, application/x-ndjson;q=0.9', 'APPLICATION/X-NDJSON']) {
    test(`NDJSON is what asks for it: Accept: ${accept}`, async () => {
      expect((await lines(big, accept)).headers.get('content-type')).toBe('application/x-ndjson')
    })
  }

  const preferJson = [
    'application/json, application/x-ndjson;q=0.9',
    'application/json, application/x-ndjson;q=0',
  ]
  for (const accept of ['*/*', 'application/json', 'text/html', '', ...preferJson]) {
    test(`JSON is what does not: Accept: ${accept || '(empty)'}`, async () => {
      const answer = await on.http.post(`${BASE}/recovery/restore/${big}`, undefined, { accept })
      expect(answer.headers.get('content-type')).toBe('application/json')
    })
  }

  describe('lays what is buffered over what is stored', () => {
    test('in all four combinations, and both halves of one row', async () => {
      const id = freshId()
      const stored = [
        taskItem(id, 'stays', { target_text: 'stored' }),
        taskItem(id, 'is finished', { status: 'processing' }),
        taskItem(id, 'is taken up', { status: 'completed' }),
        taskItem(id, 'stays finished', { status: 'failed' }),
        taskItem(id, 'changes', { target_text: 'stored', context: 'stored' }),
      ]
      await api.store([sessionItem(id)], stored)
      await api.patchTasks([
        { session_id: id, task_id: 'is finished', status: 'completed' },
        { session_id: id, task_id: 'is taken up', status: 'pending' },
        { session_id: id, task_id: 'stays finished', retry_count: 3 },
        { session_id: id, task_id: 'changes', target_text: 'buffered' },
        { session_id: id, task_id: 'is half', status: 'pending' },
      ])
      await api.postTasks([taskItem(id, 'is new'), taskItem(id, 'is new and done', { status: 'completed' })])
      for (const flushed of [false, true]) {
        if (flushed) await api.flush()
        const tasks = await restored(id)
        expect([...tasks.keys()].sort()).toEqual(['changes', 'is new', 'is taken up', 'stays'])
        expect(tasks.get('changes')).toMatchObject({ target_text: 'buffered', context: 'stored' })
        expect(tasks.get('is taken up')!.status).toBe('pending')
      }
    })

    test('the session too', async () => {
      const id = freshId()
      await api.store([sessionItem(id, { total_tasks: 5 })])
      await api.patchSessions([{ session_id: id, filename: 'buffered' }])
      expect((await api.restore(id)).body.session).toMatchObject({ filename: 'buffered', total_tasks: 5 })
    })

    test('and gives what is buffered alone', async () => {
      const id = freshId()
      await api.postSessions([sessionItem(id)])
      await api.postTasks(taskItems(id, 700))
      expect((await restored(id)).size).toBe(700)
    })

    test('many buffered rows over more stored ones', async () => {
      await api.flush() // fewer than 1000 rows are buffered then: none is stored between two looks
      const done = bigTasks.slice(2000, 2500)
      const added = taskItems(big, 400, { from: 5000 })
      await api.patchTasks(
        done.map(({ session_id, task_id }) => ({ session_id, task_id, status: 'completed' })),
      )
      await api.postTasks(added)
      const want = idsOf([...bigTasks.slice(0, 2000), ...bigTasks.slice(2500), ...added])
      expect([...(await restored(big)).keys()].sort()).toEqual(want)
      await api.flush()
      expect([...(await restored(big)).keys()].sort()).toEqual(want)
    })
  })

  test('a session without unfinished tasks restores none', async () => {
    const id = freshId()
    await api.store([sessionItem(id)], [taskItem(id, 't', { status: 'completed' })])
    expect((await api.restore(id)).body).toMatchObject({ tasks: [], tasks_count: 0 })
    expect((await lines(id)).lines.length).toBe(2)
  })

  test('a finished session can be restored as well', async () => {
    const id = freshId()
    await api.store([sessionItem(id, { status: 'failed' })], [taskItem(id, 't')])
    expect((await api.restore(id)).body).toMatchObject({ tasks_count: 1, session: { status: 'failed' } })
  })

  test('what is not there, or not whole, is 404 in both forms, with the id', async () => {
    const half = freshId()
    await api.patchSessions([{ session_id: half, status: 'pending' }])
    await api.postTasks([taskItem(half, 't')])
    for (const id of [half, freshId()]) {
      for (const accept of ['application/json', 'application/x-ndjson']) {
        const answer = await on.http.post(`${BASE}/recovery/restore/${id}`, undefined, { accept })
        expect(answer.status).toBe(404)
        expect(answer.body).toMatchObject({ error_code: 'SESSION_NOT_FOUND', session_id: id })
      }
    }
  })
})

onEachBackend('recovery status', {}, (on) => {
  const api = translation(on)
  const status = async () => (await on.http.get<Status>(`${BASE}/recovery/status`)).body

  test('before any restore says so', async () => {
    expect(await status()).toEqual({
      incomplete_sessions: 0,
      restores: [],
      replayed_rows: 0,
      success_rate: 100,
      missing_instances: [],
    })
  })

  test('lists the newest 20 restores with their results, and counts unfinished sessions', async () => {
    const ids = Array.from({ length: 22 }, () => freshId())
    await api.store(
      ids.map((id) => sessionItem(id)),
      ids.flatMap((id, i) => taskItems(id, i)),
    )
    for (const id of ids) await api.restore(id)
    const { restores, incomplete_sessions, success_rate } = await status()
    expect(incomplete_sessions).toBe(22)
    expect(success_rate).toBe(100)
    expect(restores.map(({ session_id }) => session_id)).toEqual(ids.toReversed().slice(0, 20))
    expect(restores.map(({ tasks_count, ok }) => [tasks_count, ok])).toEqual(
      Array.from({ length: 20 }, (_, i) => [21 - i, true]),
    )
    const { instance_id } = (await on.http.get<{ instance_id: string }>('/health')).body
    for (const restore of restores) {
      expect(restore.instance_id).toBe(instance_id)
      expect(Math.abs(Date.parse(restore.restored_at) - Date.now())).toBeLessThan(30_000)
    }
  })

  test('a restore of what is not there is none', async () => {
    const before = await status()
    await api.restore('nobody')
    expect(await status()).toEqual(before)
  })
})
