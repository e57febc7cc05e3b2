import { Database } from 'bun:sqlite'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Connection, createConnection, type RowDataPacket } from 'mysql2/promise'
import { type Backend, BackendError } from '../../src/backends/backend.ts'
import { openBackend } from '../../src/backends/catalog.ts'
import { merge } from '../../src/collections/row.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import { secret } from '../../src/lib/secret.ts'
import { freshFolder } from '../support/backends.ts'
import { backendKinds, countStatements, onEachBackend } from '../support/contract_backends.ts'
import { expectStored, fullRow, keyOf, stampOf } from '../support/contract_rows.ts'
import { freePort } from '../support/processes.ts'
import { revealed } from '../support/revealed.ts'
import { until } from '../support/waiting.ts'

const OPTIONS = { owner: 'first', readTimeoutMs: 5000 }
const row = (n: number, status = 'pending') =>
  fullRow(tasks, keyOf(tasks, 'fault', n), { n, stamp: stampOf(n), fields: { status } })

/** What a promise was rejected with; fails where it was not. */
async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    (value) => expect.unreachable(`answered ${JSON.stringify(value)}`),
    (error: unknown) => error,
  )
}

async function expectOutage(work: Promise<unknown>, code: RegExp): Promise<void> {
  const failure = await failureOf(work)
  expect(failure).toBeInstanceOf(BackendError)
  expect(failure).toMatchObject({ kind: 'outage', code: expect.stringMatching(code) })
}

onEachBackend('a table that is not there', 'records', (store) => {
  test('is an outage to reads and writes alike, and is over when it is back', async () => {
    const records = store().backend.records!
    await records.write(tasks, [row(1)])
    await store().execute(`ALTER TABLE ${tasks.name} RENAME TO put_aside`)
    const code = /^(1146|SQLITE_ERROR)$/
    await expectOutage(records.write(tasks, [row(2)]), code)
    await expectOutage(records.read(tasks, row(1).key), code)
    await expectOutage(records.count(tasks, []), code)
    await store().execute(`ALTER TABLE put_aside RENAME TO ${tasks.name}`)
    await records.write(tasks, [row(2)])
    await expectStored(records, tasks, [row(1), row(2)])
  })
})

onEachBackend('health', 'records', (store) => {
  test('is told while the store is there', async () => {
    const health = await store().backend.health()
    expect(health).toMatchObject({ healthy: true })
    expect(health.latencyMs).toBeGreaterThanOrEqual(0)
  })
})

describe('sqlite whose file another process has locked', () => {
  test('is an outage soon, and over when the lock is gone', async () => {
    const store = await backendKinds.find(({ dialect }) => dialect === 'sqlite')!.open()
    if (store.spec.type !== 'sqlite') throw new Error('not sqlite')
    const other = new Database(store.spec.config.path)
    try {
      other.run('BEGIN IMMEDIATE')
      const start = performance.now()
      const rows = [1, 2, 3, 4].map((n) => row(n))
      await expectOutage(store.backend.records!.write(tasks, rows), /^SQLITE_BUSY$/)
      // SQLite waits on the event loop: everybody waits with it.
      expect(performance.now() - start).toBeLessThan(2000)
      other.run('ROLLBACK')
      await store.backend.records!.write(tasks, rows)
      await expectStored(store.backend.records!, tasks, rows)
    } finally {
      other.close()
      await store.close()
    }
  })
})

describe('sqlite where its file cannot be', () => {
  const opened: { backend: Backend; drop(): Promise<void> }[] = []
  afterAll(async () => {
    for (const { backend, drop } of opened) {
      await backend.close()
      await drop()
    }
  })

  /** A store whose path leads through, or to, a file that is no database. */
  async function openAt(path: (folder: string) => string): Promise<Backend> {
    const { env, drop } = await freshFolder()
    const folder = env.DATA_DIR!
    await writeFile(join(folder, 'file'), 'this is no database, and no folder either'.repeat(100))
    const backend = await openBackend('store', { type: 'sqlite', config: { path: path(folder) } }, OPTIONS)
    opened.push({ backend, drop })
    return backend
  }

  test.each([
    ['below a file', (folder: string) => join(folder, 'file', 'store.sqlite'), /^\w+$/],
    ['a file that is no database', (folder: string) => join(folder, 'file'), /^SQLITE_NOTADB$/],
    ['a folder', (folder: string) => folder, /^SQLITE_\w+$/],
  ])('%s: an outage, and unhealthy', async (_, path, code) => {
    const backend = await openAt(path)
    await expectOutage(backend.prepare({ migrate: true }), code)
    await expectOutage(backend.records!.read(tasks, row(1).key), code)
    const health = await backend.health()
    expect(health.healthy).toBe(false)
    expect(health.detail).not.toBe('')
  })
})

