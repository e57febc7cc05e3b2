import { beforeAll, describe, expect, test } from 'bun:test'
import type { Filter } from '../../src/backends/backend.ts'
import { countLetters, findLetters, selectLetters } from '../../src/backends/sql/dead_letters.ts'
import { selectCount, selectPage, selectRows } from '../../src/backends/sql/select.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { onEachBackend } from '../support/contract_backends.ts'
import { fullRow, T0 } from '../support/contract_rows.ts'
import { dialectOf, planOf } from '../support/query_plan.ts'

const SESSIONS = 2000
/** Those of them that have tasks. */
const BUSY_SESSIONS = 60
const TASKS_A_SESSION = 80
const SESSION_STATUSES = ['pending', 'processing', 'completed', 'failed', 'cancelled']
/** As in life: nearly all of it is done. */
const taskStatus = (n: number) => (n % 50 === 0 ? 'failed' : n % 30 === 0 ? 'pending' : 'completed')

const SHOWN: Filter[] = [{ op: 'complete' }, { op: 'visible' }]
const equal = (field: string, value: string): Filter => ({ op: 'eq', field, value })
const newest = { sort: 'created_at', descending: true, limit: 21 }
const byKey = { sort: 'key', descending: false, limit: 21 }
const AT = T0 + 30_000

/** The statements that answer the lists and details of the API, and what serves each. */
const HOT = {
  'tasks of a status, newest first': {
    page: { collection: tasks, query: { filters: [...SHOWN, equal('status', 'failed')], ...newest } },
    index: /idx_status_created/,
    sorted: true,
  },
  'tasks of a status, newest first, from a cursor': {
    page: {
      collection: tasks,
      query: { filters: [...SHOWN, equal('status', 'failed')], ...newest, after: [AT, 's-30', 't-1'] },
    },
    index: /idx_status_created/,
    sorted: true,
  },
  'all tasks, newest first': {
    page: { collection: tasks, query: { filters: SHOWN, ...newest } },
    index: /idx_created_at/,
    sorted: true,
  },
  'all tasks, last changed first': {
    page: { collection: tasks, query: { filters: SHOWN, ...newest, sort: 'updated_at' } },
    index: /idx_updated_at/,
    sorted: true,
  },
  'tasks of a session in order': {
    page: { collection: tasks, query: { filters: [...SHOWN, equal('session_id', 's-7')], ...byKey } },
    index: /PRIMARY|sqlite_autoindex_translation_tasks_1/,
    sorted: true,
  },
  'tasks of a session, newest first': {
    page: { collection: tasks, query: { filters: [...SHOWN, equal('session_id', 's-7')], ...newest } },
    index: /PRIMARY|sqlite_autoindex_translation_tasks_1/,
    sorted: false,
  },
  'tasks of a session in order, from a cursor': {
    page: {
      collection: tasks,
      query: { filters: [...SHOWN, equal('session_id', 's-7')], ...byKey, after: ['s-7', 't-30'] },
    },
    index: /PRIMARY|sqlite_autoindex_translation_tasks_1/,
    sorted: true,
  },
  'unfinished tasks of a session': {
    page: {
      collection: tasks,
      query: {
        filters: [
          equal('session_id', 's-7'),
          { op: 'complete' },
          { op: 'in', field: 'status', values: ['pending', 'processing'] },
        ] satisfies Filter[],
        ...byKey,
      },
    },
    index: /PRIMARY|sqlite_autoindex_translation_tasks_1/,
    sorted: true,
  },
  'the newest task of an id': {
    page: {
      collection: tasks,
      query: { filters: [...SHOWN, equal('task_id', 't-7')], ...newest, sort: 'updated_at', limit: 1 },
    },
    index: /idx_task_id/,
    sorted: false,
  },
  'tasks of a batch': {
    page: { collection: tasks, query: { filters: [...SHOWN, equal('batch_id', 'b-7')], ...byKey } },
    index: /idx_batch_id/,
    sorted: false,
  },
  'sessions of a status, newest first': {
    page: { collection: sessions, query: { filters: [...SHOWN, equal('status', 'failed')], ...newest } },
    index: /idx_status_created/,
    sorted: true,
  },
  'all sessions, newest first': {
    page: { collection: sessions, query: { filters: SHOWN, ...newest } },
    index: /idx_created_at/,
    sorted: true,
  },
  'soft-deleted sessions': {
    page: {
      collection: sessions,
      query: {
        filters: [{ op: 'hidden' }, { op: 'lt', field: 'deleted_at', value: T0 }] satisfies Filter[],
        ...byKey,
      },
    },
    index: /idx_deleted_at|PRIMARY|sqlite_autoindex_translation_sessions_1/,
    sorted: false,
  },
} as const

