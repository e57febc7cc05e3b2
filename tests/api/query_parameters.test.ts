/** Query parameters and cursors: bad ones are 422 that names them, unknown ones are ignored. */
import { beforeAll, describe, expect, test } from 'bun:test'
import { onEachBackend, rawRequest } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  type Page,
  type Problem,
  sessionItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'

const SESSION = 'listed'
const LISTS = {
  sessions: `${BASE}/sessions`,
  tasks: `${BASE}/tasks`,
  'tasks of a session': `${BASE}/sessions/${SESSION}/tasks`,
}

/** Query texts that every list refuses, and the parameter at fault. */
const BAD: readonly [query: string, parameter: string][] = [
  ['page=0', 'page'],
  ['page=-1', 'page'],
  ['page=1.5', 'page'],
  ['page=abc', 'page'],
  ['page=', 'page'],
  ['page=1e3', 'page'],
  ['page=0x1', 'page'],
  ['page=%201', 'page'],
  ['page=99999999999999999999', 'page'],
  ['page=NaN', 'page'],
  ['page_size=0', 'page_size'],
  ['page_size=101', 'page_size'],
  ['page_size=-5', 'page_size'],
  ['page_size=1.5', 'page_size'],
  ['page_size=abc', 'page_size'],
  ['page_size=', 'page_size'],
  ['page=1&page=2', 'page'],
  ['page_size=1&page_size=1', 'page_size'],
  ['status=done', 'status'],
  ['status=', 'status'],
  ['status=PENDING', 'status'],
  ['status=pending&status=failed', 'status'],
  ['sort_by=filename', 'sort_by'],
  ['sort_by=key', 'sort_by'],
  ['sort_by=', 'sort_by'],
  ['sort_by=created_at;drop', 'sort_by'],
  ['order=up', 'order'],
  ['order=', 'order'],
  ['count=all', 'count'],
  ['from_date=x', 'from_date'],
  ['to_date=2025-13-01', 'to_date'],
  [`q=${'x'.repeat(201)}`, 'q'],
  ['cursor=', 'cursor'],
  ['cursor=garbage', 'cursor'],
  ['cursor=%00', 'cursor'],
  ['cursor=%F0%9F%90%89', 'cursor'],
  [`cursor=${'A'.repeat(2049)}`, 'cursor'],
  [`cursor=${btoa('[]')}`, 'cursor'],
  [`cursor=${btoa('{"sort":1}')}`, 'cursor'],
  [`cursor=${btoa('null')}`, 'cursor'],
  ['page=5001&page_size=20', 'page'],
  ['page=1001&page_size=100', 'page'],
  ['page=1000000000', 'page'],
]

/** A cursor as the service spells it, with other words. */
const cursorOf = (parts: readonly unknown[]) => Buffer.from(JSON.stringify(parts)).toString('base64url')
const partsOf = (cursor: string): unknown[] => JSON.parse(Buffer.from(cursor, 'base64url').toString())

