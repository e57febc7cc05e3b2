/** The end: what is buffered is stored, or the exit code says that it was not; it never takes longer than told. */
import { expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { type FreshDatabase, recordBackends, sqlServers } from '../support/backends.ts'
import { instance } from '../support/instance.ts'
import type { DatabaseProxy } from '../support/proxy.ts'
import { createScene, type Scene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { sessionItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const SHUTDOWN_TIMEOUT_S = 2
/** What a process takes to end, besides its deadline. */
const SLACK_MS = 2500
const ROWS_LEFT = 75

for (const backend of recordBackends) {
  test(`SIGTERM stores what is buffered in ${backend.name}, says so in one line, and ends with 0`, async () => {
    await using scene = createScene()
    const { env, drop } = await backend.freshEnv()
    scene.defer(drop)
    const service = await scene.start(env)
    const on = instance(service)
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', 900))
    expect((await on.health()).buffer.total_count).toBe(901)
    expect(await service.stop()).toBe(0)
    expect(service.logs.filter(({ message }) => message === 'stopped')).toMatchObject([
      { level: 'INFO', meta: { rows_left: 0 } },
    ])
    const begun = service.logs.findIndex(({ message }) => message === 'shutting down')
    expect(service.logs.slice(begun).filter(({ level }) => level !== 'INFO')).toEqual([])

    const next = instance(await scene.start(env))
    expect((await next.allTasks('s')).length).toBe(900)
  })
}

test('SIGINT is the same as SIGTERM', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const service = await scene.start({ DATA_DIR })
  await instance(service).tasks(taskItems('s', 10))
  service.signal('SIGINT')
  expect(await service.exited).toBe(0)
  expect((await instance(await scene.start({ DATA_DIR })).allTasks('s')).length).toBe(10)
})

test('a SHUTDOWN_TIMEOUT of one second is enough to store what is buffered in a store that is well', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const service = await scene.start({ DATA_DIR, SHUTDOWN_TIMEOUT: '1' })
  await instance(service).tasks(taskItems('s', 1000))
  expect(await service.stop()).toBe(0)
  expect((await instance(await scene.start({ DATA_DIR })).allTasks('s')).length).toBe(1000)
})

test('DRAIN_GRACE: not ready from the signal on, but writes are accepted until it is over, and stored', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const service = await scene.start({ DATA_DIR, DRAIN_GRACE: '1.5' })
  const on = instance(service)
  const begunMs = performance.now()
  service.signal('SIGTERM')
  await on.logged('shutting down')
  expect((await on.tasks(taskItems('s', 10))).status).toBe(202)
  expect((await on.http.get('/health/live')).status).toBe(200)
  expect(await on.ready()).toBe(503)
  expect((await on.tasks(taskItems('s', 10, { from: 10 }))).status).toBe(202)
  expect(await service.exited).toBe(0)
  expect(performance.now() - begunMs).toBeGreaterThan(1500)
  expect((await instance(await scene.start({ DATA_DIR })).allTasks('s')).length).toBe(20)
})

test('an instance that never reached its database ends at once, with 0: it has accepted nothing', async () => {
  await using scene = createScene()
  const service = await scene.start({ DATABASE_URL: 'mysql://nobody@127.0.0.1:1/nothing' }, 'listening')
  await instance(service).logged('backend not reached yet')
  const begunMs = performance.now()
  expect(await service.stop()).toBe(0)
  expect(performance.now() - begunMs).toBeLessThan(SLACK_MS)
})

const WAYS: [title: string, begin: (proxy: DatabaseProxy, service: Service) => unknown][] = [
  ['refuses connections', (proxy) => proxy.refuse()],
  ['is a black hole', (proxy) => proxy.hang()],
  ['went silent in the middle of a flush', silentInFlush],
]

// Mostly waiting, so for both servers at the same time.
for (const [title, begin] of WAYS) {
  for (const server of sqlServers) {
    test.concurrent(`${server} ${title}: SIGTERM ends with 75 within SHUTDOWN_TIMEOUT, and one line counts the rows`, async () => {
      await using scene = createScene()
      const { service, proxy, database } = await startBuffered(scene, server)
      await begin(proxy, service)
      const begunMs = performance.now()
      const code = await service.stop()
      const tookMs = performance.now() - begunMs
      expect(code, service.output()).toBe(ROWS_LEFT)
      expect(tookMs).toBeLessThan(SHUTDOWN_TIMEOUT_S * 1000 + SLACK_MS)
      const last = service.logs.filter(({ message }) => message === 'stopped')
      expect(last.map(({ meta }) => meta?.rows_left)).toEqual([901])
      // It did not sign off: others have to know that rows may be left here.
      const [row] = await database.query<RowDataPacket[]>('SELECT state FROM instances')
      expect(row?.state).not.toBe('gone')
    })
  }
}

