/** Several instances on one database, started at the same moment. */
import { expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { type FreshDatabase, sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import { sessionItem, taskItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const INSTANCES = 3
const ROUNDS_WATCHED = 4

for (const server of sqlServers) {
  test(`${INSTANCES} instances started at once on an empty ${server} all get ready: one migrates, each has a number`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const services = await Promise.all(
      Array.from({ length: INSTANCES }, (_, i) =>
        scene.start({ DATABASE_URL: database.url, INSTANCE_ID: `instance-${i}` }),
      ),
    )
    const migrations = await database.query<RowDataPacket[]>('SELECT name FROM schema_migrations')
    expect(migrations.map(({ name }) => name)).toEqual([
      '0001_translation',
      '0002_instance_flushes',
      '0003_instance_holders',
    ])
    const rows = await database.query<RowDataPacket[]>('SELECT instance_id, number, state FROM instances')
    expect(rows.map(({ instance_id }) => instance_id).sort()).toEqual([
      'instance-0',
      'instance-1',
      'instance-2',
    ])
    expect(new Set(rows.map(({ number }) => number)).size).toBe(INSTANCES)
    expect(rows.every(({ number }) => number >= 1 && number <= 1023)).toBe(true)
    expect(rows.every(({ state }) => state === 'live')).toBe(true)
    // The lease of the migrations was given back.
    const leases = await database.query<RowDataPacket[]>(
      "SELECT expires_at FROM leases WHERE name = 'migrations'",
    )
    expect(leases.map(({ expires_at }) => Number(expires_at))).toEqual([0])
    for (const { logs } of services) {
      expect(logs.filter(({ message }) => message === 'backend ready').length).toBe(1)
    }

    // A number is kept across a restart, and an orderly end signs off.
    const numberOf = async (id: string) =>
      (
        await database.query<RowDataPacket[]>('SELECT number, state FROM instances WHERE instance_id = ?', [
          id,
        ])
      )[0]
    const before = await numberOf('instance-1')
    expect(await services[1]!.stop()).toBe(0)
    expect((await numberOf('instance-1'))?.state).toBe('gone')
    await scene.start({ DATABASE_URL: database.url, INSTANCE_ID: 'instance-1' })
    expect(await numberOf('instance-1')).toEqual(before)
  })

  test(`halves of a row accepted by two instances on ${server} make the newest of each field, in whatever order they are flushed`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const env = { DATABASE_URL: database.url }
    const [a, b] = (await Promise.all([scene.start(env), scene.start(env)])).map(instance) as [
      Instance,
      Instance,
    ]

    // Four tasks; the last word on each field came from here or there, each time after the other one's.
    await a.sessions([sessionItem('s', { total_tasks: 1 })])
    await b.patchSessions([{ session_id: 's', total_tasks: 4, metadata: { from: 'b' } }])
    await a.tasks(taskItems('s', 4, { status: 'pending', context: 'a wrote it' }))
    await nextMillisecond()
    await b.patchTasks([
      { session_id: 's', task_id: 'task_0', status: 'completed', target_text: '完成' },
      { session_id: 's', task_id: 'task_1', context: null },
      { session_id: 's', task_id: 'task_2', status: 'processing', target_text: 'b was first' },
    ])
    await nextMillisecond()
    await a.patchTasks([
      { session_id: 's', task_id: 'task_2', target_text: 'a was last' },
      { session_id: 's', task_id: 'task_3', retry_count: 7 },
    ])
    await nextMillisecond()
    // Crossed: what is newer lands first. A write that waits is flushed by its own instance alone.
    const last = { session_id: 's', task_id: 'task_3', retry_count: 8, confidence: 0.5 }
    const waited = await b.http.patch('/api/v1/translation/tasks/batch?wait=true', { tasks: [last] })
    expect(waited.status).toBe(200)
    expect((await a.flush()).body).toMatchObject({ sessions_written: 2, tasks_written: 4 })

    for (const on of [a, b]) {
      expect((await on.session('s')).body).toMatchObject({ total_tasks: 4, metadata: { from: 'b' } })
      expect(await on.allTasks('s')).toMatchObject([
        { status: 'completed', target_text: '完成', context: 'a wrote it', source_text: 'source of task_0' },
        { status: 'pending', target_text: null, context: null },
        { status: 'processing', target_text: 'a was last', context: 'a wrote it' },
        { status: 'pending', retry_count: 8, confidence: 0.5, context: 'a wrote it' },
      ])
      expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0, voided: 0 })
    }
  })

  test(`both instances writing the same keys at full speed on ${server} agree at the end, and lose nothing`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const env = { DATABASE_URL: database.url, MAX_BUFFER_SIZE: '200' }
    const both = (await Promise.all([scene.start(env), scene.start(env)])).map(instance)
    await both[0]!.sessions([sessionItem('s')])

    // The same 400 keys from both sides, flushing by size all the while: deadlocks are the servers' daily bread.
    const rounds = 6
    await Promise.all(
      both.map(async (on, side) => {
        for (let round = 0; round < rounds; round++) {
          const items = taskItems('s', 400, {
            target_text: `side ${side}, round ${round}`,
            retry_count: round,
          })
          const answer = await on.tasks(side === 0 ? items : items.reverse())
          expect(answer.status).toBe(202)
        }
      }),
    )
    for (const on of both) expect((await on.flush()).status).toBe(200)
    for (const on of both) {
      expect(await on.balance()).toMatchObject({ accepted: 400 * rounds, buffered: 0, dead_lettered: 0 })
    }
    const tasks = await both[0]!.allTasks('s')
    expect(tasks.length).toBe(400)
    // The request that was accepted last wins in every key: the last round of one side.
    const words = new Set(tasks.map(({ target_text, retry_count }) => `${target_text}: ${retry_count}`))
    expect(words.size).toBe(1)
    expect([...words][0]).toMatch(new RegExp(`^side [01], round ${rounds - 1}: ${rounds - 1}$`))
    expect(await both[1]!.allTasks('s')).toEqual(tasks)
  })
}