onEachBackend('query parameters', {}, (on) => {
  const api = translation(on)
  const get = (target: string) => rawRequest(on.url, { method: 'GET', target })
  const firstCursor = async (query: string) => {
    const { body } = await on.http.get<Page>(`${LISTS['tasks of a session']}?page_size=2&${query}`)
    return body.next_cursor!
  }

  beforeAll(() => api.store([sessionItem(SESSION), sessionItem(freshId())], taskItems(SESSION, 30)))

  for (const [name, path] of Object.entries(LISTS)) {
    describe(name, () => {
      for (const [query, parameter] of BAD) {
        test(`?${query.slice(0, 60)} is 422 that names ${parameter}`, async () => {
          const answer = await get(`${path}?${query}`)
          expect(answer.status).toBe(422)
          const { errors } = answer.body as unknown as Problem
          expect(new Set(errors!.map(({ field }) => field))).toEqual(new Set([parameter]))
        })
      }

      test('several bad parameters are named together', async () => {
        const { body } = await get(`${path}?page=0&page_size=0&status=x`)
        const fields = (body as unknown as Problem).errors!.map(({ field }) => field)
        expect(fields.sort()).toEqual(['page', 'page_size', 'status'])
      })

      test('a page past row 100,000 is told to go on with cursor', async () => {
        const { body } = await get(`${path}?page=5001&page_size=20`)
        expect((body as unknown as Problem).errors![0]!.message).toContain('cursor')
        expect((await get(`${path}?page=5000&page_size=20`)).status).toBe(200)
        expect((await get(`${path}?page=1000&page_size=100`)).body).toMatchObject({ items: [], page: 1000 })
      })

      test('unknown parameters are ignored', async () => {
        const plain = await get(path)
        const odd = await get(`${path}?zzz=1&Page=0&__proto__=x&constructor=1&page[]=0&%00=1&=&&a`)
        expect(odd.status).toBe(200)
        expect(odd.body).toEqual(plain.body)
      })

      test('page_size 1 and 100 are the ends of what is taken', async () => {
        expect((await get(`${path}?page_size=1`)).body).toMatchObject({ page_size: 1, items: [{}] })
        expect((await get(`${path}?page_size=100`)).body).toMatchObject({ page_size: 100 })
      })
    })
  }

  test('q on all tasks needs session_id: 422 that names q', async () => {
    const answer = await get(`${BASE}/tasks?q=dragon`)
    expect(answer.status).toBe(422)
    expect((answer.body as unknown as Problem).errors![0]!.field).toBe('q')
    expect((await get(`${BASE}/tasks?q=source&session_id=${SESSION}`)).body).toMatchObject({ total: 30 })
  })

  for (const query of [
    'session_id=',
    'session_id=%00',
    'session_id=.',
    `session_id=${'x'.repeat(37)}`,
    'session_id=a&session_id=b',
  ]) {
    test(`?${query.slice(0, 40)} is 422 that names session_id`, async () => {
      for (const path of [`${BASE}/tasks`, `${BASE}/tasks/t`]) {
        const answer = await get(`${path}?${query}`)
        expect(answer.status).toBe(422)
        expect((answer.body as unknown as Problem).errors![0]!.field).toBe('session_id')
      }
    })
  }

  test('a status of sessions alone is no filter of tasks', async () => {
    expect((await get(`${BASE}/sessions?status=cancelled`)).status).toBe(200)
    expect((await get(`${BASE}/tasks?status=cancelled`)).status).toBe(422)
  })

  describe('cursors', () => {
    const refused = async (query: string) => {
      const answer = await get(`${LISTS['tasks of a session']}?${query}`)
      expect(answer.status).toBe(422)
      expect((answer.body as unknown as Problem).errors!.map(({ field }) => field)).toEqual(['cursor'])
    }

    test('of another sort or direction are refused', async () => {
      const cursor = await firstCursor('sort_by=created_at&order=desc')
      await refused(`cursor=${cursor}&sort_by=created_at&order=asc`)
      await refused(`cursor=${cursor}&sort_by=updated_at&order=desc`)
      await refused(`cursor=${cursor}`)
    })

    test('of another list are refused', async () => {
      const { body } = await get(`${BASE}/sessions?page_size=1`)
      await refused(`cursor=${(body as unknown as Page).next_cursor}&sort_by=created_at`)
    })

    test('cut off at any place are refused, or nothing worse', async () => {
      const cursor = await firstCursor('sort_by=updated_at')
      for (let length = 1; length < cursor.length; length++) {
        await refused(`cursor=${cursor.slice(0, length)}&sort_by=updated_at`)
      }
    })

    test('with one letter changed are refused, or another place of the list', async () => {
      const cursor = await firstCursor('sort_by=updated_at')
      for (let at = 0; at < cursor.length; at++) {
        const changed = `${cursor.slice(0, at)}${cursor[at] === 'A' ? 'B' : 'A'}${cursor.slice(at + 1)}`
        const answer = await get(`${LISTS['tasks of a session']}?cursor=${changed}&sort_by=updated_at`)
        expect([200, 422]).toContain(answer.status)
      }
    })

    test('with other values are refused, or another place of the list', async () => {
      const wrong: string[] = []
      for (const sort of ['task_id', 'created_at', 'updated_at']) {
        const parts = partsOf(await firstCursor(`sort_by=${sort}`))
        const values = [
          null,
          true,
          [],
          {},
          '',
          'x',
          '\ud800',
          '\u0000',
          0,
          -1,
          1.5,
          8.64e15,
          8.63e15,
          -8.63e15,
          253402300799999,
          -62167219200001,
          1e300,
          2 ** 53,
        ]
        for (let at = 0; at < parts.length; at++) {
          for (const value of values) {
            const cursor = cursorOf(parts.map((part, i) => (i === at ? value : part)))
            const answer = await get(`${LISTS['tasks of a session']}?cursor=${cursor}&sort_by=${sort}`)
            if (answer.status !== 200 && answer.status !== 422) {
              wrong.push(`${answer.status} for ${JSON.stringify(value)} at ${at} of ${sort}`)
            }
          }
        }
        for (const odd of [parts.slice(0, -1), [...parts, 'more'], [...parts].reverse()]) {
          await refused(`cursor=${cursorOf(odd)}&sort_by=${sort}`)
        }
      }
      expect(wrong).toEqual([])
    })

    test('are taken before a page number, which is ignored then', async () => {
      const cursor = await firstCursor('sort_by=task_id')
      const { body } = await get(`${LISTS['tasks of a session']}?cursor=${cursor}&page=5&page_size=2`)
      expect((body as unknown as Page).items.map(({ task_id }) => task_id)).toEqual(['task_10', 'task_11'])
    })
  })
})
