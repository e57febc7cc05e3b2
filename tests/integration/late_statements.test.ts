/**
 * Deletes against whatever was accepted before them and comes after them: writers at this moment, rows in
 * another instance's buffer or in a dead one's journal, and a statement that waits in the server.
 */
import { expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { type FreshDatabase, sqlServers } from '../support/backends.ts'
import { openConnection } from '../support/connection.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import { sessionItem, taskItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const WRITERS = 8
const WRITES = 1000
/** The delete is sent when so many are answered. */
const BEFORE = 350
/** Two instances' clocks may differ by the error of their estimates: what is closer than that may order either way. */
const CLOCK_ERROR_MS = 100
const REPEAT_SECONDS = 2
const GONE_WITHIN_MS = 20_000
const TEST_TIMEOUT_MS = 60_000
const SESSIONS = '/api/v1/translation/sessions'

interface Written {
  id: string
  /** Which of the two took it. */
  side: number
  sentMs: number
  answeredMs: number
}

for (const server of sqlServers) {
  test(
    `${server}: a delete among ${WRITES} writes to two instances, one with unflushed rows, and one dead with a journal: nothing of before survives, everything after it does`,
    async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const env = {
        DATABASE_URL: database.url,
        MAX_BUFFER_SIZE: '150',
        BUFFER_MIN_BATCH_ROWS: '50',
        COUNT_CACHE: '0',
      }
      const dying = { ...env, INSTANCE_ID: 'dying', DATA_DIR: await scene.folder() }
      const services = await Promise.all([scene.start(env), scene.start(env), scene.start(dying)])
      const [a, b, dead] = services.map(instance) as [Instance, Instance, Instance]
      await a.sessions([sessionItem('s')])
      await a.tasks(taskItems('s', 200, { target_text: 'stored', context: 'old' }))
      await flush(a)
      // Unflushed in the other one, and in one that dies of it: new rows, and halves of stored ones.
      for (const [on, name] of [
        [b, 'b'],
        [dead, 'c'],
      ] as const) {
        await on.tasks(Array.from({ length: 60 }, (_, i) => taskItem('s', `${name}-old-${i}`)))
        await on.patchTasks(
          taskItems('s', 40).map(({ task_id }) => ({ session_id: 's', task_id, error_message: name })),
        )
      }
      await services[2]!.kill()

      const written: Written[] = []
      let answered = 0
      let next = 0
      const writer = async () => {
        while (next < WRITES) {
          const i = next++
          const side = i % 2
          const sentMs = performance.now()
          const { status } = await [a, b][side]!.tasks([
            taskItem('s', `race-${i}`, { target_text: `text ${i}`, row_index: i }),
          ])
          expect(status).toBe(202)
          written.push({ id: `race-${i}`, side, sentMs, answeredMs: performance.now() })
          answered++
        }
      }
      const writing = Promise.all(Array.from({ length: WRITERS }, writer))
      await until(() => answered >= BEFORE, { message: 'writes before the delete' })
      const sentMs = performance.now()
      const { status } = await a.http.delete(`${SESSIONS}/s`)
      const doneMs = performance.now()
      expect(status).toBe(200)
      await writing
      // And once it is all over, so that there are some: rows of before are written anew, and the session is.
      await until(() => performance.now() > doneMs + CLOCK_ERROR_MS, { message: 'the clocks agree' })
      await b.tasks(taskItems('s', 20))
      await a.sessions([sessionItem('s', { filename: 'anew' })])

      const revived = instance(await scene.start(dying))
      for (const on of [a, b, revived]) await flush(on)
      const margin = ({ side }: Written) => (side === 0 ? 0 : CLOCK_ERROR_MS)
      const before = written.filter((one) => one.answeredMs < sentMs - margin(one))
      const after = written.filter((one) => one.sentMs > doneMs + margin(one))
      expect(before.length).toBeGreaterThan(BEFORE / 4)

      for (const on of [a, b, revived]) {
        const tasks = new Map((await on.allTasks('s')).map((task) => [String(task.task_id), task]))
        expect(before.filter(({ id }) => tasks.has(id))).toEqual([])
        expect(after.filter(({ id }) => !tasks.has(id))).toEqual([])
        for (const { id } of after) {
          expect(tasks.get(id)).toMatchObject({
            target_text: `text ${id.slice(5)}`,
            row_index: Number(id.slice(5)),
          })
        }
        const others = [...tasks.keys()].filter((id) => !id.startsWith('race-')).sort()
        expect(others).toEqual(
          taskItems('s', 20)
            .map(({ task_id }) => String(task_id))
            .sort(),
        )
        // Anew means clean: nothing of before shines through.
        for (const id of others) {
          expect(tasks.get(id)).toMatchObject({ target_text: null, context: null, error_message: null })
        }
        expect((await on.session('s')).body).toMatchObject({ filename: 'anew' })
        expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0, lost: 0 })
      }
    },
    TEST_TIMEOUT_MS,
  )

  test(`${server}: a delete of what only a dead instance's journal holds answers 404, and nothing of it comes back`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const env = { DATABASE_URL: database.url }
    const dying = { ...env, INSTANCE_ID: 'dying', DATA_DIR: await scene.folder() }
    const [alive, dead] = await Promise.all([scene.start(env), scene.start(dying)])
    const on = instance(alive)
    await instance(dead).sessions([sessionItem('s'), sessionItem('spared')])
    await instance(dead).tasks([...taskItems('s', 50), ...taskItems('spared', 50)])
    await dead.kill()
    expect((await on.http.delete(`${SESSIONS}/s`)).status).toBe(404)

    const revived = instance(await scene.start(dying))
    await flush(revived)
    expect(await revived.balance()).toMatchObject({
      accepted: 100,
      stored: 50,
      voided: 50,
      buffered: 0,
      lost: 0,
    })
    expect((await on.session('s')).status).toBe(404)
    expect(await stored(database, 's')).toBe(0)
    expect((await on.allTasks('spared')).length).toBe(50)
  })

  test(
    `${server}: an upsert that waits in the server for a lock, of an instance that was killed, commits after a delete: its rows are removed again`,
    async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const env = { DATABASE_URL: database.url, REPEAT_DELETES_AFTER: String(REPEAT_SECONDS) }
      const dying = { ...env, INSTANCE_ID: 'dying', DATA_DIR: await scene.folder() }
      const [alive, killed] = await Promise.all([scene.start(env), scene.start(dying)])
      const on = instance(alive)
      await on.sessions([sessionItem('a-locked'), sessionItem('b-deleted')])
      await on.tasks([...taskItems('a-locked', 1), ...taskItems('b-deleted', 30)])
      await flush(on)

      await using other = await openConnection(database)
      await other.query('START TRANSACTION')
      await other.query("SELECT 1 FROM translation_tasks WHERE session_id = 'a-locked' FOR UPDATE")
      // Rows go in the order of their keys, so the statement has touched nothing of the second session yet.
      await instance(killed).tasks([
        ...taskItems('a-locked', 1, { target_text: 'late' }),
        ...taskItems('b-deleted', 60, { target_text: 'late' }),
      ])
      const flushed = instance(killed)
        .flush()
        .catch(() => null) // it dies with its answer
      await until(() => waits(database), { message: 'the upsert waits for the lock' })
      await killed.kill()
      await flushed
      expect((await on.http.delete(`${SESSIONS}/b-deleted`)).status).toBe(200)
      expect(await stored(database, 'b-deleted')).toBe(0)
      // Now it may go on, and does what it was told long ago.
      await other.query('ROLLBACK')
      await until(async () => (await stored(database, 'b-deleted')) === 60, {
        message: 'the late statement commits',
      })

      await until(async () => (await stored(database, 'b-deleted')) === 0, {
        message: () => `what came late is removed again\n${alive.output()}`,
        timeoutMs: GONE_WITHIN_MS,
      })
      // And its journal, which holds the same rows, brings none of them back.
      const revived = instance(await scene.start(dying))
      await flush(revived)
      expect(await stored(database, 'b-deleted')).toBe(0)
      for (const each of [on, revived]) {
        expect((await each.session('b-deleted')).status).toBe(404)
        expect(await each.allTasks('a-locked')).toMatchObject([{ target_text: 'late' }])
      }
    },
    TEST_TIMEOUT_MS,
  )

  test(`${server}: retention spares a session that another instance has reopened in its buffer, and keeps all of it`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const env = { DATABASE_URL: database.url, COUNT_CACHE: '0' }
    const [a, b] = (await Promise.all([scene.start(env), scene.start(env)])).map(instance) as [
      Instance,
      Instance,
    ]
    const ids = ['reopened', 'task-only', 'expired']
    await a.sessions(ids.map((id) => sessionItem(id, { status: 'completed', metadata: { of: id } })))
    await a.tasks(ids.flatMap((id) => taskItems(id, 20, { context: 'old' })))
    await flush(a)
    await b.patchSessions([{ session_id: 'reopened', status: 'processing' }])
    await b.patchTasks([{ session_id: 'task-only', task_id: 'task_3', target_text: 'new' }])
    expect((await b.health()).buffer.total_count).toBe(2)

    expect((await a.http.post(`${SESSIONS}/cleanup`, { completed_days: 0, failed_days: 0 })).status).toBe(200)
    for (const on of [a, b]) await flush(on)
    for (const on of [a, b]) {
      expect((await on.session('reopened')).body).toMatchObject({
        status: 'processing',
        filename: 'reopened.xlsx',
        metadata: { of: 'reopened' },
        total_tasks: 20,
      })
      expect((await on.allTasks('reopened')).length).toBe(20)
      expect((await on.session('task-only')).body).toMatchObject({ metadata: { of: 'task-only' } })
      expect((await on.allTasks('task-only')).length).toBe(20)
      expect((await on.session('expired')).status).toBe(404)
      expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0, lost: 0 })
    }
    expect(await stored(database, 'expired')).toBe(0)
  })

  test(
    `${server}: an upsert that waits for a lock while its session is deleted elsewhere: its own instance removes its rows again`,
    async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const env = { DATABASE_URL: database.url }
      const [a, b] = (await Promise.all([scene.start(env), scene.start(env)])).map(instance) as [
        Instance,
        Instance,
      ]
      await a.sessions([sessionItem('a-locked'), sessionItem('b-deleted')])
      await a.tasks([...taskItems('a-locked', 1), ...taskItems('b-deleted', 30)])
      await flush(a)
      await using other = await openConnection(database)
      await other.query('START TRANSACTION')
      await other.query("SELECT 1 FROM translation_tasks WHERE session_id = 'a-locked' FOR UPDATE")
      await b.tasks([...taskItems('a-locked', 1, { target_text: 'late' }), ...taskItems('b-deleted', 60)])
      const flushed = b.flush()
      await until(() => waits(database), { message: 'the upsert waits for the lock' })
      expect((await a.http.delete(`${SESSIONS}/b-deleted`)).status).toBe(200)
      // Accepted after it, by the one whose statement is still on its way: this stays.
      await clocksAgree()
      await b.tasks(taskItems('b-deleted', 2, { target_text: 'after' }))
      await other.query('ROLLBACK')
      await flushed
      await flush(b)
      expect(await a.allTasks('b-deleted')).toMatchObject([
        { target_text: 'after' },
        { target_text: 'after' },
      ])
      expect(await a.allTasks('a-locked')).toMatchObject([{ target_text: 'late' }])
      expect(await b.balance()).toMatchObject({ accepted: 63, buffered: 0, dead_lettered: 0, lost: 0 })
    },
    TEST_TIMEOUT_MS,
  )

  test(`${server}: a session reopened and stored between retention's look and its delete stays whole; the others go as a whole`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const proxy = await scene.proxy(database)
    const urls = [proxy.url, database.url]
    const [a, b] = (
      await Promise.all(urls.map((DATABASE_URL) => scene.start({ DATABASE_URL, COUNT_CACHE: '0' })))
    ).map(instance) as [Instance, Instance]
    const ids = Array.from({ length: 8 }, (_, i) => `s-${i}`)
    await a.sessions(ids.map((id) => sessionItem(id, { status: 'completed' })))
    await a.tasks(ids.flatMap((id) => taskItems(id, 5)))
    await flush(a)

    let held = proxy.holdBack('INSERT INTO tombstones')
    const cleaned = a.http.post(`${SESSIONS}/cleanup`, { completed_days: 0, failed_days: 0 })
    const reopened: string[] = []
    while (reopened.length < 3) {
      const { statement, sendOn } = await held
      const session_id = ids.find((id) => statement.includes(`'${id}'`))!
      const { status } = await b.http.patch(`${SESSIONS}/batch?wait=true`, {
        sessions: [{ session_id, status: 'processing' }],
      })
      expect(status).toBe(200)
      reopened.push(session_id)
      held = proxy.holdBack('INSERT INTO tombstones')
      sendOn()
    }
    ;(await held).sendOn()
    expect((await cleaned).body).toMatchObject({ deleted_sessions: 5, deleted_tasks: 25 })
    for (const on of [a, b]) await flush(on)
    for (const id of ids) {
      const isReopened = reopened.includes(id)
      const { status, body } = await a.session(id)
      expect({ id, status, tasks: await stored(database, id) }).toEqual({
        id,
        status: isReopened ? 200 : 404,
        tasks: isReopened ? 5 : 0,
      })
      if (isReopened) expect(body).toMatchObject({ status: 'processing', filename: `${id}.xlsx` })
    }
  })
}

/** Waits for longer than two clocks may differ: what is accepted then is newer, whoever accepts it. */
async function clocksAgree(): Promise<void> {
  const now = Date.now()
  await until(() => Date.now() > now + CLOCK_ERROR_MS, { message: 'a later time' })
}

async function flush(on: Instance): Promise<void> {
  await until(async () => (await on.flush()).status === 200, { message: 'a flush', timeoutMs: 30_000 })
}

async function stored(database: FreshDatabase, sessionId: string): Promise<number> {
  const [row] = await database.query<RowDataPacket[]>(
    'SELECT COUNT(*) AS n FROM translation_tasks WHERE session_id = ?',
    [sessionId],
  )
  return Number(row?.n)
}

async function waits(database: FreshDatabase): Promise<boolean> {
  const found = await database.query<RowDataPacket[]>(
    "SELECT 1 FROM information_schema.processlist WHERE db = ? AND info LIKE 'INSERT INTO `translation_tasks`%'",
    [database.name],
  )
  return found.length > 0
}
