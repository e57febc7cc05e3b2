/** The network between the service and its database: down, silent, slow, cut, and answers that get lost. */
import { expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { type FreshDatabase, sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import type { DatabaseProxy } from '../support/proxy.ts'
import { createScene } from '../support/scene.ts'
import { sessionItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

/** What the printed clients wait for a query and for a restore. */
const READ_WITHIN_MS = 5000
const RESTORE_WITHIN_MS = 10_000
const AT_ONCE_MS = 500
/** A look at a backend that is up every 5 s, of at most 2 s. */
const NOTICED_WITHIN_MS = 8000
/** A look every second at one that is down; a flush may still be waiting for its own timeout. */
const STORED_WITHIN_MS = 10_000
const UPSERT = 'INSERT INTO `translation_tasks`'

const OUTAGES: [title: string, begin: (proxy: DatabaseProxy) => unknown][] = [
  ['refuses connections', (proxy) => proxy.refuse()],
  ['is a black hole', (proxy) => proxy.hang()],
]

// Mostly waiting, so for both servers at the same time.
for (const [title, begin] of OUTAGES) {
  for (const server of sqlServers) {
    test.concurrent(`${server} ${title}: writes go on, reads fail in time, and everything is stored after its return`, async () => {
      await using scene = createScene()
      const proxy = await scene.proxy(await scene.database(server))
      const service = await scene.start({ DATABASE_URL: proxy.url, DB_STATEMENT_TIMEOUT: '3' })
      const on = instance(service)
      await on.sessions([sessionItem('s')])
      await on.tasks(taskItems('s', 100))
      expect((await on.flush()).status).toBe(200)

      await begin(proxy)
      // Nobody knows yet. Each of these finds out for itself, within what its client waits.
      const paths = ['sessions/s', 'sessions', 'sessions/s/tasks', 'tasks', 'tasks/task_1', 'stats']
      const reads = [...paths, 'recovery/incomplete-sessions', 'recovery/status'].map((path) =>
        timed(path, READ_WITHIN_MS, () => on.http.get(`/api/v1/translation/${path}`)),
      )
      const restore = timed('restore', RESTORE_WITHIN_MS, () =>
        on.http.post('/api/v1/translation/recovery/restore/s'),
      )
      const written = await on.tasks(taskItems('s', 100, { from: 100 }))
      expect(written.status).toBe(202)
      expect(
        (await on.patchTasks([{ session_id: 's', task_id: 'task_0', status: 'completed' }])).status,
      ).toBe(202)
      const answers = await Promise.all([...reads, restore])
      expect(answers.filter(({ late }) => late)).toEqual([])
      for (const { status, problem } of answers) {
        expect({ status, problem }).toEqual({ status: 503, problem: 'BACKEND_UNAVAILABLE' })
      }

      // Known to be down: whatever needs it is refused at once, the rest goes on.
      await until(async () => (await on.health()).status === 'degraded', {
        message: 'the outage is noticed',
        timeoutMs: NOTICED_WITHIN_MS,
      })
      expect((await on.http.get('/health')).status).toBe(200)
      expect((await on.health()).database).toBe('unhealthy')
      expect(await on.ready()).toBe(200)
      expect((await on.http.get('/health/live')).status).toBe(200)
      const known = await Promise.all([
        timed('flush', AT_ONCE_MS, on.flush),
        timed('session', AT_ONCE_MS, () => on.session('s')),
        timed('delete', AT_ONCE_MS, () => on.http.delete('/api/v1/translation/sessions/s')),
      ])
      expect(known.filter(({ late }) => late)).toEqual([])
      expect(known.map(({ status }) => status)).toEqual([503, 503, 503])
      const waited = await on.http.post('/api/v1/translation/tasks/batch?wait=true', {
        tasks: taskItems('s', 1, { from: 200 }),
      })
      expect(waited.status).toBe(504)
      expect(waited.body).toMatchObject({ accepted: true })
      expect((await on.health()).buffer.tasks_count).toBe(102)
      await on.balance()

      await proxy.pass()
      await until(async () => (await on.health()).buffer.total_count === 0, {
        message: () => `what was accepted is stored\n${service.output()}`,
        timeoutMs: STORED_WITHIN_MS,
      })
      expect(await on.health()).toMatchObject({ status: 'healthy', database: 'healthy' })
      const tasks = await on.allTasks('s')
      expect(tasks.length).toBe(201)
      expect(tasks.find(({ task_id }) => task_id === 'task_0')).toMatchObject({ status: 'completed' })
      expect(await on.balance()).toMatchObject({ accepted: 202, dead_lettered: 0, voided: 0, buffered: 0 })
    })
  }
}

for (const server of sqlServers) {
  test(`${server} answers slowly: writes are as fast as ever, and flush and reads are right`, async () => {
    await using scene = createScene()
    const proxy = await scene.proxy(await scene.database(server))
    const on = instance(await scene.start({ DATABASE_URL: proxy.url }))
    proxy.slow(100)
    const writes = [
      await timed('sessions', AT_ONCE_MS, () => on.sessions([sessionItem('s')])),
      await timed('tasks', AT_ONCE_MS, () => on.tasks(taskItems('s', 1000))),
    ]
    expect(writes.map(({ status, late }) => [status, late])).toEqual([
      [202, false],
      [202, false],
    ])
    expect((await on.flush()).status).toBe(200)
    expect((await on.session('s')).body).toMatchObject({ total_tasks: 1000, pending_tasks: 1000 })
    const restored = await on.http.post('/api/v1/translation/recovery/restore/s')
    expect(restored.body).toMatchObject({ tasks_count: 1000 })
    expect((await on.health()).status).toBe('healthy')
  })

  test(`${server}'s connections are cut again and again: every task is stored once, none is lost`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const proxy = await scene.proxy(database)
    const service = await scene.start({
      DATABASE_URL: proxy.url,
      MAX_BUFFER_SIZE: '100',
      BUFFER_MIN_BATCH_ROWS: '50',
      BUFFER_MAX_BATCH_ROWS: '100',
    })
    const on = instance(service)
    await on.sessions([sessionItem('s')])
    const [requests, rows] = [18, 100]
    for (let i = 0; i < requests; i++) {
      expect((await on.tasks(taskItems('s', rows, { from: i * rows }))).status).toBe(202)
      if (i % 3 === 2) {
        await until(() => proxy.connections() > 0, { message: 'a connection to cut' })
        proxy.cut()
      }
    }
    await until(async () => (await on.flush()).status === 200, {
      message: 'a flush succeeds',
      timeoutMs: 20_000,
    })
    expect(await storedTasks(database)).toBe(requests * rows)
    const { accepted, stored, merged, dead_lettered, buffered } = await on.balance()
    expect({ accepted, dead_lettered, buffered, gone: stored + merged }).toEqual({
      accepted: requests * rows,
      dead_lettered: 0,
      buffered: 0,
      gone: requests * rows,
    })
    expect(await on.ready()).toBe(200)
  })

  test(`${server} commits but its answer is lost: the rows are stored once, and what came in between wins`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const proxy = await scene.proxy(database)
    const on = instance(await scene.start({ DATABASE_URL: proxy.url }))
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', 500, { target_text: 'first' }))

    const lost = proxy.intercept(UPSERT, 'lose the answer')
    const flushed = on.flush()
    await lost
    expect(await storedTasks(database)).toBe(500)
    await on.patchTasks([{ session_id: 's', task_id: 'task_7', target_text: 'second' }])
    expect((await flushed).status).toBe(503)

    await empty(on)
    const tasks = await on.allTasks('s')
    expect(tasks.length).toBe(500)
    expect(tasks.filter(({ target_text }) => target_text === 'second').map(({ task_id }) => task_id)).toEqual(
      ['task_7'],
    )
    const created = new Set(tasks.map(({ created_at }) => created_at))
    expect(created.size).toBe(1)
    expect(await on.balance()).toMatchObject({ accepted: 501, stored: 500, merged: 1, dead_lettered: 0 })
  })

  test(`${server} never gets a statement: it is given up after its timeout, and sent again`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const proxy = await scene.proxy(database)
    const on = instance(await scene.start({ DATABASE_URL: proxy.url, DB_STATEMENT_TIMEOUT: '1' }))
    await on.tasks(taskItems('s', 100))
    const held = proxy.intercept(UPSERT, 'hold')
    const flushed = on.flush()
    await held
    // Meanwhile writes go on, also to the rows that are under way.
    expect((await on.tasks(taskItems('s', 200, { target_text: 'later' }))).status).toBe(202)
    expect((await flushed).status).toBe(503)
    await empty(on)
    expect(await storedTasks(database)).toBe(200)
    expect((await on.allTasks('s')).every(({ target_text }) => target_text === 'later')).toBe(true)
    expect(await on.balance()).toMatchObject({ accepted: 300, stored: 200, merged: 100, dead_lettered: 0 })
  })
}

interface Timed {
  what: string
  status: number
  problem: unknown
  ms: number
  late: boolean
}

/** Calls, and says whether the answer came within the time. */
async function timed(
  what: string,
  withinMs: number,
  call: () => ReturnType<Instance['flush']>,
): Promise<Timed> {
  const begunMs = performance.now()
  const { status, body } = await call()
  const ms = Math.round(performance.now() - begunMs)
  return { what, status, problem: body?.error_code, ms, late: ms > withinMs }
}

async function empty(on: Instance): Promise<void> {
  await until(async () => (await on.health()).buffer.total_count === 0, {
    message: 'nothing is buffered any more',
    timeoutMs: STORED_WITHIN_MS,
  })
}

async function storedTasks(database: FreshDatabase): Promise<number> {
  const [row] = await database.query<RowDataPacket[]>('SELECT COUNT(*) AS n FROM translation_tasks')
  return Number(row?.n)
}
