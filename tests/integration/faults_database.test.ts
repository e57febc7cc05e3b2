/** A database that is there but can't, won't or mustn't: missing tables, locks, killed connections, rows it refuses. */
import { expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { type FreshDatabase, type SqlServer, sqlServers } from '../support/backends.ts'
import { openConnection } from '../support/connection.ts'
import { instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import { sessionItem, taskItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

/** Longer than innodb_lock_wait_timeout, which the service sets to 5 s. */
const LOCK_STORED_WITHIN_MS = 20_000
const DRAINED_WITHIN_MS = 20_000

/** Ways in which no row can be stored, whatever it is: each taken back by its second list. */
const UNUSABLE: [title: string, servers: SqlServer[], begin: string[], end: string[]][] = [
  [
    'has lost its table of tasks',
    ['mysql', 'mariadb'],
    ['RENAME TABLE translation_tasks TO away'],
    ['RENAME TABLE away TO translation_tasks'],
  ],
  ['is read-only', ['mysql'], ['ALTER DATABASE READ ONLY = 1'], ['ALTER DATABASE READ ONLY = 0']],
  [
    'fails with a number that nobody has listed',
    ['mysql', 'mariadb'],
    [
      `CREATE TRIGGER broken BEFORE INSERT ON translation_tasks FOR EACH ROW
         SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 7777, MESSAGE_TEXT = 'Duplicate entry, Data too long'`,
    ],
    ['DROP TRIGGER broken'],
  ],
]

for (const server of sqlServers) {
  for (const [title, servers, begin, end] of UNUSABLE) {
    if (!servers.includes(server)) continue
    test(`${server} ${title}: an outage, so rows are kept, none is condemned, and all are stored afterwards`, async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const on = instance(await scene.start({ DATABASE_URL: database.url }))
      await on.sessions([sessionItem('s')])
      await on.tasks(taskItems('s', 10))
      await on.flush()

      for (const statement of begin) await database.query(inDatabase(database, statement))
      expect((await on.tasks(taskItems('s', 200, { status: 'processing' }))).status).toBe(202)
      expect((await on.flush()).status).toBe(503)
      expect((await on.tasks(taskItems('s', 50, { status: 'completed' }))).status).toBe(202)
      expect((await on.flush()).status).toBe(503)
      expect(await on.ready()).toBe(200)
      expect(await on.balance()).toMatchObject({ accepted: 260, stored: 10, merged: 50, buffered: 200 })

      for (const statement of end) await database.query(inDatabase(database, statement))
      expect((await on.flush()).body).toMatchObject({ status: 'flushed', tasks_written: 200 })
      expect(await on.balance()).toMatchObject({ stored: 210, buffered: 0, dead_lettered: 0 })
      const tasks = await on.allTasks('s')
      expect(tasks.length).toBe(200)
      expect(tasks.filter(({ status }) => status === 'completed').length).toBe(50)
      expect((await on.session('s')).body).toMatchObject({ dead_lettered_tasks: 0 })
    })
  }

  test(`${server} without its table of tasks: reads of it answer 503, and come back with it without a restart`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const on = instance(await scene.start({ DATABASE_URL: database.url }))
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', 10))
    await on.flush()
    await database.query('RENAME TABLE translation_tasks TO away')
    for (const path of ['sessions/s/tasks', 'sessions/s', 'tasks', 'tasks/task_1']) {
      const { status, body, headers } = await on.http.get(`/api/v1/translation/${path}`)
      expect({ path, status, code: body.error_code }).toEqual({
        path,
        status: 503,
        code: 'BACKEND_UNAVAILABLE',
      })
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
      expect(JSON.stringify(body)).not.toContain(database.name)
    }
    expect((await on.http.post('/api/v1/translation/recovery/restore/s')).status).toBe(503)
    await database.query('RENAME TABLE away TO translation_tasks')
    expect((await on.allTasks('s')).length).toBe(10)
  })

  test(`${server} kills the service's connections under load: nothing is lost, nothing is doubled`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const on = instance(
      await scene.start({ DATABASE_URL: database.url, MAX_BUFFER_SIZE: '100', BUFFER_MIN_BATCH_ROWS: '50' }),
    )
    await on.sessions([sessionItem('s')])
    const [requests, rows] = [20, 100]
    let killed = 0
    for (let i = 0; i < requests; i++) {
      expect((await on.tasks(taskItems('s', rows, { from: i * rows }))).status).toBe(202)
      if (i % 4 === 3) killed += await killConnections(database)
    }
    expect(killed).toBeGreaterThan(0)
    await until(async () => (await on.flush()).status === 200, {
      message: 'a flush succeeds',
      timeoutMs: DRAINED_WITHIN_MS,
    })
    expect((await on.allTasks('s')).length).toBe(requests * rows)
    const { accepted, stored, merged } = await on.balance()
    expect([accepted, stored + merged]).toEqual([requests * rows, requests * rows])
  })

  test(`${server} refuses some rows for what they are: those alone become dead letters, and the session says so`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const on = instance(await scene.start({ DATABASE_URL: database.url, MAX_BUFFER_SIZE: '5000' }))
    await database.query(
      'ALTER TABLE translation_tasks ADD CONSTRAINT unlucky CHECK (row_index % 300 <> 299)',
    )
    await on.sessions([sessionItem('s'), sessionItem('clean')])
    await on.tasks(taskItems('s', 1000))
    await on.tasks(taskItems('clean', 200))

    expect((await on.flush()).body).toMatchObject({ status: 'flushed', tasks_written: 1197 })
    expect((await on.session('s')).body).toMatchObject({ dead_lettered_tasks: 3 })
    expect((await on.session('clean')).body).toMatchObject({ dead_lettered_tasks: 0 })
    expect(await on.balance()).toMatchObject({
      accepted: 1200,
      stored: 1197,
      dead_lettered: 3,
      buffered: 0,
    })
    const stored = await on.allTasks('s')
    expect(stored.length).toBe(997)
    expect(stored.some(({ row_index }) => Number(row_index) % 300 === 299)).toBe(false)
    const letters = await database.query<RowDataPacket[]>(
      'SELECT collection, record_key, group_key, error_code, reason FROM dead_letters ORDER BY record_key',
    )
    expect(letters.map(({ record_key }) => JSON.parse(record_key))).toEqual([
      ['s', 'task_299'],
      ['s', 'task_599'],
      ['s', 'task_899'],
    ])
    for (const letter of letters) {
      expect(letter).toMatchObject({
        collection: 'translation_tasks',
        group_key: 's',
        error_code: server === 'mysql' ? '3819' : '4025',
      })
      expect(letter.reason).toContain('unlucky')
    }

    // The collection is not blocked, and a caller who waits is told which of its rows was refused.
    const waited = await on.http.post<{ outcomes: { outcome: string; reason?: string }[] }>(
      '/api/v1/translation/tasks/batch?wait=true',
      { tasks: [taskItem('s', 'good', { row_index: 1 }), taskItem('s', 'bad', { row_index: 299 })] },
    )
    expect(waited.status).toBe(200)
    expect(waited.body).toMatchObject({ written: 1 })
    expect(waited.body.outcomes.map(({ outcome }) => outcome)).toEqual(['stored', 'refused'])
    expect(waited.body.outcomes[1]?.reason).toContain('unlucky')
    expect((await on.session('s')).body).toMatchObject({ dead_lettered_tasks: 4 })

    // They go with their session.
    expect((await on.http.delete('/api/v1/translation/sessions/s')).status).toBe(200)
    expect(await database.query<RowDataPacket[]>('SELECT 1 FROM dead_letters')).toEqual([])
  })

  test(`${server} fails with an unlisted number on one row: alone it is kept, beside rows that are stored it is condemned`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const on = instance(await scene.start({ DATABASE_URL: database.url }))
    await database.query(
      `CREATE TRIGGER odd BEFORE INSERT ON translation_tasks FOR EACH ROW
         BEGIN IF NEW.row_index = 13 THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 7777; END IF; END`,
    )
    await on.sessions([sessionItem('s')])
    await on.tasks([taskItem('s', 'odd', { row_index: 13 })])
    expect((await on.flush()).status).toBe(503)
    expect(await on.balance()).toMatchObject({ dead_lettered: 0, buffered: 1 })

    await on.tasks(taskItems('s', 10))
    expect((await on.flush()).body).toMatchObject({ tasks_written: 10 })
    expect(await on.balance()).toMatchObject({ accepted: 11, stored: 10, dead_lettered: 1, buffered: 0 })
    expect((await on.session('s')).body).toMatchObject({ dead_lettered_tasks: 1, total_tasks: 10 })
  })

  test(`${server} takes no dead letters either: a refused row is kept until one can be written, and written once`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const on = instance(await scene.start({ DATABASE_URL: database.url }))
    await database.query('ALTER TABLE translation_tasks ADD CONSTRAINT unlucky CHECK (row_index <> 13)')
    await database.query('RENAME TABLE dead_letters TO away')
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', 100))
    expect((await on.flush()).status).toBe(503)
    expect(await on.balance()).toMatchObject({ dead_lettered: 0, buffered: 100 })

    await database.query('RENAME TABLE away TO dead_letters')
    expect((await on.flush()).status).toBe(200)
    expect(await on.balance()).toMatchObject({ accepted: 100, stored: 99, dead_lettered: 1, buffered: 0 })
    const letters = await database.query<RowDataPacket[]>('SELECT record_key, attempts FROM dead_letters')
    expect(letters.map(({ record_key, attempts }) => [JSON.parse(record_key), attempts])).toEqual([
      [['s', 'task_13'], 1],
    ])
  })
}

