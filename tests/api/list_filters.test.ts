/** Lists of sessions and tasks: each filter, filters together, text search, sorting. */
import { beforeAll, describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import { freshId, type Item, sessionItem, taskItem, translation } from '../support/translation_data.ts'

const STATUSES = ['pending', 'processing', 'completed', 'failed', 'cancelled'] as const
const PROVIDERS = ['openai', 'qwen', 'OpenAI', 'openai '] as const

const SESSIONS = STATUSES.flatMap((status, s) =>
  PROVIDERS.map((llm_provider, p) =>
    sessionItem(`list-${s}-${p}`, {
      status,
      llm_provider,
      filename: `file ${s} ${p}`,
      file_path: `/p/${s}/${p}`,
    }),
  ),
)

const SHEETS = ['Dialogue', 'dialogue', 'Dialogue ', '对话'] as const
const BATCHES = ['batch_001', 'BATCH_001', 'batch%', 'batch_'] as const
const TASK_STATUSES = STATUSES.slice(0, 4)

const TASKS = SHEETS.flatMap((sheet_name, s) =>
  BATCHES.flatMap((batch_id, b) =>
    TASK_STATUSES.map((status, t) =>
      taskItem('list-0-0', `t-${s}${b}${t}`, { sheet_name, batch_id, status, row_index: s }),
    ),
  ),
)

/** Texts to search in, by the task's id. */
const TEXTS: Readonly<Record<string, Item>> = {
  percent: { source_text: '100% sure' },
  underscore: { source_text: 'snake_case' },
  plain: { source_text: 'snakeXcase, 100 sure' },
  backslash: { source_text: 'a\\b' },
  quote: { source_text: `it's "quoted"` },
  chinese: { source_text: 'Hello', target_text: '你好，冒险者！' },
  emoji: { source_text: 'a 🐉 dragon' },
  context: { source_text: 'x', context: 'NPC greeting dialogue' },
  nul: { source_text: 'before\u0000behind the NUL' },
  other: { source_text: 'nothing of it', error_message: 'the needle is in no searched field' },
}

/** What is searched for, and the tasks that it finds. */
const SEARCHES: Readonly<Record<string, readonly string[]>> = {
  '%': ['percent'],
  '100%': ['percent'],
  _: ['underscore'],
  snake_: ['underscore'],
  '\\': ['backslash'],
  'a\\b': ['backslash'],
  '\\%': [],
  "'": ['quote'],
  '"quoted"': ['quote'],
  冒险: ['chinese'],
  你好: ['chinese'],
  '险者！': ['chinese'],
  '🐉': ['emoji'],
  HELLO: ['chinese'],
  'npc GREETING': ['context'],
  needle: [],
  'no such text': [],
}

onEachBackend('list filters', {}, (on) => {
  const api = translation(on)
  const idsOf = (items: readonly Item[], field: string) => items.map((item) => item[field]).sort()

  beforeAll(async () => {
    const texts = Object.entries(TEXTS).map(([id, fields]) => taskItem('texts', id, fields))
    await api.store([...SESSIONS, sessionItem('texts', { llm_provider: 'none' })], [...TASKS, ...texts])
  })

  describe('sessions', () => {
    const found = async (query: Record<string, string>) =>
      idsOf((await api.sessions({ ...query, page_size: 100 })).body.items, 'session_id')
    const expected = (keep: (item: Item) => boolean) => idsOf(SESSIONS.filter(keep), 'session_id')

    for (const status of STATUSES.slice(1)) {
      test(`status=${status}`, async () => {
        const want = expected((item) => item.status === status)
        if (status === 'processing') want.push('texts')
        expect(await found({ status })).toEqual(want.sort())
      })
    }

    for (const llm_provider of PROVIDERS) {
      test(`llm_provider='${llm_provider}' finds that text and no other`, async () => {
        expect(await found({ llm_provider })).toEqual(expected((item) => item.llm_provider === llm_provider))
      })
    }

    test('all filters hold together', async () => {
      expect(await found({ status: 'failed', llm_provider: 'qwen', q: 'FILE 3' })).toEqual(['list-3-1'])
      expect(await found({ status: 'failed', llm_provider: 'qwen', q: 'file 4' })).toEqual([])
      const today = new Date().toISOString().slice(0, 10)
      expect(await found({ status: 'failed', llm_provider: 'qwen', from_date: today })).toEqual(['list-3-1'])
      expect(await found({ status: 'failed', llm_provider: 'qwen', to_date: '2001-01-01' })).toEqual([])
    })

    test('q searches filename and file_path, without regard to case', async () => {
      expect(await found({ q: 'FILE 3 1' })).toEqual(['list-3-1'])
      expect(await found({ q: '/p/3/1' })).toEqual(['list-3-1'])
      expect(await found({ q: 'processing' })).toEqual([])
    })

    for (const sort_by of ['created_at', 'updated_at'] as const) {
      test(`sorts by ${sort_by} in both directions, newest first unless told`, async () => {
        const order = [freshId('a'), freshId('b'), freshId('c')] as const
        const provider = freshId('p')
        await api.store(order.map((id) => sessionItem(id, { llm_provider: provider })))
        // The middle one is the oldest, the first one the newest.
        for (const [id, day] of [
          [order[0], 3],
          [order[1], 1],
          [order[2], 2],
        ] as const) {
          await on.store.run(`UPDATE translation_sessions SET ${sort_by} = ? WHERE session_id = ?`, [
            on.store.time(Date.UTC(2025, 0, day)),
            id,
          ])
        }
        const listed = async (query: Record<string, string>) =>
          (await api.sessions({ llm_provider: provider, ...query })).body.items.map(
            ({ session_id }) => session_id,
          )
        const newest = [order[0], order[2], order[1]]
        expect(await listed({ sort_by, order: 'desc' })).toEqual(newest)
        expect(await listed({ sort_by })).toEqual(newest)
        expect(await listed({ sort_by, order: 'asc' })).toEqual(newest.toReversed())
      })
    }
  })

  describe('tasks', () => {
    const lists = {
      'of a session': (query: Record<string, string>) =>
        api.tasksOf('list-0-0', { ...query, page_size: 100 }),
      'of all sessions': (query: Record<string, string>) =>
        api.tasks({ session_id: 'list-0-0', ...query, page_size: 100 }),
    }
    const expected = (keep: (item: Item) => boolean) => idsOf(TASKS.filter(keep), 'task_id')

    for (const [name, list] of Object.entries(lists)) {
      const found = async (query: Record<string, string>) => idsOf((await list(query)).body.items, 'task_id')

      for (const status of TASK_STATUSES) {
        test(`${name}: status=${status}`, async () => {
          expect(await found({ status })).toEqual(expected((item) => item.status === status))
        })
      }

      for (const sheet_name of SHEETS) {
        test(`${name}: sheet_name='${sheet_name}' finds that text and no other`, async () => {
          expect(await found({ sheet_name })).toEqual(expected((item) => item.sheet_name === sheet_name))
        })
      }

      for (const batch_id of BATCHES) {
        test(`${name}: batch_id=${batch_id} finds that text and no other`, async () => {
          expect(await found({ batch_id })).toEqual(expected((item) => item.batch_id === batch_id))
        })
      }

      test(`${name}: all filters hold together`, async () => {
        const query = { sheet_name: '对话', batch_id: 'batch%', status: 'failed' }
        expect(await found(query)).toEqual(['t-323'])
        expect(await found({ ...query, q: 'T-323' })).toEqual(['t-323'])
        expect(await found({ ...query, q: 't-322' })).toEqual([])
        expect(await found({ ...query, from_date: '2099-01-01' })).toEqual([])
      })

      test(`${name}: none without filters is left out`, async () => {
        expect(await found({})).toEqual(expected(() => true))
      })
    }

    test('of all sessions means all: session_id is a filter like the others', async () => {
      const { total } = (await api.tasks({})).body
      expect(total).toBe(TASKS.length + Object.keys(TEXTS).length)
      expect((await api.tasks({ session_id: 'texts' })).body.total).toBe(Object.keys(TEXTS).length)
      expect((await api.tasks({ session_id: 'nobody' })).body).toMatchObject({ total: 0, items: [] })
      expect((await api.tasks({ session_id: 'TEXTS' })).body.total).toBe(0)
    })

    for (const [text, ids] of Object.entries(SEARCHES)) {
      test(`q=${text} finds ${ids.length === 0 ? 'nothing' : ids.join(', ')}`, async () => {
        expect(idsOf((await api.tasksOf('texts', { q: text })).body.items, 'task_id')).toEqual([...ids])
        const all = await api.tasks({ session_id: 'texts', q: text })
        expect(idsOf(all.body.items, 'task_id')).toEqual([...ids])
        expect(all.body.total).toBe(ids.length)
      })
    }

    test('q finds what stands behind a NUL, and a NUL itself', async () => {
      expect(idsOf((await api.tasksOf('texts', { q: 'behind the' })).body.items, 'task_id')).toEqual(['nul'])
      expect(idsOf((await api.tasksOf('texts', { q: '\u0000' })).body.items, 'task_id')).toEqual(['nul'])
    })

    test('sort by task_id is by session and task, ascending unless told', async () => {
      const [a, b] = [freshId('sort-a'), freshId('sort-b')]
      const batch_id = freshId('batch')
      const items = [a, b].flatMap((id) =>
        ['B', 'a', 'é', 'A', '10', '9'].map((task) => taskItem(id, task, { batch_id })),
      )
      await api.store([], items)
      const listed = async (query: Record<string, string>) =>
        (await api.tasks({ batch_id, sort_by: 'task_id', ...query })).body.items.map(
          ({ session_id, task_id }) => `${session_id} ${task_id}`,
        )
      const want = [a, b].flatMap((id) => ['10', '9', 'A', 'B', 'a', 'é'].map((task) => `${id} ${task}`))
      expect(await listed({})).toEqual(want)
      expect(await listed({ order: 'asc' })).toEqual(want)
      expect(await listed({ order: 'desc' })).toEqual(want.toReversed())
      const ofOne = (await api.tasksOf(a)).body.items.map(({ task_id }) => task_id)
      expect(ofOne).toEqual(['10', '9', 'A', 'B', 'a', 'é'])
      const down = (await api.tasksOf(a, { order: 'desc' })).body.items.map(({ task_id }) => task_id)
      expect(down).toEqual(ofOne.toReversed())
    })

    for (const sort_by of ['created_at', 'updated_at'] as const) {
      test(`sorts by ${sort_by} in both directions, newest first unless told`, async () => {
        const session = freshId()
        await api.store(
          [],
          ['a', 'b', 'c'].map((id) => taskItem(session, id)),
        )
        for (const [id, day] of [
          ['a', 3],
          ['b', 1],
          ['c', 2],
        ] as const) {
          await on.store.run(
            `UPDATE translation_tasks SET ${sort_by} = ? WHERE session_id = ? AND task_id = ?`,
            [on.store.time(Date.UTC(2025, 0, day)), session, id],
          )
        }
        for (const list of [
          (query: Record<string, string>) => api.tasksOf(session, query),
          (query: Record<string, string>) => api.tasks({ session_id: session, ...query }),
        ]) {
          const listed = async (query: Record<string, string>) =>
            (await list(query)).body.items.map(({ task_id }) => task_id)
          expect(await listed({ sort_by, order: 'desc' })).toEqual(['a', 'c', 'b'])
          expect(await listed({ sort_by })).toEqual(['a', 'c', 'b'])
          expect(await listed({ sort_by, order: 'asc' })).toEqual(['b', 'c', 'a'])
        }
      })
    }
  })
})