onEachBackend('plans of hot statements', 'records', (store, kind) => {
  beforeAll(async () => {
    const records = store().backend.records!
    await records.write(
      sessions,
      Array.from({ length: SESSIONS }, (_, n) =>
        fullRow(sessions, [`s-${n}`], { n, fields: { status: SESSION_STATUSES[n % 5]! } }),
      ),
    )
    const rows = Array.from({ length: BUSY_SESSIONS * TASKS_A_SESSION }, (_, n) =>
      fullRow(tasks, [`s-${n % BUSY_SESSIONS}`, `t-${Math.floor(n / BUSY_SESSIONS)}`], {
        n,
        fields: { status: taskStatus(n), batch_id: `b-${n % 90}` },
      }),
    )
    for (let at = 0; at < rows.length; at += 1000) await records.write(tasks, rows.slice(at, at + 1000))
    if (kind.dialect === 'mysql') await store().execute(`ANALYZE TABLE ${tasks.name}, ${sessions.name}`)
  })

  test.each(Object.entries(HOT))('%s: served by its index', async (_, { page, index, sorted }) => {
    const plan = await planOf(store(), kind, {
      statement: selectPage(dialectOf(kind), page.collection, page.query),
      table: page.collection.name,
    })
    expect(plan.access).toMatch(index)
    if (sorted) expect(plan.sorts).toBe(false)
  })

  describe('by key', () => {
    test.each([
      ['one task', tasks, [['s-1', 't-1']]],
      [
        'several tasks',
        tasks,
        [
          ['s-1', 't-1'],
          ['s-2', 't-2'],
          ['s-3', 't-3'],
        ],
      ],
      ['one session', sessions, [['s-1']]],
      ['several sessions', sessions, [['s-1'], ['s-2']]],
    ] as const)('%s: served by the clustered key', async (_, collection, keys) => {
      const plan = await planOf(store(), kind, {
        statement: selectRows(dialectOf(kind), collection, keys),
        table: collection.name,
      })
      expect(plan.access).toMatch(/PRIMARY|sqlite_autoindex_translation_(tasks|sessions)_1/)
    })
  })

  test('the number of tasks of a session: served by the clustered key', async () => {
    const statement = selectCount(dialectOf(kind), tasks, [equal('session_id', 's-7')], 100_001)
    expect((await planOf(store(), kind, { statement, table: tasks.name })).access).toMatch(
      /PRIMARY|sqlite_autoindex_translation_tasks_1/,
    )
  })
})

onEachBackend('plans of dead letters', 'coordination', (store, kind) => {
  const [letters, groups] = [3000, 100]
  let ids: string[]
  beforeAll(async () => {
    const coordination = store().backend.coordination!
    await coordination.putDeadLetters(
      Array.from({ length: letters }, (_, n) => ({
        collection: tasks.name,
        row: fullRow(tasks, [`s-${n % groups}`, `t-${n}`], { n }),
        code: '1406',
        reason: 'Data too long',
      })),
    )
    ids = (await coordination.findDeadLetters({}, { limit: 10, after: '' })).map(({ id }) => id)
    if (kind.dialect === 'mysql') await store().execute('ANALYZE TABLE dead_letters')
  })
  const plan = (statement: ReturnType<typeof countLetters>) =>
    planOf(store(), kind, { statement, table: 'dead_letters' })

  test('a page, the newest first: in the order of the ids, from wherever it begins', async () => {
    for (const before of [{}, { before: ids[5]! }]) {
      const { access, sorts } = await plan(selectLetters(dialectOf(kind), {}, { limit: 21, ...before }))
      expect(access).toMatch(/uq_id/)
      expect(sorts).toBe(false)
    }
  })

  test('a page of a replay: in the order of the ids, from where the last one ended', async () => {
    const statement = findLetters(dialectOf(kind), { failedUntilMs: 9e12 }, { limit: 20, after: ids[5]! })
    const { access, sorts } = await plan(statement)
    expect(access).toMatch(/uq_id/)
    expect(sorts).toBe(false)
  })

  test('by their ids: served by them', async () => {
    const { access } = await plan(selectLetters(dialectOf(kind), { ids }, { limit: 10 }))
    expect(access).toMatch(/uq_id/)
  })

  test('of a session: counted by its index', async () => {
    for (const filter of [{ group: 's-7' }, { group: 's-7', collection: tasks.name }]) {
      expect((await plan(countLetters(dialectOf(kind), filter))).access).toMatch(/idx_group/)
    }
  })
})