// Mostly waiting, so for both servers at the same time.
for (const server of sqlServers) {
  test.concurrent(`${server} holds a lock on one row: writes go on, and all are stored once it is let go`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const on = instance(await scene.start({ DATABASE_URL: database.url }))
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', 50))
    await on.flush()

    await using other = await openConnection(database)
    await other.query('START TRANSACTION')
    await other.query(
      "SELECT 1 FROM translation_tasks WHERE session_id = 's' AND task_id = 'task_7' FOR UPDATE",
    )
    expect((await on.tasks(taskItems('s', 50, { status: 'completed' }))).status).toBe(202)
    const flushed = on.flush()
    await until(() => isWaiting(database), { message: 'the flush waits for the lock' })
    const meanwhile = taskItems('s', 50).map(({ session_id, task_id }) => ({
      session_id,
      task_id,
      target_text: 'meanwhile',
    }))
    expect((await on.patchTasks(meanwhile)).status).toBe(202)
    // The lock outlives the wait that the service allows itself: 1205, and again in halves.
    await until(async () => (await storedCompleted(database)) > 0, {
      message: 'the rows beside the locked one are stored',
      timeoutMs: LOCK_STORED_WITHIN_MS,
    })
    await other.query('ROLLBACK')
    expect((await flushed).status).toBe(200)
    expect((await on.flush()).status).toBe(200)
    const tasks = await on.allTasks('s')
    expect(tasks.length).toBe(50)
    for (const task of tasks) expect(task).toMatchObject({ status: 'completed', target_text: 'meanwhile' })
    expect(await on.balance()).toMatchObject({ accepted: 150, dead_lettered: 0, buffered: 0 })
  })
}