// Mostly waiting, so for both servers at the same time.
for (const server of sqlServers) {
  test.concurrent(`a job runs in one instance at a time on ${server}: once an interval, never while another holds its lease`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const env = { DATABASE_URL: database.url, RETENTION_INTERVAL: '1' }
    const services = await Promise.all([scene.start(env), scene.start(env), scene.start(env)])
    const logged = (message: string) =>
      services.flatMap(({ logs }) => logs.filter((line) => line.message === message))
    const rounds = () =>
      logged('retention finished')
        .map(({ timestamp }) => Date.parse(timestamp))
        .sort((a, b) => a - b)

    // A delete that an instance left unfinished when it died: its tombstone, and rows of before.
    const [one, two] = services.map(instance) as [Instance, Instance]
    await one.sessions([sessionItem('dead'), sessionItem('alive')])
    await one.tasks([taskItem('dead', 't'), taskItem('alive', 't')])
    await one.flush()
    const stamp = (BigInt(Date.now() + 1) << 22n).toString(16).padStart(16, '0')
    await database.query(
      `INSERT INTO tombstones (collection, group_key, stamp, finished, created_at) VALUES ('translation_sessions', 'dead', X'${stamp}', 0, 0)`,
    )
    expect((await two.session('dead')).status).toBe(404)

    await until(() => rounds().length >= ROUNDS_WATCHED, {
      message: 'rounds of retention',
      timeoutMs: 20_000,
    })
    const times = rounds()
    const pauses = times.slice(1).map((time, i) => time - times[i]!)
    // An interval of 1 s by the database's clock; the moment of the log line may vary by a few statements.
    expect(Math.min(...pauses)).toBeGreaterThan(800)

    // Somebody else holds the lease for a while: nobody runs, until it has expired.
    const heldFrom = Date.now()
    const heldUntil = heldFrom + 3000
    await database.query(
      "UPDATE leases SET owner = 'somebody else', fence = fence + 1, expires_at = ? WHERE name = 'job:retention'",
      [heldUntil],
    )
    const fence = await fenceOf(database, 'job:retention')
    await until(() => rounds().some((time) => time > heldUntil), {
      message: 'a round after the lease expired',
    })
    const begunBefore = 300
    expect(rounds().filter((time) => time > heldFrom + begunBefore && time < heldUntil)).toEqual([])
    expect(await fenceOf(database, 'job:retention')).toBeGreaterThan(fence)

    // The unfinished delete was taken up by exactly one of them.
    await until(() => logged('interrupted delete finished').length > 0, {
      message: 'the delete is resumed',
      timeoutMs: 20_000,
    })
    expect(logged('interrupted delete finished').length).toBe(1)
    const left = await database.query<RowDataPacket[]>('SELECT session_id FROM translation_tasks')
    expect(left.map(({ session_id }) => session_id)).toEqual(['alive'])
    for (const { logs } of services) {
      const sinceReady = logs.slice(logs.findIndex(({ message }) => message === 'backend ready'))
      expect(sinceReady.filter(({ level }) => level !== 'INFO')).toEqual([])
    }
  })
}

/** Waits until the clock shows another millisecond: what is accepted then is newer, whoever accepts it. */
async function nextMillisecond(): Promise<void> {
  const now = Date.now()
  await until(() => Date.now() > now, { message: 'the next millisecond' })
}

async function fenceOf(database: FreshDatabase, lease: string): Promise<number> {
  const [row] = await database.query<RowDataPacket[]>('SELECT fence FROM leases WHERE name = ?', [lease])
  return Number(row?.fence)
}
