/** Dead letters over HTTP: looked at, tried again once what refused them is mended, or thrown away. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { type OnBackend, onEachBackend } from '../support/in_process.ts'
import {
  freshId,
  HARD_TEXTS,
  type Item,
  type Page,
  type Problem,
  sessionItem,
  taskItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'

const PATH = '/api/v1/system/dead-letters'
/** Rows with this number are refused while the table is broken. */
const UNLUCKY = 13
const SMALL_BUFFER = { BUFFER_MAX_ROWS: '100', MAX_BUFFER_SIZE: '100' }
const REFUSED = 'row refused by its backend, moved to the dead letters'

interface Letter extends Item {
  id: string
  collection: string
  key: Record<string, string>
  row: Item
  attempts: number
  failed_at: string
}

interface LetterPage extends Page {
  items: Letter[]
  error_code?: string
  errors?: { field: string; message: string }[]
}
type Counts = { matched: number; replayed: number; refused: number; purged: number; dry_run: boolean }

/** The endpoints by name, and a table that refuses rows until it is mended. */
function deadLetters(on: OnBackend) {
  const query = (given: Record<string, string | number>) =>
    new URLSearchParams(Object.entries(given).map(([name, value]): [string, string] => [name, String(value)]))
  return {
    list: async (given: Record<string, string | number> = {}) =>
      on.http.get<LetterPage>(`${PATH}?${query(given)}`),
    ofSession: async (session: string) =>
      (await on.http.get<LetterPage>(`${PATH}?${query({ session_id: session, page_size: 100 })}`)).body.items,
    replay: (body?: unknown) => on.http.post<Counts & Partial<Problem>>(`${PATH}/replay`, body),
    purge: (body?: unknown) => on.http.post<Counts & Partial<Problem>>(`${PATH}/purge`, body),
    async breakTable() {
      const body =
        on.store.kind === 'sqlite'
          ? `WHEN NEW.row_index = ${UNLUCKY} BEGIN SELECT RAISE(ABORT, 'unlucky for 玩家'); END`
          : `FOR EACH ROW BEGIN IF NEW.row_index = ${UNLUCKY} THEN
               SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'unlucky for 玩家'; END IF; END`
      await on.store.run(`CREATE TRIGGER unlucky BEFORE INSERT ON translation_tasks ${body}`)
    },
    mendTable: () => on.store.run('DROP TRIGGER IF EXISTS unlucky'),
  }
}

