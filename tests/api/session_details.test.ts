/** A session's figures: what the client wrote, or the stored tasks where there are any; and its status. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import {
  freshId,
  type Item,
  type Problem,
  sessionItem,
  sessionPath,
  taskItems,
  translation,
} from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

/** What the client wrote, and what is to be read. */
const COUNTERS: readonly [name: string, written: Item, read: Item][] = [
  [
    'as printed',
    { total_tasks: 1000, completed_tasks: 350, failed_tasks: 5, processing_tasks: 10 },
    { total_tasks: 1000, completed_tasks: 350, pending_tasks: 635, progress: 35 },
  ],
  [
    'nothing written',
    {},
    {
      total_tasks: 0,
      completed_tasks: 0,
      failed_tasks: 0,
      processing_tasks: 0,
      pending_tasks: 0,
      progress: 0,
    },
  ],
  ['one decimal, rounded down', { total_tasks: 3, completed_tasks: 1 }, { pending_tasks: 2, progress: 33.3 }],
  ['one decimal, rounded up', { total_tasks: 3, completed_tasks: 2 }, { pending_tasks: 1, progress: 66.7 }],
  ['almost none', { total_tasks: 100_000, completed_tasks: 1 }, { progress: 0 }],
  ['all', { total_tasks: 7, completed_tasks: 7 }, { pending_tasks: 0, progress: 100 }],
  [
    'more done than there are',
    { total_tasks: 5, completed_tasks: 4, failed_tasks: 3, processing_tasks: 2 },
    { total_tasks: 5, pending_tasks: 0, progress: 80 },
  ],
  ['no total', { failed_tasks: 3 }, { total_tasks: 0, failed_tasks: 3, pending_tasks: 0, progress: 0 }],
  [
    'the largest numbers',
    { total_tasks: 2_147_483_647, completed_tasks: 2_147_483_647 },
    { pending_tasks: 0, progress: 100 },
  ],
]

