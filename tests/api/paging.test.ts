/** Pages by number and by cursor: each row once, in one order, also while others write; and totals. */
import { beforeAll, describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import {
  freshId,
  type Item,
  type Page,
  sessionItem,
  taskItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'

const ROWS = 25
const PAGE_ROWS = 7

type Query = Record<string, string | number>

onEachBackend('paging', {}, (on) => {
  const api = translation(on)
  const provider = freshId('p')
  const session = freshId()
  /** Rows of one batch have one created_at: nothing but the tie-break orders them. */
  const sessions = Array.from({ length: ROWS }, (_, i) =>
    sessionItem(`page-${i}`, { llm_provider: provider }),
  )

  beforeAll(() => api.store([...sessions, sessionItem(session)], taskItems(session, ROWS)))

  const lists = {
    sessions: {
      page: async (query: Query) => (await api.sessions({ llm_provider: provider, ...query })).body,
      key: ({ session_id }: Item) => String(session_id),
      sorts: ['created_at', 'updated_at'],
    },
    tasks: {
      page: async (query: Query) => (await api.tasks({ session_id: session, ...query })).body,
      key: ({ task_id }: Item) => String(task_id),
      sorts: ['created_at', 'updated_at', 'task_id'],
    },
    'tasks of a session': {
      page: async (query: Query) => (await api.tasksOf(session, query)).body,
      key: ({ task_id }: Item) => String(task_id),
      sorts: ['created_at', 'updated_at', 'task_id'],
    },
  }

  for (const [name, { page, key, sorts }] of Object.entries(lists)) {
    describe(name, () => {
      async function byNumber(query: Query): Promise<Page[]> {
        const pages: Page[] = []
        for (let number = 1; number <= Math.ceil(ROWS / PAGE_ROWS); number++) {
          pages.push(await page({ ...query, page: number, page_size: PAGE_ROWS }))
        }
        return pages
      }

      async function byCursor(query: Query, between?: (pages: number) => Promise<void>): Promise<Page[]> {
        const pages = [await page({ ...query, page_size: PAGE_ROWS })]
        for (let cursor = pages[0]!.next_cursor; cursor !== null; cursor = pages.at(-1)!.next_cursor) {
          await between?.(pages.length)
          pages.push(await page({ ...query, page_size: PAGE_ROWS, cursor }))
        }
        return pages
      }

      const keysOf = (pages: Page[]) => pages.flatMap(({ items }) => items.map(key))

      for (const sort_by of sorts) {
        for (const order of ['asc', 'desc']) {
          test(`by ${sort_by} ${order}: numbers and cursors give each row once, in the same order`, async () => {
            const query = { sort_by, order }
            const [numbered, followed] = [await byNumber(query), await byCursor(query)]
            const keys = keysOf(followed)
            expect(new Set(keys).size).toBe(ROWS)
            expect(keysOf(numbered)).toEqual(keys)
            // All rows have the same times: the key breaks the tie, in the direction of the sort.
            expect(keys).toEqual(order === 'asc' ? keys.toSorted() : keys.toSorted().toReversed())
            expect(followed.map(({ items }) => items.length)).toEqual([7, 7, 7, 4])
            expect(followed.map(({ page: number }) => number)).toEqual([1, 2, 3, 4])
            for (const { total, total_exact, total_pages, page_size } of [...numbered, ...followed]) {
              expect({ total, total_exact, total_pages, page_size }).toEqual({
                total: ROWS,
                total_exact: true,
                total_pages: 4,
                page_size: PAGE_ROWS,
              })
            }
          })
        }
      }

      test('next_cursor is null at the end, also where the last page is full, and never before', async () => {
        for (const [page_size, last] of [
          [5, 5],
          [25, 1],
          [24, 2],
          [100, 1],
        ] as const) {
          for (let number = 1; number <= last; number++) {
            const { next_cursor } = await page({ page_size, page: number })
            expect(`${number} ${next_cursor === null}`).toBe(`${number} ${number === last}`)
          }
        }
      })

      test('a page past the end is empty, and says the same total', async () => {
        const past = await page({ page: 5, page_size: PAGE_ROWS })
        expect(past).toMatchObject({ items: [], total: ROWS, total_pages: 4, page: 5, next_cursor: null })
      })

      test('a numbered page goes on with its cursor', async () => {
        const first = await page({ page: 2, page_size: PAGE_ROWS })
        const next = await page({ page_size: PAGE_ROWS, cursor: first.next_cursor! })
        expect(next.items.map(key)).toEqual((await page({ page: 3, page_size: PAGE_ROWS })).items.map(key))
        expect(next.page).toBe(3)
      })

      test('a cursor works with another page size', async () => {
        const first = await page({ page_size: 3 })
        const rest = await page({ page_size: 100, cursor: first.next_cursor! })
        expect([...first.items, ...rest.items].map(key)).toEqual(
          (await page({ page_size: 100 })).items.map(key),
        )
      })
    })
  }

  test('rows that are inserted between the pages of a cursor walk move none of the others', async () => {
    for (const order of ['asc', 'desc']) {
      const id = freshId()
      await api.store(
        [],
        Array.from({ length: 20 }, (_, i) => taskItem(id, `m${i}`)),
      )
      const seen: string[] = []
      let cursor: string | null = ''
      for (let round = 0; cursor !== null; round++) {
        const query: Query = { sort_by: 'created_at', order, page_size: 6, ...(cursor && { cursor }) }
        const { items, next_cursor }: Page = (await api.tasksOf(id, query)).body
        seen.push(...items.map(({ task_id }) => String(task_id)))
        cursor = next_cursor
        // Before, between and behind the rows of the walk by key; newer than all of them.
        if (round < 5)
          await api.store(
            [],
            ['a', 'm5x', 'z'].map((name) => taskItem(id, `${name}${round}`)),
          )
      }
      expect(seen.length).toBe(new Set(seen).size)
      const old = seen.filter((task) => /^m\d+$/.test(task))
      expect(old.length).toBe(20)
      // Newest first, what came later is before the place of the cursor.
      if (order === 'desc') expect(seen.length).toBe(20)
    }
  })

  test('rows that are deleted between the pages of a cursor walk move none of the others', async () => {
    const prefix = freshId('p')
    const ids = Array.from({ length: 20 }, (_, i) => `${prefix}-${String(i).padStart(2, '0')}`)
    await api.store(ids.map((id) => sessionItem(id, { llm_provider: prefix })))
    const query = { llm_provider: prefix, order: 'asc', page_size: 5 }
    const first = (await api.sessions(query)).body
    for (const id of ids.slice(0, 5)) await api.remove(id)
    const second = (await api.sessions({ ...query, cursor: first.next_cursor! })).body
    expect([...first.items, ...second.items].map(({ session_id }) => session_id)).toEqual(ids.slice(0, 10))
  })

  test('count=exact is no other answer where the total is exact anyway', async () => {
    const query = { llm_provider: provider, page_size: 2 }
    expect((await api.sessions({ ...query, count: 'exact' })).body).toEqual((await api.sessions(query)).body)
  })

  test('a list without rows has no pages', async () => {
    expect((await api.sessions({ llm_provider: 'nobody' })).body).toEqual({
      total: 0,
      total_exact: true,
      page: 1,
      page_size: 20,
      total_pages: 0,
      items: [],
      next_cursor: null,
    })
  })
})

onEachBackend('totals past their limit', { env: { COUNT_EXACT_LIMIT: '50', COUNT_CACHE: '0' } }, (on) => {
  const api = translation(on)
  const session = freshId()

  beforeAll(() => api.store([sessionItem(session)], taskItems(session, 120)))

  test('are estimates that say so, and count=exact counts', async () => {
    const list = (query: Query = {}) => api.tasks({ session_id: session, page_size: 10, ...query })
    const estimate = (await list()).body
    expect(estimate.total_exact).toBe(false)
    expect(estimate.total).toBeGreaterThan(50)
    expect(estimate.total_pages).toBe(Math.ceil(estimate.total / 10))
    expect((await list({ count: 'exact' })).body).toMatchObject({
      total: 120,
      total_exact: true,
      total_pages: 12,
    })
  })

  test('are exact up to it', async () => {
    await api.store(
      [],
      Array.from({ length: 50 }, (_, i) => taskItem('fifty', `t${i}`)),
    )
    expect((await api.tasks({ session_id: 'fifty' })).body).toMatchObject({ total: 50, total_exact: true })
    await api.store([], [taskItem('fifty', 'one more')])
    expect((await api.tasks({ session_id: 'fifty' })).body.total_exact).toBe(false)
  })

  test('a cursor walk past the limit still gives each row once', async () => {
    const seen: unknown[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const { items, next_cursor }: Page = (
        await api.tasksOf(session, { page_size: 50, ...(cursor && { cursor }) })
      ).body
      seen.push(...items.map(({ task_id }) => task_id))
      cursor = next_cursor
    }
    expect(seen.length).toBe(120)
    expect(new Set(seen).size).toBe(120)
  })
})
