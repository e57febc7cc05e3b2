/** The start: how fast it answers, what it refuses to start with, and what it waits for. */
import { expect, test } from 'bun:test'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RowDataPacket } from 'mysql2/promise'
import { recordBackends, type SqlServer, sqlServers } from '../support/backends.ts'
import { instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import { runService, type Service } from '../support/service.ts'
import { sessionItem, taskItem } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const HEALTH_WITHIN_MS = 5000
/** The longest pause between two attempts to reach a database for the first time is 5 s. */
const FIRST_CONTACT_MS = 10_000

const listening = (service: Service) => service.logs.find(({ message }) => message === 'listening')?.meta

for (const backend of recordBackends) {
  test(`a start on an empty ${backend.name} answers /health within seconds`, async () => {
    await using scene = createScene()
    const { env, drop } = await backend.freshEnv()
    scene.defer(drop)
    const begunMs = performance.now()
    const service = await scene.start(env, 'listening')
    const answer = await fetch(`${service.url}/health`)
    const tookMs = performance.now() - begunMs
    console.log(`${backend.name}: /health answered ${Math.round(tookMs)} ms after the start of the process`)
    expect(answer.status).toBe(200)
    expect(tookMs).toBeLessThan(HEALTH_WITHIN_MS)
  })

  test(`migrate makes the tables of an empty ${backend.name} and ends with 0, as often as it is run`, async () => {
    await using scene = createScene()
    const { env, drop } = await backend.freshEnv()
    scene.defer(drop)
    const first = await runService({ env, args: ['migrate'] })
    expect(first.output).not.toContain('"level":"ERROR"')
    expect(first.code).toBe(0)
    const again = await runService({ env, args: ['migrate'] })
    expect(again.code).toBe(0)

    // What it made is whole: an instance that must not migrate works on it.
    const service = await scene.start({ ...env, MIGRATE_ON_START: 'false' })
    const on = instance(service)
    expect((await on.sessions([sessionItem('s')])).status).toBe(202)
    expect((await on.flush()).body).toMatchObject({ status: 'flushed', sessions_written: 1 })
  })

  test(`with MIGRATE_ON_START=false an instance on an empty ${backend.name} gets ready once migrate was run`, async () => {
    await using scene = createScene()
    const { env, drop } = await backend.freshEnv()
    scene.defer(drop)
    const service = await scene.start({ ...env, MIGRATE_ON_START: 'false' }, 'listening')
    const on = instance(service)
    await on.logged('backend not reached yet')
    expect(await on.ready()).toBe(503)
    expect((await on.sessions([sessionItem('s')])).body).toMatchObject({ error_code: 'NOT_READY' })

    const migrator = await runService({ env: { ...env, INSTANCE_ID: 'migrator' }, args: ['migrate'] })
    expect(migrator.code).toBe(0)
    await until(async () => (await on.ready()) === 200, {
      message: 'ready after the migration',
      timeoutMs: FIRST_CONTACT_MS,
    })
    expect((await on.sessions([sessionItem('s')])).status).toBe(202)
  })
}

test('SERVICE_PORT=0 takes a free port, and the line "listening" says which', async () => {
  await using scene = createScene()
  const [one, two] = [await scene.start({ SERVICE_PORT: '0' }), await scene.start({ SERVICE_PORT: '0' })]
  const [onePort, twoPort] = [listening(one)?.port, listening(two)?.port]
  expect(onePort).toBeGreaterThan(0)
  expect(twoPort).not.toBe(onePort)
  expect((await fetch(`http://127.0.0.1:${onePort}/health/live`)).status).toBe(200)
  expect(listening(one)?.url).toBe(`http://127.0.0.1:${onePort}`)
})

test('a port that is taken ends the start, and the output names the port', async () => {
  await using scene = createScene()
  const first = await scene.start({})
  const port = new URL(first.url).port
  const second = await runService({
    env: { SERVICE_HOST: '127.0.0.1', SERVICE_PORT: port, DATA_DIR: await scene.folder() },
  })
  expect(second.code).not.toBe(0)
  expect(second.output).toContain(port)
  expect((await fetch(`${first.url}/health/live`)).status).toBe(200)
})

test('a faulty configuration ends the start with 78, every fault of environment and file named, no secret shown', async () => {
  await using scene = createScene()
  const folder = await scene.folder()
  const file = join(folder, 'config.yaml')
  await writeFile(file, 'buffer:\n  flush_intervall: 3\nretention:\n  completed_days: many\n')
  const { code, output } = await runService({
    env: {
      CONFIG_FILE: file,
      DATA_DIR: folder,
      SERVICE_PORT: '70000',
      FLUSH_INTERVAL: 'soon',
      MAX_BUFFER_SIZE: '300000',
      LOG_LEVEL: 'loud',
      DATABASE_URL: 'mysql://user:hunter2@/x y',
    },
  })
  expect(code).toBe(78)
  const keys = ['SERVICE_PORT', 'FLUSH_INTERVAL', 'MAX_BUFFER_SIZE', 'LOG_LEVEL', 'DATABASE_URL']
  for (const key of [...keys, 'buffer.flush_intervall', 'retention.completed_days']) {
    expect(output).toMatch(new RegExp(`^${key.replace('.', '\\.')}: expected `, 'm'))
  }
  expect(output).not.toContain('hunter2')
})

test('a CONFIG_FILE that is not there ends the start with 78', async () => {
  await using scene = createScene()
  const folder = await scene.folder()
  const { code, output } = await runService({
    env: { DATA_DIR: folder, CONFIG_FILE: join(folder, 'missing.yaml') },
  })
  expect(code).toBe(78)
  expect(output).toContain('CONFIG_FILE')
})

test('a DATA_DIR that can hold nothing ends the start with 78 and names it', async () => {
  await using scene = createScene()
  const file = join(await scene.folder(), 'a_file')
  await writeFile(file, '')
  const { code, output } = await runService({ env: { DATA_DIR: file, SERVICE_PORT: '0' } })
  expect(code).toBe(78)
  expect(output).toContain(file)
})

test('an instance makes its INSTANCE_ID once, keeps it in DATA_DIR, and a given one wins', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const first = await scene.start({ DATA_DIR })
  const { instance_id: made } = await instance(first).health()
  expect(made).toMatch(/^[A-Za-z0-9._-]{1,64}$/)
  expect(await first.stop()).toBe(0)
  expect((await readFile(join(DATA_DIR, 'instance_id'), 'utf8')).trim()).toBe(made)

  const second = await scene.start({ DATA_DIR })
  expect((await instance(second).health()).instance_id).toBe(made)
  expect(second.logs.every((line) => line.instance === made)).toBe(true)
  await second.stop()

  const given = await scene.start({ DATA_DIR, INSTANCE_ID: 'blue-1' })
  expect((await instance(given).health()).instance_id).toBe('blue-1')
  expect((await readFile(join(DATA_DIR, 'instance_id'), 'utf8')).trim()).toBe(made)

  const elsewhere = await scene.start({})
  expect((await instance(elsewhere).health()).instance_id).not.toBe(made)
})

