/** When the buffer flushes by itself, and what happens when it is full. */
import { expect, test } from 'bun:test'
import { recordBackends, sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { sessionItem, taskItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const AT_ONCE_MS = 1000

for (const backend of recordBackends) {
  test(`${backend.name}: rows are stored after FLUSH_INTERVAL, at MAX_BUFFER_SIZE rows, at BUFFER_FLUSH_BYTES, and when a session ends`, async () => {
    await using scene = createScene()
    const start = async (settings: Record<string, string>) => {
      const { env, drop } = await backend.freshEnv()
      scene.defer(drop)
      return instance(await scene.start({ ...env, ...settings }))
    }
    const byTime = await start({ FLUSH_INTERVAL: '0.5' })
    await byTime.tasks(taskItems('s', 5))
    expect((await byTime.health()).buffer.tasks_count).toBe(5)
    await stored(byTime, 5)

    const on = await start({ MAX_BUFFER_SIZE: '20', BUFFER_FLUSH_BYTES: '40000' })
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', 19))
    expect((await on.health()).buffer).toMatchObject({ tasks_count: 19, sessions_count: 1 })
    await on.tasks(taskItems('s', 1, { from: 19 }))
    await stored(on, 20)
    // The limit is each collection's own.
    expect((await on.health()).buffer).toMatchObject({ tasks_count: 0, sessions_count: 1 })

    await on.tasks([taskItem('s', 'short')])
    expect((await on.health()).buffer.tasks_count).toBe(1)
    await on.tasks([taskItem('s', 'long', { source_text: '长'.repeat(20_000) })])
    await stored(on, 22)

    await on.tasks(taskItems('s', 5, { from: 100 }))
    expect((await on.health()).buffer).toMatchObject({ tasks_count: 5, sessions_count: 1 })
    await on.patchSessions([{ session_id: 's', status: 'failed' }])
    await stored(on, 27)
    await until(async () => (await on.health()).buffer.total_count === 0, {
      message: 'the session is stored too',
    })
  })
}

for (const server of sqlServers) {
  test(`with ${server} away a full buffer refuses whole requests with Retry-After, and never grows past BUFFER_MAX_ROWS`, async () => {
    await using scene = createScene()
    const { on, proxy } = await cutOff(scene, server)
    expect((await on.tasks(taskItems('s', 90))).status).toBe(202)
    const refused = await on.tasks(taskItems('s', 11, { from: 90 }))
    expect(refused.status).toBe(503)
    expect(refused.body).toMatchObject({ error_code: 'BUFFER_FULL', status: 503 })
    const seconds = Number(refused.headers.get('retry-after'))
    expect(Number.isInteger(seconds) && seconds >= 1 && seconds <= 60).toBe(true)
    // Whole: not one of the eleven was taken.
    expect((await on.health()).buffer).toMatchObject({ total_count: 90, capacity: 100 })
    // Once full, it stays so until there is room again: a small request doesn't slip through.
    expect((await on.tasks(taskItems('s', 1, { from: 200 }))).status).toBe(503)
    expect((await on.sessions([sessionItem('s')])).status).toBe(503)
    expect(await on.ready()).toBe(200)
    expect(await on.balance()).toMatchObject({ accepted: 90, buffered: 90 })

    await proxy.pass()
    await until(async () => (await on.health()).buffer.total_count === 0, { message: 'the buffer drains' })
    expect((await on.tasks(taskItems('s', 11, { from: 90 }))).status).toBe(202)
    expect((await on.flush()).status).toBe(200)
    expect((await on.allTasks('s')).length).toBe(101)
    expect(await on.balance()).toMatchObject({ accepted: 101, stored: 101, dead_lettered: 0 })
  })
}

test('a buffer that is full while its database is well is flushed at once, whatever FLUSH_INTERVAL says', async () => {
  await using scene = createScene()
  const on = instance(await scene.start({ BUFFER_MAX_ROWS: '100', MAX_BUFFER_SIZE: '100' }))
  expect((await on.tasks(taskItems('s', 90))).status).toBe(202)
  expect((await on.tasks(taskItems('s', 20, { from: 90 }))).status).toBe(503)
  await stored(on, 90)
  expect((await on.tasks(taskItems('s', 20, { from: 90 }))).status).toBe(202)
})

// The buffer's own rules, whichever server it is.
for (const server of sqlServers.slice(0, 1)) {
  test(`after ${server} is back, a request of up to BUFFER_MAX_ROWS rows fits into the empty buffer again`, async () => {
    await using scene = createScene()
    const { on, proxy } = await cutOff(scene, server)
    expect((await on.tasks(taskItems('s', 90))).status).toBe(202)
    expect((await on.tasks(taskItems('s', 90, { from: 90 }))).status).toBe(503)
    await proxy.pass()
    await until(async () => (await on.health()).buffer.total_count === 0, { message: 'the buffer drains' })
    expect((await on.tasks(taskItems('s', 90, { from: 90 }))).status).toBe(202)
  })

  test(`with ${server} away, rewriting what is buffered takes no more room`, async () => {
    await using scene = createScene()
    const { on } = await cutOff(scene, server)
    expect((await on.tasks(taskItems('s', 60))).status).toBe(202)
    for (const status of ['processing', 'completed', 'failed']) {
      expect((await on.tasks(taskItems('s', 30, { status }))).status).toBe(202)
      expect((await on.health()).buffer.total_count).toBe(60)
    }
    await until(async () => (await on.balance()).merged === 90, {
      message: 'merged, whatever flush is tried',
    })
    expect(await on.balance()).toMatchObject({ accepted: 150, merged: 90, buffered: 60 })
  })

  test(`with ${server} away a buffer full of bytes refuses too`, async () => {
    await using scene = createScene()
    const { on } = await cutOff(scene, server, {
      BUFFER_MAX_BYTES: '200000',
      BUFFER_FLUSH_BYTES: '200000',
    })
    const long = (task: string) => [taskItem('s', task, { source_text: 'x'.repeat(60_000) })]
    expect((await on.tasks(long('one'))).status).toBe(202)
    const refused = await on.tasks(long('two'))
    expect([refused.status, refused.body.error_code]).toEqual([503, 'BUFFER_FULL'])
    expect((await on.health()).buffer.total_count).toBe(1)
  })
}

async function stored(on: Instance, tasks: number): Promise<void> {
  await until(
    async () => {
      const figures = await on.balance()
      return figures.stored === tasks && figures.buffered === 0
    },
    { message: `${tasks} tasks are stored without being asked for`, timeoutMs: 500 + AT_ONCE_MS },
  )
}

/** A ready instance with room for 100 rows, whose database has just gone. */
async function cutOff(scene: Scene, server: (typeof sqlServers)[number], env: Record<string, string> = {}) {
  const proxy = await scene.proxy(await scene.database(server))
  const service = await scene.start({
    DATABASE_URL: proxy.url,
    BUFFER_MAX_ROWS: '100',
    MAX_BUFFER_SIZE: '50',
    ...env,
  })
  await proxy.refuse()
  return { on: instance(service), proxy }
}