/** ALTER DATABASE wants the name of the database. */
const inDatabase = (database: FreshDatabase, statement: string) =>
  statement.replace(/^ALTER DATABASE/, `ALTER DATABASE ${database.name}`)

/** Ends the connections that work in this database, but for the one that does it; answers how many. */
async function killConnections(database: FreshDatabase): Promise<number> {
  await using connection = await openConnection(database)
  const found = await connection.query<RowDataPacket[]>(
    'SELECT id FROM information_schema.processlist WHERE db = ? AND id <> CONNECTION_ID()',
    [database.name],
  )
  let killed = 0
  for (const { id, ID } of found) {
    // Gone already is just as well.
    killed += await connection.query('KILL ?', [Number(id ?? ID)]).then(
      () => 1,
      () => 0,
    )
  }
  return killed
}

async function isWaiting(database: FreshDatabase): Promise<boolean> {
  const found = await database.query<RowDataPacket[]>(
    "SELECT 1 FROM information_schema.processlist WHERE db = ? AND info LIKE 'INSERT INTO `translation_tasks`%'",
    [database.name],
  )
  return found.length > 0
}

async function storedCompleted(database: FreshDatabase): Promise<number> {
  const [row] = await database.query<RowDataPacket[]>(
    "SELECT COUNT(*) AS n FROM translation_tasks WHERE status = 'completed'",
  )
  return Number(row?.n)
}
