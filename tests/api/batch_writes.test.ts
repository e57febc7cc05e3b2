/** POST of batches: how many, all or nothing, the good ones alone, and the merge of what a batch repeats. */
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

const KINDS = [
  { kind: 'sessions', make: (id: string) => sessionItem(id), path: (id: string) => `sessions/${id}` },
  { kind: 'tasks', make: (id: string) => taskItem('many', id), path: (id: string) => `tasks/${id}` },
] as const

onEachBackend('batch writes', {}, (on) => {
  const api = translation(on)

  for (const { kind, make, path } of KINDS) {
    describe(kind, () => {
      const post = (items: unknown, query = '') =>
        on.http.post<Item & { errors: Item[] }>(`${BASE}/${kind}/batch${query}`, { [kind]: items })

      test('1 to 1000 items are accepted, and all of them are stored', async () => {
        const ids = Array.from({ length: 1000 }, () => freshId(kind))
        expect((await post([make(freshId())])).body).toMatchObject({ status: 'accepted', count: 1 })
        const answer = await post(ids.map(make))
        expect(answer.status).toBe(202)
        expect(answer.body).toMatchObject({ status: 'accepted', count: 1000 })
        await api.flush()
        for (const id of [ids[0]!, ids[500]!, ids[999]!]) {
          expect((await on.http.get(`${BASE}/${path(id)}`)).status).toBe(200)
        }
      })

      test('no item, and 1001 of them, are 422 on the list itself', async () => {
        for (const count of [0, 1001]) {
          const answer = await post(Array.from({ length: count }, () => make(freshId())))
          expect(answer.status).toBe(422)
          expect(answer.body.errors.map(({ field }) => field)).toEqual([kind])
          const partial = await post(
            Array.from({ length: count }, () => make(freshId())),
            '?partial=true',
          )
          expect(partial.status).toBe(422)
        }
      })

      test('one bad item among good ones: 422 that names each fault by position, and nothing is taken', async () => {
        const ids = Array.from({ length: 5 }, () => freshId())
        const items = ids.map(make)
        items[1] = { ...items[1], status: 'done' }
        delete items[1]!.session_id
        items[3] = { ...items[3], status: null }
        const answer = await post(items)
        expect(answer.status).toBe(422)
        expect(answer.body.errors.map(({ field }) => field).sort()).toEqual([
          `${kind}[1].session_id`,
          `${kind}[1].status`,
          `${kind}[3].status`,
        ])
        await api.flush()
        for (const id of ids) expect((await on.http.get(`${BASE}/${path(id)}`)).status).toBe(404)
      })

      test('a thousand bad items: each of their faults is named', async () => {
        const items = Array.from({ length: 1000 }, () => ({
          ...make(freshId()),
          status: 'done',
          session_id: 5,
        }))
        const answer = await post(items)
        expect(answer.status).toBe(422)
        expect(answer.body.errors.length).toBe(2000)
      })

      test('partial=true takes the good items and names the others by index', async () => {
        const ids = Array.from({ length: 4 }, () => freshId())
        const items = ids.map(make)
        items[0] = { ...items[0], status: 'done' }
        items[2] = { nothing: 'at all' }
        const answer = await post(items, '?partial=true')
        expect(answer.status).toBe(202)
        expect(answer.body).toMatchObject({ status: 'accepted', count: 2 })
        const rejected = answer.body.rejected as { index: number; errors: Item[] }[]
        expect(rejected.map(({ index }) => index)).toEqual([0, 2])
        expect(rejected[0]!.errors).toEqual([
          { field: `${kind}[0].status`, message: expect.any(String) as unknown as string },
        ])
        expect(rejected[1]!.errors.map(({ field }) => field)).toContain(`${kind}[2].session_id`)
        await api.flush()
        const found = await Promise.all(
          ids.map(async (id) => (await on.http.get(`${BASE}/${path(id)}`)).status),
        )
        expect(found).toEqual([404, 200, 404, 200])
      })

      test('partial=true with good items alone rejects none', async () => {
        const answer = await post([make(freshId())], '?partial=true')
        expect(answer.status).toBe(202)
        expect(answer.body).toMatchObject({ count: 1, rejected: [] })
      })

      test('partial=true with no good item is 422 with every fault', async () => {
        const answer = await post([{ ...make('x'), status: 'done' }, 5, null], '?partial=true')
        expect(answer.status).toBe(422)
        const fields = answer.body.errors.map(({ field }) => field)
        expect(fields).toEqual([`${kind}[0].status`, `${kind}[1]`, `${kind}[2]`])
      })

      test('partial=false and wait=false are as good as absent', async () => {
        const answer = await post([make(freshId())], '?partial=false&wait=false')
        expect(answer.status).toBe(202)
        expect(answer.body.rejected).toBeUndefined()
      })

      for (const query of ['?partial=1', '?partial=', '?wait=yes', '?wait=TRUE']) {
        test(`${query} is 422`, async () => {
          expect((await post([make(freshId())], query)).status).toBe(422)
        })
      }

      test('unknown fields are ignored, __proto__ and constructor among them', async () => {
        const id = freshId()
        const text = JSON.stringify({ [kind]: [{ ...make(id), created_at: 'x', updated_at: 7, zzz: [] }] })
        const body = text.replace(
          '{"session_id"',
          '{"__proto__":{"status":"bad"},"constructor":1,"session_id"',
        )
        expect((await on.http.post(`${BASE}/${kind}/batch`, body)).status).toBe(202)
        expect((await on.http.get(`${BASE}/${path(id)}`)).body).toMatchObject(make(id))
      })

      test('a required field that only __proto__ has is missing', async () => {
        const { status, ...item } = make(freshId())
        const body = JSON.stringify({ [kind]: [item] }).replace(
          '{"session_id"',
          '{"__proto__":{"status":"pending"},"session_id"',
        )
        const answer = await on.http.post<{ errors: Item[] }>(`${BASE}/${kind}/batch`, body)
        expect(answer.status).toBe(422)
        expect(answer.body.errors).toEqual([{ field: `${kind}[0].status`, message: 'status is required' }])
      })
    })
  }

  test('several items of one key in one request are merged in their order', async () => {
    const session = freshId()
    const answer = await api.postTasks([
      taskItem(session, 't', { target_text: 'first', context: 'kept' }),
      taskItem(session, 'other'),
      taskItem(session, 't', { target_text: 'second', status: 'processing', confidence: 0.5 }),
      taskItem(session, 't', { target_text: null, status: 'completed' }),
    ])
    expect(answer.body).toMatchObject({ count: 4 })
    const merged = { target_text: null, context: 'kept', status: 'completed', confidence: 0.5 }
    expect((await api.task('t', { session_id: session })).body).toMatchObject(merged)
    await api.flush()
    expect((await api.tasksOf(session)).body).toMatchObject({
      total: 2,
      items: [{ task_id: 'other' }, merged],
    })
  })

  test('a repeated request changes nothing but the time of the change', async () => {
    const session = freshId()
    const items = taskItems(session, 50, { target_text: 'same' })
    await api.store([sessionItem(session)], items)
    const before = (await api.tasksOf(session, { page_size: 100 })).body
    await api.store([sessionItem(session)], items)
    const after = (await api.tasksOf(session, { page_size: 100 })).body
    expect(after.total).toBe(50)
    const plain = (list: Item[]) => list.map(({ updated_at, ...task }) => task)
    expect(plain(after.items)).toEqual(plain(before.items))
  })

  test('case twins are two sessions and two tasks', async () => {
    const upper = freshId('TWIN')
    const lower = upper.toLowerCase()
    await api.store(
      [sessionItem(upper, { filename: 'upper' }), sessionItem(lower, { filename: 'lower' })],
      [
        taskItem(upper, 'A', { row_index: 1 }),
        taskItem(upper, 'a', { row_index: 2 }),
        taskItem(upper, 'ä'),
        taskItem(upper, 'Ä'),
      ],
    )
    expect((await api.session(upper)).body.filename).toBe('upper')
    expect((await api.session(lower)).body.filename).toBe('lower')
    expect((await api.tasksOf(upper)).body.items.map(({ task_id }) => task_id)).toEqual(['A', 'a', 'Ä', 'ä'])
    expect((await api.tasksOf(lower)).body.total).toBe(0)
    expect((await api.task('a', { session_id: upper })).body.row_index).toBe(2)
    expect((await api.task('A', { session_id: lower })).status).toBe(404)
  })

  test('composed and decomposed letters, and full and half width, are different keys', async () => {
    const session = freshId()
    const ids = ['é', 'e\u0301', 'Ａ', 'A', 'ß', 'ss', 'ﬁ', 'fi', 'İ', 'i']
    await api.store(
      [sessionItem(session)],
      ids.map((id) => taskItem(session, id, { source_text: id })),
    )
    expect((await api.tasksOf(session)).body.total).toBe(ids.length)
    for (const id of ids) {
      expect((await api.task(id, { session_id: session })).body.source_text).toBe(id)
    }
  })
})