onEachBackend('a server', 'pool', (store, kind) => {
  const config = () => {
    const { spec } = store()
    if (spec.type !== 'mysql') throw new Error('a pool without a server')
    return spec.config
  }
  const records = () => store().backend.records!
  const connections: Connection[] = []
  /** A connection beside the pool. */
  async function connect(): Promise<Connection> {
    const { host, port, user, password, database } = config()
    const connection = await createConnection(revealed({ host, port, user, password, database }))
    connections.push(connection)
    return connection
  }
  beforeEach(() => records().purge(tasks, [], 100_000))
  afterEach(() => {
    for (const connection of connections.splice(0)) connection.destroy()
  })

  test('that refuses connections is an outage, and unhealthy', async () => {
    const port = await freePort()
    const gone = await store().openAnother({ connection: { port } })
    await expectOutage(gone.prepare({ migrate: true }), /^ECONNREFUSED$/)
    await expectOutage(gone.records!.write(tasks, [row(1)]), /^ECONNREFUSED$/)
    await expectOutage(gone.coordination!.now(), /^ECONNREFUSED$/)
    expect(await gone.health()).toMatchObject({ healthy: false, detail: expect.stringContaining('') })
  })

  test('whose name nobody knows is an outage', async () => {
    const gone = await store().openAnother({ connection: { host: 'nowhere.invalid' } })
    await expectOutage(gone.prepare({ migrate: true }), /^(ENOTFOUND|EAI_AGAIN)$/)
  })

  test('that takes the connection and says nothing is an outage once the time to connect is up', async () => {
    const silent = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
    try {
      const gone = await store().openAnother({ connection: { port: silent.port, connect_timeout: 0.2 } })
      const start = performance.now()
      await expectOutage(gone.prepare({ migrate: true }), /^(ETIMEDOUT|TIMEOUT)$/)
      expect((await gone.health()).healthy).toBe(false)
      expect(performance.now() - start).toBeLessThan(2000)
    } finally {
      silent.stop(true)
    }
  })

  test('that knows no such user is an outage', async () => {
    const stranger = await store().openAnother({ connection: { password: secret('wrong') } })
    await expectOutage(stranger.prepare({ migrate: true }), /^1045$/)
  })

  test('without the database is an outage where it may not be made, and gets it where it may', async () => {
    const database = `${config().database}_made`
    const fixed = await store().openAnother({ connection: { database } })
    await expectOutage(fixed.prepare({ migrate: false }), /^1049$/)
    try {
      await fixed.prepare({ migrate: true })
      await fixed.records!.write(tasks, [row(1)])
      await expectStored(fixed.records!, tasks, [row(1)])
    } finally {
      await store().execute(`DROP DATABASE IF EXISTS ${database}`)
    }
  })

  test('that ends a connection in the middle of a write is an outage, and the next write works', async () => {
    await records().write(tasks, [row(1)])
    const holder = await holding(await connect())
    const failure = failureOf(records().write(tasks, [row(1, 'later')]))
    const killer = await connect()
    await killer.query(`KILL ${await waitingStatement(killer, config().database)}`)
    expect(await failure).toMatchObject({ kind: 'outage' })
    await holder.query('ROLLBACK')
    await records().write(tasks, [row(2)])
    await expectStored(records(), tasks, [row(1), row(2)])
  })

  test('that does not answer a write within its time is an outage, and the pool is whole afterwards', async () => {
    const hasty = await store().openAnother({ connection: { pool_size: 1, statement_timeout: 0.3 } })
    await records().write(tasks, [row(1)])
    const holder = await holding(await connect())
    const start = performance.now()
    await expectOutage(hasty.records!.write(tasks, [row(1, 'later')]), /^TIMEOUT$/)
    expect(performance.now() - start).toBeLessThan(2000)
    await holder.query('ROLLBACK')
    await hasty.records!.write(tasks, [row(2)])
    expect(hasty.pool!()).toMatchObject({ active: 0, waiting: 0, max: 1 })
    await expectStored(records(), tasks, [row(2)])
  })

  test('that does not answer a read within its time is an outage', async () => {
    const hasty = await store().openAnother({ readTimeoutMs: 300 })
    await records().write(tasks, [row(1)])
    const holder = await connect()
    await holder.query(`LOCK TABLES ${tasks.name} WRITE`)
    await expectOutage(hasty.records!.read(tasks, row(1).key), /^TIMEOUT$/)
    await holder.query('UNLOCK TABLES')
    await expectStored(hasty.records!, tasks, [row(1)])
  })

  test('whose connections are all taken is an outage to whoever waits too long, and to nobody later', async () => {
    const small = await store().openAnother({ readTimeoutMs: 200, connection: { pool_size: 1 } })
    const snapshot = await small.records!.snapshot({ timeoutMs: 5000 })
    expect(small.pool!()).toMatchObject({ active: 1, idle: 0, max: 1 })
    await expectOutage(small.records!.count(tasks, []), /^TIMEOUT$/)
    expect(await snapshot.count(tasks, [])).toBe(0)
    await snapshot.close()
    expect(await small.records!.count(tasks, [])).toBe(0)
    await until(() => small.pool!().active === 0, { message: 'the connection is back' })
  })

  test('that breaks a deadlock at our cost costs no row', async () => {
    await records().write(
      tasks,
      Array.from({ length: 200 }, (_, n) => row(n)),
    )
    const holder = await connect()
    // Locks only what it changes.
    await holder.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED')
    await holder.query('START TRANSACTION')
    // Many changes make the other transaction the dearer one to undo.
    await holder.query(`UPDATE ${tasks.name} SET context = 'held' WHERE task_id <> ?`, [row(1).key[1]!])
    // Sorted by key: it gets the first row, and waits for one of the others.
    const later = [1, 2, 3].map((n) => fullRow(tasks, row(n).key, { n: 500, fields: { status: 'later' } }))
    let refused: unknown
    const statements = countStatements(kind, async () => {
      refused = (await records().write(tasks, later)).refused
    })
    await waitingStatement(await connect(), config().database)
    await holder.query(`UPDATE ${tasks.name} SET context = 'held' WHERE task_id = ?`, [row(1).key[1]!])
    await holder.query('COMMIT')
    expect(await statements).toBeGreaterThan(1)
    expect(refused).toEqual([])
    await expectStored(
      records(),
      tasks,
      later.map((one, n) => merge(row(n + 1), one)),
    )
  })
})

/** Holds the lock of the first row. */
async function holding(connection: Connection): Promise<Connection> {
  await connection.query('START TRANSACTION')
  const [session, task] = row(1).key
  await connection.query(`SELECT 1 FROM ${tasks.name} WHERE session_id = ? AND task_id = ? FOR UPDATE`, [
    session!,
    task!,
  ])
  return connection
}

/** The connection whose INSERT of this database waits for a lock. */
async function waitingStatement(connection: Connection, database: string): Promise<number> {
  return until(
    async () => {
      const [found] = await connection.query<RowDataPacket[]>(
        `SELECT id FROM information_schema.processlist WHERE db = ? AND info LIKE 'INSERT INTO%' AND id <> CONNECTION_ID()`,
        [database],
      )
      const lock = await isWaiting(connection, found[0]?.id)
      return lock ? Number(found[0]!.id) : 0
    },
    { message: 'a write waits for a lock' },
  )
}

async function isWaiting(connection: Connection, id: unknown): Promise<boolean> {
  if (id === undefined) return false
  const [found] = await connection.query<RowDataPacket[]>(
    `SELECT 1 FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = ? AND trx_state = 'LOCK WAIT'`,
    [Number(id)],
  )
  return found.length > 0
}
