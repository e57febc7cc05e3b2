/**
 * Rows that a database refuses for what they are: they alone become dead letters, in few statements, whatever
 * their number; nothing else is held up, and they come back once what refused them is mended.
 */
import { expect, test } from 'bun:test'
import { recordBackends } from '../support/backends.ts'
import type { Answer } from '../support/http.ts'
import { type Instance, instance } from '../support/instance.ts'
import { openRefusingStore, type Refusal } from '../support/refusing_store.ts'
import { createScene } from '../support/scene.ts'
import { type Item, sessionItem, taskItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const ROWS = 1000
/** All rows of a test in one chunk, so that its statements can be counted. */
const ONE_CHUNK = { MAX_BUFFER_SIZE: '5000' }
const LETTERS = '/api/v1/system/dead-letters'
const FLUSHED_WITHIN_MS = 30_000

interface Letter extends Item {
  key: { session_id: string; task_id: string }
  error_code: string
  attempts: number
}

/** Every letter, page by page. */
async function letters(on: Instance, filter: Record<string, string> = {}): Promise<Letter[]> {
  const found: Letter[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query = new URLSearchParams({ ...filter, page_size: '100', ...(cursor && { cursor }) })
    const page: Answer<{ items: Letter[]; next_cursor: string | null }> = await on.http.get(
      `${LETTERS}?${query}`,
    )
    found.push(...page.body.items)
    cursor = page.body.next_cursor
  }
  return found
}

const replay = (on: Instance, filter: Item = {}) => on.http.post<Item>(`${LETTERS}/replay`, filter)
const purge = (on: Instance, filter: Item = {}) => on.http.post<Item>(`${LETTERS}/purge`, filter)
const idsOf = (tasks: readonly Item[]) => tasks.map(({ task_id }) => String(task_id)).sort()
const taskIds = (numbers: readonly number[]) => numbers.map((i) => `task_${i}`).sort()

/** Replayed letters are no accepted rows, so the identity of `balance` is not the whole one here. */
async function heldTasks(on: Instance): Promise<number> {
  const { conservation } = (await on.health()).buffer
  const tasks = conservation.find(({ collection }) => collection === 'translation_tasks')!
  expect(tasks.balanced).toBe(true)
  return tasks.buffered
}

/** Halving takes two statements for each chunk that fails: one on every level above a bad row, at most. */
function mostStatements(bad: number, rows: number): number {
  return Math.min(2 * rows - 1, 1 + 2 * bad * Math.ceil(Math.log2(rows)))
}

async function flushed(on: Instance): Promise<void> {
  await until(async () => (await on.flush()).status === 200, {
    message: 'a flush',
    timeoutMs: FLUSHED_WITHIN_MS,
  })
}

for (const { name } of recordBackends) {
  const kinds: Refusal[] = name === 'sqlite' ? ['listed'] : ['listed', 'unlisted']

  for (const how of kinds) {
    for (const bad of [1, 10]) {
      test(`${name}: ${bad} of ${ROWS} rows refused with ${how === 'listed' ? 'a listed number' : 'a number that nobody has listed'}: only the bad are dead letters, in O(k log n) statements, and nothing waits for them`, async () => {
        await using scene = createScene()
        const store = await openRefusingStore(scene, name)
        const on = instance(await scene.start({ ...store.env, ...ONE_CHUNK }))
        const every = ROWS / bad
        const refused = Array.from({ length: bad }, (_, i) => i * every + (637 % every))
        await store.refuse(`NEW.row_index IN (${refused.join(', ')})`, how)
        await on.sessions([sessionItem('s')])
        await on.tasks(taskItems('s', ROWS))
        store.upserts()

        expect((await on.flush()).body).toMatchObject({ status: 'flushed', tasks_written: ROWS - bad })
        const statements = store.upserts()
        if (statements !== null) {
          expect(statements).toBeLessThanOrEqual(mostStatements(bad, ROWS))
          // Ten levels of halving above each of them: fewer would mean that the counting is broken.
          expect(statements).toBeGreaterThan(10)
        }
        const found = await letters(on)
        expect(found.map(({ key }) => key.task_id).sort()).toEqual(taskIds(refused))
        for (const letter of found)
          expect(letter).toMatchObject({ error_code: store.errorCode(how), attempts: 1 })
        const stored = await on.allTasks('s')
        expect(stored.length).toBe(ROWS - bad)
        expect(stored.filter(({ row_index }) => refused.includes(Number(row_index)))).toEqual([])
        expect(await on.balance()).toMatchObject({
          accepted: ROWS,
          stored: ROWS - bad,
          dead_lettered: bad,
          buffered: 0,
        })

        // The next rows go in one statement: nobody comes back to the bad ones.
        await on.tasks(taskItems('s', 500, { from: ROWS }))
        expect((await on.flush()).body).toMatchObject({ tasks_written: 500 })
        if (statements !== null) expect(store.upserts()).toBe(1)

        await store.mend()
        expect((await replay(on)).body).toMatchObject({ matched: bad, replayed: bad, refused: 0 })
        expect((await on.allTasks('s')).length).toBe(ROWS + 500)
        expect(await letters(on)).toEqual([])
        expect((await on.session('s')).body).toMatchObject({ dead_lettered_tasks: 0 })
      })
    }
  }

  test(`${name} refuses all of ${ROWS} rows with a listed number: all are dead letters, others are stored meanwhile, and after mending all come back`, async () => {
    await using scene = createScene()
    const store = await openRefusingStore(scene, name)
    const on = instance(await scene.start({ ...store.env, ...ONE_CHUNK }))
    await store.refuse("NEW.session_id = 'bad'")
    await on.sessions([sessionItem('bad'), sessionItem('good')])
    await on.tasks(taskItems('bad', ROWS))
    store.upserts()
    const isolating = flushed(on)
    // While they are taken apart, writes are accepted, and stored by the flush after it.
    expect((await on.tasks(taskItems('good', 200))).status).toBe(202)
    await isolating
    await flushed(on)
    const statements = store.upserts()
    if (statements !== null) {
      expect(statements).toBeLessThanOrEqual(mostStatements(ROWS, ROWS) + 2)
      expect(statements).toBeGreaterThanOrEqual(ROWS)
    }
    expect((await on.allTasks('good')).length).toBe(200)
    expect((await letters(on)).map(({ key }) => key.task_id).sort()).toEqual(idsOf(taskItems('bad', ROWS)))
    expect(await on.balance()).toMatchObject({
      accepted: ROWS + 200,
      stored: 200,
      dead_lettered: ROWS,
      buffered: 0,
    })

    await store.mend()
    expect((await replay(on)).body).toMatchObject({ matched: ROWS, replayed: ROWS, refused: 0 })
    expect(await on.allTasks('bad')).toMatchObject(
      taskItems('bad', ROWS).sort((a, b) => (String(a.task_id) < String(b.task_id) ? -1 : 1)),
    )
    expect(await letters(on)).toEqual([])
  })

  test(`${name}: a replay can't bring back what is older than the stored, and fills in what is not`, async () => {
    await using scene = createScene()
    const store = await openRefusingStore(scene, name)
    const on = instance(await scene.start({ ...store.env, ...ONE_CHUNK }))
    const isServer = name !== 'sqlite'
    // Another instance, where there can be one, holds something newer that is not stored yet.
    const other = isServer ? instance(await scene.start({ ...store.env, ...ONE_CHUNK })) : on
    await store.refuse("NEW.source_text = 'bad'")
    await on.sessions([sessionItem('s')])
    const old = { source_text: 'bad', target_text: 'old', context: 'of the letter', retry_count: 1 }
    await on.tasks(taskItems('s', 3, old))
    await on.tasks(taskItems('s', 10, { from: 3 }))
    await flushed(on)
    expect((await letters(on)).length).toBe(3)

    const patch = (task_id: string, fields: Item) => ({ session_id: 's', task_id, ...fields })
    await on.patchTasks([
      patch('task_0', { source_text: 'mended', target_text: 'new', status: 'completed' }),
      patch('task_3', { target_text: 'new' }),
    ])
    await flushed(on)
    expect((await other.patchTasks([patch('task_1', { target_text: null, retry_count: 2 })])).status).toBe(
      202,
    )
    await store.mend()
    expect((await replay(on)).body).toMatchObject({ matched: 3, replayed: 3, refused: 0 })
    await flushed(other)
    expect((await replay(on)).body).toMatchObject({ matched: 0 })

    const tasks = await on.allTasks('s')
    const task = (id: string) => tasks.find(({ task_id }) => task_id === id)
    expect(tasks.length).toBe(13)
    expect(task('task_0')).toMatchObject({
      source_text: 'mended',
      target_text: 'new',
      status: 'completed',
      context: 'of the letter',
      retry_count: 1,
    })
    expect(task('task_1')).toMatchObject({ ...old, target_text: null, retry_count: 2, status: 'pending' })
    expect(task('task_2')).toMatchObject({ ...old, status: 'pending' })
  })

  test(`${name}: a session with as many dead letters as it may have is answered 503, keeps its rows and holds up nobody; after a purge it goes on`, async () => {
    await using scene = createScene()
    const store = await openRefusingStore(scene, name)
    const env = {
      DATA_DIR: await scene.folder(),
      INSTANCE_ID: 'capped',
      ...store.env,
      ...ONE_CHUNK,
      DEAD_LETTERS_PER_SESSION: '5',
      FLUSH_INTERVAL: '1',
    }
    const first = await scene.start(env)
    let on = instance(first)
    await store.refuse('NEW.row_index >= 100')
    await on.sessions([sessionItem('full'), sessionItem('other')])
    await on.tasks([...taskItems('full', 8), ...taskItems('full', 12, { from: 100 })])
    await on.tasks([...taskItems('other', 20), ...taskItems('other', 3, { from: 100 })])
    await flushed(on)
    const ofFull = async () => (await letters(on, { session_id: 'full' })).length
    expect([await ofFull(), (await letters(on, { session_id: 'other' })).length]).toEqual([5, 3])
    const refusedWrites = () =>
      Promise.all([
        on.tasks([taskItem('full', 'more')]),
        on.patchTasks([taskItem('other', 'task_0'), { session_id: 'full', task_id: 'task_0' }]),
        on.patchSessions([{ session_id: 'full', status: 'processing' }]),
      ])
    for (const { status, body, headers } of await refusedWrites()) {
      expect([status, body.error_code, body.session_id]).toEqual([503, 'DEAD_LETTERS_FULL', 'full'])
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    }
    expect(await on.balance()).toMatchObject({ stored: 28, dead_lettered: 8, buffered: 7 })
    expect((await on.allTasks('full')).length).toBe(8)

    // Others go on, and no flush comes back to the rows that are kept out.
    store.upserts()
    for (let round = 0; round < 3; round++) {
      expect((await on.tasks(taskItems('other', 10, { from: 20 + 10 * round }))).status).toBe(202)
      await flushed(on)
    }
    expect((await on.allTasks('other')).length).toBe(50)
    const statements = store.upserts()
    if (statements !== null) expect(statements).toBeLessThanOrEqual(3)

    // They outlive the instance.
    await first.kill()
    on = instance(await scene.start(env))
    await flushed(on)
    expect((await refusedWrites()).map(({ status }) => status)).toEqual([503, 503, 503])
    expect([await ofFull(), (await on.balance()).buffered]).toEqual([5, 7])

    expect((await purge(on, { session_id: 'full' })).body).toMatchObject({ matched: 5, purged: 5 })
    await until(async () => (await on.balance()).buffered === 2, { message: 'the next five are letters' })
    expect(await ofFull()).toBe(5)
    expect((await on.tasks([taskItem('full', 'more')])).status).toBe(503)
    await store.mend()
    await purge(on, { session_id: 'full' })
    await until(async () => (await on.tasks([taskItem('full', 'more')])).status === 202, {
      message: 'the session is written to again',
    })
    await flushed(on)
    expect((await on.allTasks('full')).length).toBe(8 + 2 + 1)
    expect([await ofFull(), (await letters(on)).length]).toEqual([0, 3])
    expect(await on.balance()).toMatchObject({ dead_lettered: 13, buffered: 0 })
  })

  test(`${name}: dead letters are capped in all too; a replay that is refused again says so, and one after mending lets all go on`, async () => {
    await using scene = createScene()
    const store = await openRefusingStore(scene, name)
    const on = instance(
      await scene.start({ ...store.env, ...ONE_CHUNK, MAX_DEAD_LETTERS: '6', FLUSH_INTERVAL: '1' }),
    )
    await store.refuse('NEW.row_index >= 100')
    await on.sessions(['a', 'b', 'c'].map((id) => sessionItem(id)))
    await on.tasks(taskItems('a', 4, { from: 100 }).concat(taskItems('c', 4)))
    await flushed(on)
    await on.tasks(taskItems('b', 4, { from: 100 }))
    await flushed(on)
    expect((await letters(on)).length).toBe(6)
    expect(await heldTasks(on)).toBe(2)
    expect((await on.tasks([taskItem('b', 'more')])).status).toBe(503)
    for (const id of ['a', 'c']) expect((await on.tasks([taskItem(id, 'more')])).status).toBe(202)

    // Nothing is mended: the same letters, with an attempt more.
    expect((await replay(on)).body).toMatchObject({ matched: 6, replayed: 6, refused: 6 })
    expect((await letters(on)).map(({ attempts }) => attempts)).toEqual([2, 2, 2, 2, 2, 2])
    expect(await heldTasks(on)).toBe(2)

    await store.mend()
    expect((await replay(on)).body).toMatchObject({ replayed: 6, refused: 0 })
    await until(async () => (await on.tasks([taskItem('b', 'more')])).status === 202, {
      message: 'the session is written to again',
    })
    await flushed(on)
    for (const id of ['a', 'b', 'c']) expect((await on.allTasks(id)).length).toBe(5)
    expect(await letters(on)).toEqual([])
    expect(await heldTasks(on)).toBe(0)
  })

  if (name === 'sqlite') continue

  test(`${name} refuses all of ${ROWS} rows alike with a number that nobody has listed: an outage, nothing is lost or condemned, and after mending all are stored`, async () => {
    await using scene = createScene()
    const store = await openRefusingStore(scene, name)
    const on = instance(await scene.start({ ...store.env, ...ONE_CHUNK }))
    await store.refuse('TRUE', 'unlisted')
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', ROWS))
    for (let round = 0; round < 2; round++) {
      expect([503, 504]).toContain((await on.flush()).status)
      expect(await on.balance()).toMatchObject({ accepted: ROWS, dead_lettered: 0, buffered: ROWS })
    }
    // That all fail alike took a statement a row to find out, once; it is not found out again at each retry.
    await until(
      async () => (await on.health()).buffer.conservation.every(({ in_flight }) => in_flight === 0),
      {
        message: 'no flush runs',
        timeoutMs: FLUSHED_WITHIN_MS,
      },
    )
    store.upserts()
    expect((await on.flush()).status).toBe(503)
    expect(store.upserts()).toBeLessThan(ROWS / 10)
    expect(await letters(on)).toEqual([])
    // The other collection is stored, and both accept.
    expect((await on.sessions([sessionItem('t')])).status).toBe(202)
    expect((await on.tasks(taskItems('s', 100, { status: 'processing' }))).status).toBe(202)
    expect([503, 504]).toContain((await on.flush()).status)
    const { body } = await on.http.get<{ items: Item[] }>('/api/v1/translation/sessions')
    expect(body.items.map(({ session_id }) => String(session_id)).sort()).toEqual(['s', 't'])

    await store.mend()
    await flushed(on)
    const tasks = await on.allTasks('s')
    expect(tasks.length).toBe(ROWS)
    expect(tasks.filter(({ status }) => status === 'processing').length).toBe(100)
    expect(await letters(on)).toEqual([])
    expect(await on.balance()).toMatchObject({
      accepted: ROWS + 100,
      stored: ROWS,
      merged: 100,
      dead_lettered: 0,
      buffered: 0,
    })
  })
}
