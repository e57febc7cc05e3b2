/** What an item leaves out is kept, what it says null to is cleared; PATCH; and what arrives too early. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import { BASE, freshId, type Item, sessionItem, taskItem, translation } from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

const SESSION_OPTIONAL = {
  game_info: { game_name: 'x' },
  metadata: { a: [1, { b: null }] },
  total_tasks: 9,
  completed_tasks: 4,
  failed_tasks: 3,
  processing_tasks: 2,
}

const TASK_OPTIONAL = {
  target_text: '译文',
  context: 'a context',
  confidence: 0.5,
  error_message: 'an error',
  retry_count: 3,
  start_time: '2025-09-30T10:10:00.000Z',
  end_time: '2025-09-30T10:10:05.000Z',
  duration_ms: 5000,
}

const nulls = (fields: Item): Item => Object.fromEntries(Object.keys(fields).map((name) => [name, null]))

/** Counters read as 0 where they are cleared. */
const cleared = (fields: Item): Item =>
  Object.fromEntries(
    Object.keys(fields).map((name) => [name, name.endsWith('_tasks') || name === 'retry_count' ? 0 : null]),
  )

onEachBackend('sparse writes', {}, (on) => {
  const api = translation(on)

  const kinds = [
    {
      kind: 'sessions',
      optional: SESSION_OPTIONAL as Item,
      key: (id: string): Item => ({ session_id: id }),
      make: (id: string, fields: Item = {}) => sessionItem(id, fields),
      post: api.postSessions,
      patch: api.patchSessions,
      read: (id: string) => api.session(id),
    },
    {
      kind: 'tasks',
      optional: TASK_OPTIONAL as Item,
      key: (id: string): Item => ({ session_id: id, task_id: 't' }),
      make: (id: string, fields: Item = {}) => taskItem(id, 't', fields),
      post: api.postTasks,
      patch: api.patchTasks,
      read: (id: string) => api.task('t', { session_id: id }),
    },
  ]

  for (const { kind, optional, key, make, post, patch, read } of kinds) {
    describe(kind, () => {
      for (const between of ['in the buffer', 'stored', 'stored, then buffered']) {
        /** After each step, unless everything is to stay in the buffer. */
        const step = async (last = false) => {
          if (between === 'stored' || (between === 'stored, then buffered' && !last)) await api.flush()
        }

        test(`an absent optional field keeps what is there (${between})`, async () => {
          const id = freshId()
          await post([make(id, optional)])
          await step()
          await post([make(id)])
          await step(true)
          expect((await read(id)).body).toMatchObject(optional)
        })

        test(`null clears each optional field (${between})`, async () => {
          const id = freshId()
          await post([make(id, optional)])
          await step()
          expect((await post([make(id, nulls(optional))])).status).toBe(202)
          await step(true)
          expect((await read(id)).body).toMatchObject(cleared(optional))
        })

        test(`a patch changes the fields that it names, and no others (${between})`, async () => {
          for (const [name, value] of Object.entries(optional)) {
            const id = freshId()
            await post([make(id, optional)])
            await step()
            await patch([{ ...key(id), [name]: null }])
            await step(true)
            const { body } = await read(id)
            expect(body).toMatchObject({ ...optional, [name]: cleared({ [name]: value })[name] })
          }
        })

        test(`a patch before its POST is not shown, then merged with it (${between})`, async () => {
          const id = freshId()
          expect((await patch([{ ...key(id), ...optional }])).status).toBe(202)
          await step()
          expect((await read(id)).status).toBe(404)
          await post([make(id)])
          await step(true)
          expect((await read(id)).body).toMatchObject({ ...make(id), ...optional })
        })

        test(`required fields that arrive by patches one by one make it whole (${between})`, async () => {
          const id = freshId()
          const required = Object.entries(make(id)).filter(([name]) => !(name in key(id)))
          for (const [name, value] of required) {
            expect((await read(id)).status).toBe(404)
            await patch([{ ...key(id), [name]: value }])
            await step()
          }
          expect((await read(id)).body).toMatchObject(make(id))
        })
      }

      test('what is not whole yet is in no list', async () => {
        const id = freshId()
        await patch([{ ...key(id), status: 'pending' }])
        await api.flush()
        const found =
          kind === 'sessions'
            ? (await api.sessions({ page_size: 100 })).body.items
            : (await api.tasks({ session_id: id })).body.items
        expect(found.filter(({ session_id }) => session_id === id)).toEqual([])
      })

      test('null for a required field is 422, in a patch too', async () => {
        const id = freshId()
        for (const name of Object.keys(make(id))) {
          const item = { ...make(id), [name]: null }
          for (const answer of [
            await post([item]),
            await patch([item]),
            await patch([{ ...key(id), [name]: null }]),
          ]) {
            expect(answer.status).toBe(422)
            expect(answer.body.errors!.map(({ field }) => field)).toEqual([`${kind}[0].${name}`])
          }
        }
      })

      test('a patch without its key is 422 that names what is missing', async () => {
        const answer = await patch([{ status: 'pending' }])
        expect(answer.status).toBe(422)
        expect(answer.body.errors).toEqual(
          Object.keys(key('x'))
            .sort((a) => (a === 'task_id' ? -1 : 1))
            .map((name) => ({ field: `${kind}[0].${name}`, message: `${name} is required` })),
        )
      })

      test('a patch of the key alone changes nothing, and makes nothing', async () => {
        const id = freshId()
        expect((await patch([key(id)])).status).toBe(202)
        await api.flush()
        expect((await read(id)).status).toBe(404)
        await post([make(id, optional)])
        await api.flush()
        const before = (await read(id)).body
        expect((await patch([key(id)])).status).toBe(202)
        await api.flush()
        expect((await read(id)).body).toEqual(before)
      })

      test('several patches of one key in one request are merged in their order', async () => {
        const id = freshId()
        await post([make(id)])
        const [first, second] = Object.entries(optional) as [[string, unknown], [string, unknown]]
        await patch([
          { ...key(id), [first[0]]: null, [second[0]]: second[1] },
          { ...key(id), [first[0]]: first[1] },
          { ...key(id), status: 'failed' },
        ])
        await api.flush()
        expect((await read(id)).body).toMatchObject({
          [first[0]]: first[1],
          [second[0]]: second[1],
          status: 'failed',
        })
      })

      test('created_at is the first acceptance, updated_at the newest', async () => {
        const id = freshId()
        await patch([{ ...key(id), ...optional }])
        await post([make(id)])
        const first = (await read(id)).body
        await api.flush()
        // Another millisecond, so that the two times can differ.
        await until(() => Date.now() > Date.parse(String(first.updated_at)), { message: 'a millisecond' })
        await patch([{ ...key(id), status: 'failed' }])
        const buffered = (await read(id)).body
        await api.flush()
        expect((await read(id)).body).toEqual(buffered)
        expect(buffered.created_at).toBe(first.created_at!)
        expect(Date.parse(String(buffered.updated_at))).toBeGreaterThan(Date.parse(String(first.updated_at)))
      })
    })
  }

  describe('tasks and their session', () => {
    test('a task that arrives before its session is stored, and readable below it', async () => {
      const session = freshId()
      await api.postTasks([taskItem(session, 'early')])
      // In the buffer the session is known to have tasks; the list shows stored ones.
      expect((await api.tasksOf(session)).status).toBe(200)
      await api.flush()
      expect((await api.tasksOf(session)).body).toMatchObject({ total: 1, items: [{ task_id: 'early' }] })
      expect((await api.task('early', { session_id: session })).status).toBe(200)
      expect((await api.session(session)).status).toBe(404)
      await api.store([sessionItem(session)])
      expect((await api.session(session)).body.total_tasks).toBe(1)
    })

    test('neither a session nor a task of it: its tasks are 404 with the id', async () => {
      const answer = await api.tasksOf('nobody')
      expect(answer.status).toBe(404)
      expect(answer.body).toMatchObject({ error_code: 'SESSION_NOT_FOUND', session_id: 'nobody' })
    })

    test('a session without tasks has an empty list of them', async () => {
      const session = freshId()
      await api.postSessions([sessionItem(session)])
      expect((await api.tasksOf(session)).body).toMatchObject({ total: 0, total_pages: 0, items: [] })
    })
  })

  describe('the same task_id in two sessions', () => {
    test('is two tasks: each by its session, and the newest where none is named', async () => {
      const [a, b, task] = [freshId(), freshId(), freshId('t')]
      const newest = async () => (await api.task(task)).body.session_id
      await api.store([sessionItem(a), sessionItem(b)], [taskItem(a, task, { source_text: 'of a' })])
      await api.store([], [taskItem(b, task, { source_text: 'of b' })])
      expect(await newest()).toBe(b)
      expect((await api.task(task, { session_id: a })).body.source_text).toBe('of a')
      expect((await api.task(task, { session_id: b })).body.source_text).toBe('of b')

      await api.patchTasks([{ session_id: a, task_id: task, retry_count: 1 }])
      expect(await newest()).toBe(a) // buffered, over the stored ones
      await api.flush()
      expect(await newest()).toBe(a)
      await api.patchTasks([{ session_id: b, task_id: task, retry_count: 1 }])
      await api.patchTasks([{ session_id: a, task_id: task, retry_count: 2 }])
      expect(await newest()).toBe(a) // both buffered
    })

    test('newest is the one accepted last, also where both came in one millisecond', async () => {
      const [a, b, task] = [freshId(), freshId(), freshId('t')]
      await api.store([], [taskItem(a, task), taskItem(b, task)])
      for (let round = 0; round < 20; round++) {
        for (const session of [a, b]) {
          const other = session === a ? b : a
          await api.patchTasks([{ session_id: other, task_id: task, retry_count: round }])
          await api.patchTasks([{ session_id: session, task_id: task, retry_count: round }])
          expect((await api.task(task)).body.session_id).toBe(session)
        }
      }
    })

    test('newest counts what is shown: one that is not whole is passed over', async () => {
      const [a, b, task] = [freshId(), freshId(), freshId('t')]
      await api.store([sessionItem(a), sessionItem(b)], [taskItem(a, task)])
      await api.patchTasks([{ session_id: b, task_id: task, status: 'failed' }])
      expect((await api.task(task)).body.session_id).toBe(a)
      await api.flush()
      expect((await api.task(task)).body.session_id).toBe(a)
    })

    test('a task that is not there is 404 with its ids', async () => {
      const session = freshId()
      await api.store([sessionItem(session)], [taskItem(session, 'there')])
      const one = await api.task('nothing')
      expect(one.status).toBe(404)
      expect(one.body).toMatchObject({
        error_code: 'TASK_NOT_FOUND',
        task_id: 'nothing',
        detail: 'Task not found',
      })
      const other = await on.http.get(`${BASE}/tasks/there?session_id=elsewhere`)
      expect(other.status).toBe(404)
      expect(other.body).toMatchObject({ task_id: 'there', session_id: 'elsewhere' })
    })
  })
})