onEachBackend('session details', {}, (on) => {
  const api = translation(on)
  const setStatus = (id: string, body: unknown) =>
    on.http.patch<Item & Partial<Problem>>(sessionPath(id, '/status'), body)

  describe('counters', () => {
    for (const [name, written, read] of COUNTERS) {
      test(`without tasks are the client's: ${name}`, async () => {
        const id = freshId()
        await api.postSessions([sessionItem(id, { llm_provider: id, ...written })])
        expect((await api.session(id)).body).toMatchObject(read)
        await api.flush()
        expect((await api.session(id)).body).toMatchObject(read)
        expect((await api.sessions({ llm_provider: id })).body.items[0]).toMatchObject(read)
      })
    }

    const stored = (id: string) => [
      ...taskItems(id, 4, { status: 'completed' }),
      ...taskItems(id, 3, { from: 10, status: 'failed' }),
      ...taskItems(id, 2, { from: 20, status: 'processing' }),
      ...taskItems(id, 1, { from: 30, status: 'pending' }),
    ]

    test('with stored tasks are theirs in the detail, the client’s in the list', async () => {
      const id = freshId()
      const written = { total_tasks: 8, completed_tasks: 1, failed_tasks: 1, processing_tasks: 1 }
      await api.store([sessionItem(id, { llm_provider: id, ...written })], stored(id))
      expect((await api.session(id)).body).toMatchObject({
        total_tasks: 10,
        completed_tasks: 4,
        failed_tasks: 3,
        processing_tasks: 2,
        pending_tasks: 1,
        progress: 40,
      })
      expect((await api.sessions({ llm_provider: id })).body.items[0]).toMatchObject({
        ...written,
        pending_tasks: 5,
        progress: 12.5,
      })
    })

    test('total_tasks is the larger of the written and the stored', async () => {
      const id = freshId()
      await api.store([sessionItem(id, { total_tasks: 40 })], stored(id))
      expect((await api.session(id)).body).toMatchObject({ total_tasks: 40, pending_tasks: 31, progress: 10 })
    })

    test('tasks that are not whole are not counted', async () => {
      const id = freshId()
      await api.store([sessionItem(id)], stored(id))
      await api.patchTasks([{ session_id: id, task_id: 'half', status: 'completed' }])
      await api.flush()
      expect((await api.session(id)).body).toMatchObject({ total_tasks: 10, completed_tasks: 4 })
    })
  })

  describe('estimated_completion', () => {
    test('goes on at the rate so far, from the last sign of progress', async () => {
      const id = freshId()
      await api.store([sessionItem(id, { total_tasks: 100, completed_tasks: 20, failed_tasks: 5 })])
      const created = Date.parse('2025-09-30T10:00:00Z')
      await on.store.run('UPDATE translation_sessions SET created_at = ? WHERE session_id = ?', [
        on.store.time(created),
        id,
      ])
      const { body } = await api.session(id)
      const updated = Date.parse(String(body.updated_at))
      // 25 are done, 75 are left: three times what it took until now.
      const want = updated + 3 * (updated - created)
      expect(Date.parse(String(body.estimated_completion))).toBe(want)
    })

    for (const [name, fields] of Object.entries({
      'nothing is done': { total_tasks: 100 },
      'there is no total': {},
      'nothing is left': { total_tasks: 10, completed_tasks: 8, failed_tasks: 2 },
      'it has not begun': { status: 'pending', total_tasks: 10, completed_tasks: 5 },
      'it is completed': { status: 'completed', total_tasks: 10, completed_tasks: 5 },
      'it has failed': { status: 'failed', total_tasks: 10, completed_tasks: 5 },
      'it was cancelled': { status: 'cancelled', total_tasks: 10, completed_tasks: 5 },
    })) {
      test(`is null where it can't be told: ${name}`, async () => {
        const id = freshId()
        await api.store([sessionItem(id, fields)])
        await on.store.run('UPDATE translation_sessions SET created_at = ? WHERE session_id = ?', [
          on.store.time(Date.parse('2025-09-30T10:00:00Z')),
          id,
        ])
        expect((await api.session(id)).body.estimated_completion).toBeNull()
      })
    }

    test('beyond the years that can be written is null', async () => {
      const id = freshId()
      await api.store([sessionItem(id, { total_tasks: 2_147_483_647, completed_tasks: 1 })])
      await on.store.run('UPDATE translation_sessions SET created_at = ? WHERE session_id = ?', [
        on.store.time(Date.parse('2000-01-01T00:00:00Z')),
        id,
      ])
      const answer = await api.session(id)
      expect(answer.status).toBe(200)
      expect(answer.body.estimated_completion).toBeNull()
    })
  })

  describe('a change of status', () => {
    for (const status of ['pending', 'processing', 'completed', 'failed', 'cancelled']) {
      test(`to ${status} answers the session with it, and is stored like any write`, async () => {
        const id = freshId()
        const session = sessionItem(id, { metadata: { kept: true }, total_tasks: 3 })
        await api.store([session])
        const answer = await setStatus(id, { status })
        expect(answer.status).toBe(200)
        expect(answer.body).toMatchObject({ ...session, status })
        expect((await api.session(id)).body).toMatchObject({ ...session, status })
        await api.flush()
        expect((await api.sessions({ q: id })).body.items[0]).toMatchObject({ session_id: id, status })
      })
    }

    test('of a session that is only buffered', async () => {
      const id = freshId()
      await api.postSessions([sessionItem(id)])
      expect((await setStatus(id, { status: 'failed' })).body).toMatchObject({
        session_id: id,
        status: 'failed',
      })
    })

    test('to a terminal one stores all that is buffered at once', async () => {
      const id = freshId()
      await api.store([sessionItem(id)])
      await api.postTasks(taskItems(id, 3))
      await setStatus(id, { status: 'completed' })
      await until(async () => (await api.tasksOf(id)).body.total === 3, { message: 'the flush' })
    })

    test('ignores other fields', async () => {
      const id = freshId()
      await api.store([sessionItem(id)])
      const answer = await setStatus(id, { status: 'failed', filename: 'other', session_id: 'x' })
      expect(answer.body).toMatchObject({ ...sessionItem(id), status: 'failed' })
    })

    for (const [name, body] of Object.entries({
      'an unknown status': { status: 'done' },
      null: { status: null },
      'no status': {},
      'a number': { status: 1 },
      'a status in capitals': { status: 'FAILED' },
    })) {
      test(`is 422 that names status: ${name}`, async () => {
        const id = freshId()
        await api.store([sessionItem(id)])
        const answer = await setStatus(id, body)
        expect(answer.status).toBe(422)
        expect(answer.body.errors!.map(({ field }) => field)).toEqual(['status'])
        expect((await api.session(id)).body.status).toBe('processing')
      })
    }

    test('is 404 where there is no session, or none that is whole, and makes none', async () => {
      const [none, half] = [freshId(), freshId()]
      await api.patchSessions([{ session_id: half, filename: 'half' }])
      for (const id of [none, half]) {
        const answer = await setStatus(id, { status: 'failed' })
        expect(answer.status).toBe(404)
        expect(answer.body).toMatchObject({ error_code: 'SESSION_NOT_FOUND', session_id: id })
      }
      await api.flush()
      const rows = await on.store.run(
        'SELECT session_id, status FROM translation_sessions WHERE session_id IN (?, ?)',
        [none, half],
      )
      expect(rows.map((row) => ({ ...row }))).toEqual([{ session_id: half, status: null }])
    })
  })
})