onEachBackend('dead letters', { expectedErrors: [REFUSED] }, (on) => {
  const api = translation(on)
  const letters = deadLetters(on)

  beforeEach(async () => {
    await letters.mendTable()
    expect((await letters.purge()).status).toBe(200)
    await letters.breakTable()
  })
  afterEach(() => letters.mendTable())

  /** Tasks of a new session that are all refused. */
  async function refusedTasks(count: number, fields: Item = {}): Promise<string> {
    const session = freshId()
    const tasks = taskItems(session, count, fields).map(unlucky)
    await api.store([sessionItem(session)], tasks)
    return session
  }

  const tasksOf = async (session: string) => (await api.tasksOf(session, { page_size: 100 })).body.items

  test('a refused row is listed with what was written, why it was refused, and when', async () => {
    const before = Date.now()
    const session = freshId()
    const fields = {
      row_index: UNLUCKY,
      source_text: 'a dragon 🐉',
      target_text: null,
      confidence: 0.9512,
      start_time: '2025-09-30T10:10:00.000Z',
    }
    await api.store([sessionItem(session)], [taskItem(session, 'bad', fields), taskItem(session, 'good')])
    const { status, body } = await letters.list()
    expect(status).toBe(200)
    expect(body).toMatchObject({ total: 1, total_exact: true, page: 1, page_size: 20, total_pages: 1 })
    expect(body.next_cursor).toBeNull()
    const [letter] = body.items
    const written = taskItem(session, 'bad', fields)
    const { session_id: _, task_id: __, ...row } = written
    expect(letter).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      collection: 'translation_tasks',
      key: { session_id: session, task_id: 'bad' },
      reason: expect.stringContaining('unlucky for \\u73a9\\u5bb6'),
      error_code: expect.any(String),
      row,
      accepted_at: expect.any(String),
      failed_at: expect.any(String),
      attempts: 1,
    } as never)
    for (const at of [letter!.accepted_at, letter!.failed_at]) {
      expect(Date.parse(String(at))).toBeWithin(before - 1000, Date.now() + 1000)
    }
    expect((await api.session(session)).body).toMatchObject({ dead_lettered_tasks: 1, total_tasks: 1 })
  })

  test('texts of every kind are shown as they were sent, and stored so after a replay', async () => {
    const texts = Object.values(HARD_TEXTS)
    const session = freshId()
    const tasks = texts.map((text, n) =>
      taskItem(session, `t-${n}`, { row_index: UNLUCKY, source_text: text, context: text }),
    )
    await api.store([sessionItem(session)], tasks)
    const byTask = new Map((await letters.ofSession(session)).map(({ key, row }) => [key.task_id, row]))
    for (const [n, text] of texts.entries()) {
      expect(byTask.get(`t-${n}`)).toMatchObject({ source_text: text, context: text })
    }
    await letters.mendTable()
    await letters.replay({ session_id: session })
    for (const [n, text] of texts.entries()) {
      const { body } = await api.task(`t-${n}`, { session_id: session })
      expect(body).toMatchObject({ source_text: text, context: text })
    }
  })

  describe('the list', () => {
    let one: string
    let other: string
    beforeEach(async () => {
      one = await refusedTasks(7)
      other = await refusedTasks(2)
    })

    test('is filtered by collection, session and reason', async () => {
      const total = async (query: Record<string, string>) => (await letters.list(query)).body.total
      expect(await total({})).toBe(9)
      expect(await total({ session_id: one })).toBe(7)
      expect(await total({ session_id: other })).toBe(2)
      expect(await total({ session_id: 'nobody' })).toBe(0)
      expect(await total({ collection: 'translation_tasks' })).toBe(9)
      expect(await total({ collection: 'translation_sessions' })).toBe(0)
      expect(await total({ reason: 'UNLUCKY' })).toBe(9)
      expect(await total({ reason: '玩家' })).toBe(9)
      expect(await total({ reason: '%' })).toBe(0)
      expect(await total({ reason: 'unlucky', session_id: other })).toBe(2)
    })

    test('has each letter once, the newest first, by page and by cursor, also while letters come', async () => {
      const { body: whole } = await letters.list({ page_size: 100 })
      const ids = whole.items.map(({ id }) => id)
      expect(ids).toEqual(ids.toSorted().toReversed())
      const byNumber: string[] = []
      for (const page of [1, 2, 3]) {
        const { body } = await letters.list({ page, page_size: 4 })
        expect(body).toMatchObject({ total: 9, page, total_pages: 3 })
        byNumber.push(...body.items.map(({ id }) => id))
      }
      expect(byNumber).toEqual(ids)
      let page = (await letters.list({ page_size: 4 })).body
      const byCursor = page.items.map(({ id }) => id)
      await refusedTasks(3)
      for (let number = 2; page.next_cursor !== null; number++) {
        page = (await letters.list({ page_size: 4, cursor: page.next_cursor })).body
        expect(page.page).toBe(number)
        byCursor.push(...page.items.map(({ id }) => id))
      }
      expect(byCursor).toEqual(ids)
    })
  })

  test('after mending, a replay stores the rows and empties the list', async () => {
    const session = await refusedTasks(3)
    expect(await tasksOf(session)).toEqual([])
    await letters.mendTable()
    const { status, body } = await letters.replay({ session_id: session })
    expect(status).toBe(200)
    expect(body).toEqual({ matched: 3, replayed: 3, refused: 0, dry_run: false } as never)
    expect((await tasksOf(session)).map(({ task_id }) => task_id)).toEqual(['task_0', 'task_1', 'task_2'])
    expect(await letters.ofSession(session)).toEqual([])
    expect((await api.session(session)).body).toMatchObject({ dead_lettered_tasks: 0, total_tasks: 3 })
    expect((await letters.replay()).body).toMatchObject({ matched: 0, replayed: 0 })
  })

  test('without a body a replay, or a purge, means all letters', async () => {
    const sessions = [await refusedTasks(2), await refusedTasks(1)]
    await letters.mendTable()
    expect((await letters.replay()).body).toMatchObject({ matched: 3, replayed: 3 })
    for (const session of sessions) expect(await letters.ofSession(session)).toEqual([])
    await letters.breakTable()
    await refusedTasks(2)
    expect((await letters.purge({})).body).toMatchObject({ matched: 2, purged: 2 })
    expect((await letters.list()).body.total).toBe(0)
  })

  test('a dry run counts, and changes nothing', async () => {
    const session = await refusedTasks(2)
    const before = await letters.ofSession(session)
    await letters.mendTable()
    const request = { session_id: session, dry_run: true }
    expect((await letters.replay(request)).body).toEqual({
      matched: 2,
      replayed: 0,
      refused: 0,
      dry_run: true,
    } as never)
    expect((await letters.purge(request)).body).toEqual({ matched: 2, purged: 0, dry_run: true } as never)
    await api.flush()
    expect(await letters.ofSession(session)).toEqual(before)
    expect(await tasksOf(session)).toEqual([])
  })

  test('a replay never overwrites what was accepted later, and fills in what was not', async () => {
    const session = await refusedTasks(1, { source_text: 'old', context: 'of the letter' })
    await letters.mendTable()
    await api.postTasks([
      taskItem(session, 'task_0', { source_text: 'new', row_index: 1, status: 'completed' }),
    ])
    await api.flush()
    expect((await letters.replay()).body).toMatchObject({ matched: 1, replayed: 1, refused: 0 })
    const { body } = await api.task('task_0', { session_id: session })
    expect(body).toMatchObject({
      source_text: 'new',
      row_index: 1,
      status: 'completed',
      context: 'of the letter',
    })
    expect(await letters.ofSession(session)).toEqual([])
  })

  test('a replay does not overwrite what is still buffered either', async () => {
    const session = await refusedTasks(1, { source_text: 'old' })
    await letters.mendTable()
    await api.patchTasks([{ session_id: session, task_id: 'task_0', source_text: 'buffered', row_index: 1 }])
    await letters.replay()
    const { body } = await api.task('task_0', { session_id: session })
    expect(body).toMatchObject({ source_text: 'buffered', row_index: 1 })
  })

  test('rows that are still refused keep their letter, with an attempt more, and are tried once a replay', async () => {
    const session = await refusedTasks(3)
    const before = await letters.ofSession(session)
    for (const attempts of [2, 3]) {
      const { status, body } = await letters.replay({ session_id: session })
      expect({ status, ...body }).toEqual({
        status: 200,
        matched: 3,
        replayed: 3,
        refused: 3,
        dry_run: false,
      } as never)
      const after = await letters.ofSession(session)
      expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id))
      expect(after.map((letter) => letter.attempts)).toEqual([attempts, attempts, attempts])
      expect(after.map(({ row }) => row)).toEqual(before.map(({ row }) => row))
    }
    await letters.mendTable()
    expect((await letters.replay()).body).toMatchObject({ replayed: 3, refused: 0 })
    expect((await tasksOf(session)).length).toBe(3)
  })

  test('many letters are all replayed, beyond what one page takes', async () => {
    const session = freshId()
    const count = 1200
    await api.store([sessionItem(session)], taskItems(session, count).map(unlucky))
    expect((await letters.list()).body.total).toBe(count)
    await letters.mendTable()
    expect((await letters.replay()).body).toMatchObject({ matched: count, replayed: count, refused: 0 })
    expect((await api.tasksOf(session)).body.total).toBe(count)
    expect((await letters.list()).body.total).toBe(0)
  })

  test('two replays at once store every row once, and leave no letter', async () => {
    const session = await refusedTasks(40)
    await letters.mendTable()
    const answers = await Promise.all([letters.replay(), letters.replay(), letters.replay()])
    for (const { status, body } of answers) expect([status, body.refused]).toEqual([200, 0])
    expect((await tasksOf(session)).length).toBe(40)
    expect((await letters.list()).body.total).toBe(0)
  })

  test('chosen letters alone are replayed or purged; ids that nobody has match nothing', async () => {
    const session = await refusedTasks(4)
    const ids = (await letters.ofSession(session)).map(({ id }) => id)
    const unknown = '01999999-0000-7000-8000-00000000abcd'
    expect((await letters.purge({ ids: [unknown] })).body).toMatchObject({ matched: 0, purged: 0 })
    await letters.mendTable()
    expect((await letters.replay({ ids: [unknown, ids[0], ids[1]!.toUpperCase()] })).body).toMatchObject({
      matched: 2,
      replayed: 2,
    })
    expect((await letters.purge({ ids: [ids[2]], session_id: 'another' })).body).toMatchObject({
      matched: 0,
    })
    expect((await letters.purge({ ids: [ids[2]] })).body).toMatchObject({ matched: 1, purged: 1 })
    expect((await letters.ofSession(session)).map(({ id }) => id)).toEqual([ids[3]!])
    expect((await tasksOf(session)).length).toBe(2)
  })

  test('a purge by session, or by reason, spares the others', async () => {
    const [gone, spared] = [await refusedTasks(2), await refusedTasks(1)]
    expect((await letters.purge({ session_id: gone })).body).toMatchObject({ matched: 2, purged: 2 })
    expect((await letters.list()).body.total).toBe(1)
    expect((await letters.purge({ reason: 'nobody says this' })).body).toMatchObject({ matched: 0 })
    expect((await letters.ofSession(spared)).length).toBe(1)
    await letters.mendTable()
    await letters.replay()
    expect(await tasksOf(gone)).toEqual([])
  })

  test('letters go with their session, and nothing of it comes back', async () => {
    const [gone, spared] = [await refusedTasks(2), await refusedTasks(1)]
    expect((await api.remove(gone)).status).toBe(200)
    expect(await letters.ofSession(gone)).toEqual([])
    await letters.mendTable()
    expect((await letters.replay()).body).toMatchObject({ matched: 1, replayed: 1 })
    expect((await api.session(gone)).status).toBe(404)
    expect((await tasksOf(spared)).length).toBe(1)
  })

  test('a letter of a collection that this version does not know is shown, left alone, and can be purged', async () => {
    const session = await refusedTasks(1)
    await on.store.run("UPDATE dead_letters SET collection = 'of_the_future'")
    await letters.mendTable()
    expect((await letters.replay()).body).toMatchObject({ matched: 1, replayed: 0 })
    const { body } = await letters.list({ collection: 'of_the_future' })
    expect(body.items).toMatchObject([{ collection: 'of_the_future', key: { 0: session, 1: 'task_0' } }])
    expect((await letters.purge({ collection: 'of_the_future' })).body).toMatchObject({ purged: 1 })
  })

  test('a letter of a row with fields that this version does not know is left alone, one with fewer is stored', async () => {
    const [newer, older] = [await refusedTasks(1), await refusedTasks(1)]
    const change = async (session: string, to: (values: unknown[][]) => unknown[][]) => {
      const [found] = await on.store.run<{ record: string }>(
        'SELECT record FROM dead_letters WHERE group_key = ?',
        [session],
      )
      const record = JSON.stringify(to(JSON.parse(found!.record)))
      await on.store.run('UPDATE dead_letters SET record = ? WHERE group_key = ?', [record, session])
    }
    await change(newer, (values) => [...values, ['a field of the future']])
    await change(older, (values) => values.slice(0, -3))
    await letters.mendTable()
    expect((await letters.replay()).body).toMatchObject({ matched: 2, replayed: 1, refused: 0 })
    expect((await letters.ofSession(newer)).length).toBe(1)
    expect(await letters.ofSession(older)).toEqual([])
    expect((await tasksOf(older))[0]).toMatchObject({ source_text: 'source of task_0', duration_ms: null })
  })

  test('while the rows cannot be stored, a replay answers 503 and the letters stay; repeated later it is done', async () => {
    const session = await refusedTasks(3)
    const before = await letters.ofSession(session)
    await letters.mendTable()
    await on.store.run('ALTER TABLE translation_tasks RENAME TO away')
    const { status, body, headers } = await letters.replay()
    await on.store.run('ALTER TABLE away RENAME TO translation_tasks')
    expect([status, body.error_code]).toEqual([503, 'BACKEND_UNAVAILABLE'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await letters.ofSession(session)).toEqual(before)
    expect((await letters.replay()).body).toMatchObject({ matched: 3, replayed: 3, refused: 0 })
    expect(await letters.ofSession(session)).toEqual([])
    expect((await tasksOf(session)).length).toBe(3)
  })

  test('without their table every call answers 503', async () => {
    await on.store.run('ALTER TABLE dead_letters RENAME TO away')
    const answers = [await letters.list(), await letters.replay(), await letters.purge()]
    await on.store.run('ALTER TABLE away RENAME TO dead_letters')
    for (const { status, body } of answers)
      expect([status, body.error_code]).toEqual([503, 'BACKEND_UNAVAILABLE'])
    expect((await letters.list()).status).toBe(200)
  })

  describe('is refused with 422, and changes nothing:', () => {
    test.each<[string, unknown, string]>([
      ['ids that are none', { ids: ['no-uuid'] }, 'ids[0]'],
      ['an empty list of ids', { ids: [] }, 'ids'],
      ['1001 ids', { ids: Array.from({ length: 1001 }, () => crypto.randomUUID()) }, 'ids'],
      ['an empty session_id', { session_id: '' }, 'session_id'],
      ['a session_id of null', { session_id: null }, 'session_id'],
      ['an empty reason', { reason: '' }, 'reason'],
      ['a reason with a lone surrogate', { reason: '\ud800' }, 'reason'],
      ['a dry_run that is a text', { dry_run: 'true' }, 'dry_run'],
      ['a misspelt filter, which would mean all letters', { sesion_id: 's' }, 'body'],
      ['a list', [], 'body'],
    ])('%s', async (_, body, field) => {
      const session = await refusedTasks(1)
      for (const send of [letters.replay, letters.purge]) {
        const answer = await send(body)
        expect(answer.status).toBe(422)
        expect(answer.body.error_code).toBe('VALIDATION_FAILED')
        expect(answer.body.errors!.map((fault) => fault.field)).toContain(field)
      }
      expect((await letters.ofSession(session))[0]).toMatchObject({ attempts: 1 })
    })

    test.each<[Record<string, string>, string]>([
      [{ page: '0' }, 'page'],
      [{ page: '100000' }, 'page'],
      [{ page_size: '101' }, 'page_size'],
      [{ cursor: 'nonsense' }, 'cursor'],
      [{ session_id: ' s' }, 'session_id'],
      [{ reason: '' }, 'reason'],
      [{ collection: '' }, 'collection'],
    ])('a list with %p', async (query, field) => {
      const { status, body } = await letters.list(query)
      expect(status).toBe(422)
      expect(body.errors!.map((fault) => fault.field)).toEqual([field])
    })
  })
})