for (const server of sqlServers) {
  test(`${server} is away while an instance ends: it takes no new write, still answers, and stores all if it returns in time`, async () => {
    await using scene = createScene()
    const { service, proxy, database } = await startBuffered(scene, server, { SHUTDOWN_TIMEOUT: '20' })
    const on = instance(service)
    await proxy.refuse()
    service.signal('SIGTERM')
    await on.logged('shutting down')
    await until(async () => (await on.ready()) === 503, { message: 'not ready any more' })
    for (const write of [on.tasks(taskItems('s', 1)), on.patchSessions([sessionItem('s')])]) {
      const { status, body, headers } = await write
      expect([status, body.error_code]).toEqual([503, 'SHUTTING_DOWN'])
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    }
    expect((await on.http.get('/health/live')).status).toBe(200)
    expect((await on.health()).buffer.total_count).toBe(901)

    await proxy.pass()
    expect(await service.exited).toBe(0)
    const [row] = await database.query<RowDataPacket[]>('SELECT COUNT(*) AS n FROM translation_tasks')
    expect(Number(row?.n)).toBe(900)
  })
}

const [anyServer] = sqlServers

test.skipIf(!anyServer)(
  `a second signal ends a shutdown at once${anyServer ? '' : ' (left out: no server to be cut off from)'}`,
  async () => {
    await using scene = createScene()
    const { service, proxy } = await startBuffered(scene, anyServer!, { SHUTDOWN_TIMEOUT: '25' })
    proxy.hang()
    service.signal('SIGTERM')
    await instance(service).logged('shutting down')
    const begunMs = performance.now()
    service.signal('SIGTERM')
    expect(await service.exited).toBe(ROWS_LEFT)
    expect(performance.now() - begunMs).toBeLessThan(SLACK_MS)
  },
)

test.skipIf(!anyServer)(
  `a request that is under way when the signal comes is answered, not cut off${anyServer ? '' : ' (left out: no server to be slow)'}`,
  async () => {
    await using scene = createScene()
    const database = await scene.database(anyServer!)
    const proxy = await scene.proxy(database)
    const service = await scene.start({ DATABASE_URL: proxy.url })
    // Its rows are stored, but what became of them can't be read back in the 1.5 s that it waits.
    const held = proxy.intercept('WHERE (`session_id`, `task_id`) IN', 'hold')
    const waited = instance(service).http.post('/api/v1/translation/tasks/batch?wait=true', {
      tasks: taskItems('s', 100),
    })
    await held
    service.signal('SIGTERM')
    const { status, body } = await waited
    expect([status, body.accepted]).toEqual([504, true])
    expect(await service.exited).toBe(0)
  },
)

/** An instance behind a proxy, with 1 session and 900 tasks in its buffer; its jobs run every second. */
async function startBuffered(
  scene: Scene,
  server: (typeof sqlServers)[number],
  env: Record<string, string> = {},
): Promise<{ service: Service; proxy: DatabaseProxy; database: FreshDatabase }> {
  const database = await scene.database(server)
  const proxy = await scene.proxy(database)
  const service = await scene.start({
    DATABASE_URL: proxy.url,
    SHUTDOWN_TIMEOUT: String(SHUTDOWN_TIMEOUT_S),
    RETENTION_INTERVAL: '1',
    ...env,
  })
  const on = instance(service)
  await on.sessions([sessionItem('s')])
  await on.tasks(taskItems('s', 900))
  return { service, proxy, database }
}

async function silentInFlush(proxy: DatabaseProxy, service: Service): Promise<void> {
  const both = ['translation_sessions', 'translation_tasks'].map((table) =>
    proxy.intercept(`INSERT INTO \`${table}\``, 'hold'),
  )
  // Not waited for: its answer does not come before the signal.
  instance(service)
    .flush()
    .catch(() => undefined)
  await Promise.all(both)
  proxy.hang()
}