for (const server of sqlServers) {
  describeFailedMigration(server, 'a view in the place of translation_tasks', [
    'CREATE VIEW translation_tasks AS SELECT 1 AS task_id',
  ])
  describeFailedMigration(server, 'a table that is no translation_tasks of any version', [
    'CREATE TABLE translation_tasks (id INT PRIMARY KEY, word TEXT)',
  ])
  describeFailedMigration(server, 'a table that is no leases', ['CREATE TABLE leases (id INT PRIMARY KEY)'])

  test(`an unreachable ${server} is waited for: degraded, not ready, writes refused, all well once it appears`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const proxy = await scene.proxy(database, { open: false })
    const service = await scene.start({ DATABASE_URL: proxy.url }, 'listening')
    const on = instance(service)
    await on.logged('backend not reached yet')

    const health = await on.http.get('/health')
    expect(health.status).toBe(200)
    expect(health.body).toMatchObject({ status: 'degraded', database: 'unhealthy' })
    expect((await on.http.get('/health/live')).status).toBe(200)
    expect(await on.ready()).toBe(503)
    // A probe that is told "not yet" has its answer: nothing failed.
    expect(service.logs.filter(({ level }) => level === 'ERROR')).toEqual([])
    const write = await on.tasks([taskItem('s', 't')])
    expect(write.status).toBe(503)
    expect(write.body).toMatchObject({ error_code: 'NOT_READY' })
    expect(Number(write.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await on.session('s')).status).toBe(503)
    expect((await on.flush()).status).toBe(503)

    await proxy.pass()
    await until(async () => (await on.ready()) === 200, {
      message: () => `ready once the database is there\n${service.output()}`,
      timeoutMs: FIRST_CONTACT_MS,
    })
    expect((await on.tasks([taskItem('s', 't')])).status).toBe(202)
    expect((await on.flush()).body).toMatchObject({ status: 'flushed', tasks_written: 1 })
    expect((await on.health()).status).toBe('healthy')
    expect(await service.stop()).toBe(0)
  })

  test(`migrate on ${server} counts as no instance: it registers none, and signs off none that runs from the same folder`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const DATA_DIR = await scene.folder()
    const env = { DATABASE_URL: database.url, DATA_DIR }
    const instances = () =>
      database.query<RowDataPacket[]>('SELECT instance_id, number, started_at FROM instances')
    expect((await runService({ env, args: ['migrate'] })).code).toBe(0)
    expect(await instances()).toEqual([])
    const on = instance(await scene.start(env))
    const before = await instances()
    expect(before.length).toBe(1)
    expect((await runService({ env, args: ['migrate'] })).code).toBe(0)
    expect(await instances()).toEqual(before)
    expect(await on.ready()).toBe(200)
  })

  test(`a database that ${server} doesn't have yet is made`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    await database.drop()
    const on = instance(await scene.start({ DATABASE_URL: database.url }))
    await on.tasks([taskItem('s', 't')])
    expect((await on.flush()).body).toMatchObject({ tasks_written: 1 })
  })
}

function describeFailedMigration(server: SqlServer, title: string, statements: string[]): void {
  test(`${server}: ${title} ends the start, and migrate, with 78 and is left as it is`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    for (const statement of statements) await database.query(statement)
    const objects = () => database.query('SHOW FULL TABLES LIKE ?', ['translation_tasks'])
    const before = await objects()
    const env = { DATABASE_URL: database.url, SERVICE_HOST: '127.0.0.1', SERVICE_PORT: '0' }
    for (const args of [[], ['migrate']]) {
      const folder = await scene.folder()
      const { code, output } = await runService({ env: { ...env, DATA_DIR: folder }, args })
      expect(code).toBe(78)
      expect(output).toContain('migration')
      expect(output).toContain('"level":"ERROR"')
    }
    expect(await objects()).toEqual(before)
  })
}