onEachBackend('dead letters and a small buffer', { env: SMALL_BUFFER, expectedErrors: [REFUSED] }, (on) => {
  const api = translation(on)
  const letters = deadLetters(on)

  test('a replay waits for no room: 503 while the buffer is full, and all of it in pages once it is not', async () => {
    const session = freshId()
    await letters.breakTable()
    for (let from = 0; from < 240; from += 80) {
      await api.store([sessionItem(session)], taskItems(session, 80, { from }).map(unlucky))
    }
    await letters.mendTable()
    // Full in all, while neither collection has so many that it is flushed.
    expect((await api.postTasks(taskItems(freshId(), 99))).status).toBe(202)
    expect((await api.postSessions([sessionItem(freshId())])).status).toBe(202)
    const { status, body, headers } = await letters.replay({ session_id: session })
    expect([status, body.error_code]).toEqual([503, 'BUFFER_FULL'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await letters.list()).body.total).toBe(240)
    await api.flush()
    expect((await letters.replay()).body).toMatchObject({ matched: 240, replayed: 240, refused: 0 })
    expect((await api.tasksOf(session)).body.total).toBe(240)
    expect((await letters.list()).body.total).toBe(0)
  })
})

const unlucky = (task: Item) => ({ ...task, row_index: UNLUCKY })
