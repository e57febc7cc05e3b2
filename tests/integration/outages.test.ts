/**
 * A server of the test's own that is stopped, killed, paused, full, read-only, hostile or slow, for longer than
 * a few retries and under load: nothing is lost, nothing is condemned, nobody hangs, and the journal doesn't grow.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { openConnection, type SqlConnection } from '../support/connection.ts'
import type { Instance } from '../support/instance.ts'
import type { Family } from '../support/mysql_servers.ts'
import { missingServer, type OwnServer, startOwnServer } from '../support/own_server.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { until } from '../support/waiting.ts'
import { startTrial, type Trial } from '../torture/trial.ts'

const FAMILIES: Family[] = ['mysql', 'mariadb']
/** How long each lasts: several retries, and looks at the database's health. */
const OUTAGE_MS = 4000
/** What the printed clients wait for a query and for a restore. */
const READ_WITHIN_MS = 5000
const RESTORE_WITHIN_MS = 10_000
const BACK_WITHIN_MS = 30_000
const TEST_TIMEOUT_MS = 90_000
const START_TIMEOUT_MS = 180_000
/** A journal of few rows that are written again and again: its pages, and a log of changes that is reused. */
const MOST_JOURNAL_BYTES = 24 * 2 ** 20
/** The least that MariaDB can be told. */
const MOST_CONNECTIONS = 10
/** Retries of a flush that an outage has to outlast, where flushes fail in it. */
const RETRIES = 4

interface Outage {
  title: string
  /** Begins it; answers what ends it. */
  begin(server: OwnServer, scene: Scene): Promise<() => Promise<unknown>>
  /** What reads answer: the database is away, or can still be read. */
  reads: 'fail' | 'may fail' | 'work'
  /** Whether no flush can succeed in it. */
  stores: boolean
}

const OUTAGES: Outage[] = [
  {
    title: 'was shut down',
    async begin(server) {
      await server.stop()
      return server.start
    },
    reads: 'fail',
    stores: false,
  },
  {
    title: 'was killed',
    async begin(server) {
      await server.kill()
      return server.start
    },
    reads: 'fail',
    stores: false,
  },
  {
    title: 'is paused (SIGSTOP)',
    async begin(server) {
      server.pause()
      return async () => server.resume()
    },
    reads: 'fail',
    stores: false,
  },
  {
    title: 'has no connection left (max_connections)',
    begin: occupy,
    reads: 'fail',
    stores: false,
  },
  {
    title: 'is read-only',
    async begin(server) {
      await server.query('SET GLOBAL read_only = 1')
      return () => server.query('SET GLOBAL read_only = 0')
    },
    reads: 'may fail',
    stores: false,
  },
  {
    title: 'kills our connections in the middle of statements',
    begin: killStatements,
    reads: 'may fail',
    stores: true,
  },
  {
    title: 'is deadlocked with, again and again',
    begin: deadlock,
    reads: 'may fail',
    stores: true,
  },
  {
    title: 'takes a second for a statement',
    async begin(server) {
      await server.query(
        'CREATE TRIGGER slow BEFORE INSERT ON translation_tasks FOR EACH ROW SET @slept = SLEEP(0.02)',
      )
      return () => server.query('DROP TRIGGER slow')
    },
    reads: 'work',
    stores: true,
  },
]

for (const family of FAMILIES) {
  const missing = await missingServer(family)
  describe.skipIf(missing !== null)(`${family}${missing ? ` (left out: ${missing})` : ''}`, () => {
    let server: OwnServer
    beforeAll(async () => {
      server = await startOwnServer(family)
    }, START_TIMEOUT_MS)
    afterAll(async () => server?.[Symbol.asyncDispose]())

    for (const { title, begin, reads, stores } of OUTAGES) {
      test(
        `${title}: writes go on, reads answer in time, and all is stored once it is well again`,
        async () => {
          await using scene = createScene()
          await server.clear()
          const trial = await startTrial(scene, {
            // biome-ignore format: one setting after the other
            envs: [{
              DATABASE_URL: server.url, MAX_BUFFER_SIZE: '50', BUFFER_MIN_BATCH_ROWS: '20', BUFFER_MAX_BATCH_ROWS: '60',
              FLUSH_INTERVAL: '0.5', DB_STATEMENT_TIMEOUT: '3', DB_CONNECT_TIMEOUT: '2',
            }],
            clientsPerTarget: 4,
            pauseMs: 10,
          })
          const running = trial.load()
          await grows(trial, 50)
          await until(async () => (await trial.on.session('torture-0')).status === 200, {
            message: 'something to read',
          })

          const end = once(await begin(server, scene))
          scene.defer(() => end().catch(() => undefined)) // the test was told
          const begunMs = performance.now()
          const before = await trial.acknowledged()
          await readsAnswer(trial.on, reads)
          await until(() => performance.now() - begunMs > OUTAGE_MS, {
            message: 'the outage has lasted',
            timeoutMs: OUTAGE_MS * 2,
          })
          if (!stores) {
            await until(() => failedFlushes(trial) >= RETRIES, {
              message: `${RETRIES} flushes have failed`,
              timeoutMs: BACK_WITHIN_MS,
            })
          }
          // Accepted all the while.
          await grows(trial, 50)
          expect(await trial.acknowledged()).toBeGreaterThan(before + 100)
          expect(await trial.on.ready()).toBe(200)
          await journalIsSmall(trial.on)

          await end()
          await running.stop()
          await until(async () => (await trial.on.health()).status === 'healthy', {
            message: 'healthy again',
            timeoutMs: BACK_WITHIN_MS,
          })
          await trial.settle()
          expect((await trial.on.health()).buffer.total_count).toBe(0)
        },
        TEST_TIMEOUT_MS,
      )
    }
  })
}

/** So many more requests are acknowledged. */
async function grows(trial: Trial, by: number): Promise<void> {
  const from = await trial.acknowledged()
  await until(async () => (await trial.acknowledged()) >= from + by, { message: `${by} more acknowledged` })
}

const failedFlushes = ({ services: [service] }: Trial) =>
  service!.logs.filter(({ message }) => message === 'flush failed, rows are kept').length

/** Each kind of read is answered within what its client waits. */
async function readsAnswer(on: Instance, reads: Outage['reads']): Promise<void> {
  const base = '/api/v1/translation'
  const timed = async (path: string, withinMs: number, call: () => ReturnType<Instance['flush']>) => {
    const begunMs = performance.now()
    const { status } = await call()
    return { path, status, late: performance.now() - begunMs > withinMs }
  }
  const paths = [
    'sessions',
    'sessions/torture-0',
    'sessions/torture-0/tasks',
    'tasks',
    'stats',
    'recovery/status',
  ]
  const answers = await Promise.all([
    ...paths.map((path) => timed(path, READ_WITHIN_MS, () => on.http.get(`${base}/${path}`))),
    timed('restore', RESTORE_WITHIN_MS, () => on.http.post(`${base}/recovery/restore/torture-0`)),
  ])
  expect(answers.filter(({ late }) => late)).toEqual([])
  const allowed = { fail: [503], 'may fail': [200, 503], work: [200] }[reads]
  expect(answers.filter(({ status }) => !allowed.includes(status))).toEqual([])
}

async function journalIsSmall(on: Instance): Promise<void> {
  const { body } = await on.http.get<{ journal: { bytes: number; status: string } }>('/health')
  expect(body.journal.status).toBe('healthy')
  expect(body.journal.bytes).toBeLessThan(MOST_JOURNAL_BYTES)
}

/** Takes every connection that the server has for the service's account. */
async function occupy(server: OwnServer): Promise<() => Promise<unknown>> {
  const [before] = await server.query<RowDataPacket[]>('SELECT @@max_connections AS most')
  const taken: SqlConnection[] = []
  const ours = new Set<number>()
  await server.query(`SET GLOBAL max_connections = ${MOST_CONNECTIONS}`)
  await until(
    async () => {
      // Whoever was faster than we are is sent away, and we try again.
      await killOthers(server, ({ Id }) => !ours.has(Number(Id)))
      await takeAll(server, { taken, ours })
      return taken.length >= MOST_CONNECTIONS
    },
    { message: 'all connections are ours' },
  )
  return async () => {
    // The account that may do everything has one connection in reserve.
    await server.query(`SET GLOBAL max_connections = ${Number(before!.most)}`)
    for (const connection of taken) await connection[Symbol.asyncDispose]()
  }
}

/** Opens connections until there are no more. */
async function takeAll(
  server: OwnServer,
  { taken, ours }: { taken: SqlConnection[]; ours: Set<number> },
): Promise<void> {
  try {
    for (;;) {
      const connection = await openConnection(server)
      taken.push(connection)
      const [row] = await connection.query<RowDataPacket[]>('SELECT CONNECTION_ID() AS id')
      ours.add(Number(row!.id))
    }
  } catch (error) {
    if ((error as { errno?: number }).errno !== 1040) throw error
  }
}

/** Every so often, whoever is in the middle of an upsert loses its connection; a trigger makes a middle. */
async function killStatements(server: OwnServer): Promise<() => Promise<unknown>> {
  await server.query(
    'CREATE TRIGGER slow BEFORE INSERT ON translation_tasks FOR EACH ROW SET @slept = SLEEP(0.005)',
  )
  let killed = 0
  const stop = again(async () => {
    const found = await killOthers(server, ({ Command }) => Command === 'Query')
    killed += found
    // The next ones may come through.
    if (found > 0) await Bun.sleep(400)
  })
  return async () => {
    await stop()
    await server.query('DROP TRIGGER slow')
    expect(killed).toBeGreaterThan(2)
  }
}

/** Kills those of the service's connections that it says; answers how many. */
async function killOthers(server: OwnServer, which: (listed: RowDataPacket) => boolean): Promise<number> {
  // Not from information_schema: MySQL can't convert every letter of a statement for that.
  const found = await server.query<RowDataPacket[]>('SHOW PROCESSLIST')
  let killed = 0
  for (const listed of found) {
    if (listed.User !== 'app' || !which(listed)) continue
    killed += await server.query(`KILL ${Number(listed.Id)}`).then(
      () => 1,
      () => 0, // gone already is just as well
    )
  }
  return killed
}

/** Locks the tasks from the end, while the service writes them from the beginning; it has more to lose. */
async function deadlock(server: OwnServer, scene: Scene): Promise<() => Promise<unknown>> {
  const ours = await openConnection(server)
  scene.defer(() => ours[Symbol.asyncDispose]())
  await ours.query('CREATE TABLE IF NOT EXISTS ballast (id INT PRIMARY KEY)')
  const ballast = Array.from({ length: 3000 }, (_, i) => [i])
  let rounds = 0
  let died = 0
  const stop = again(async () => {
    rounds++
    try {
      await ours.query('START TRANSACTION')
      await ours.query('INSERT INTO ballast VALUES ?', [ballast])
      const keys = await ours.query<RowDataPacket[]>(
        'SELECT session_id, task_id FROM translation_tasks ORDER BY session_id DESC, task_id DESC',
      )
      for (const { session_id, task_id } of keys) {
        await ours.query('SELECT 1 FROM translation_tasks WHERE session_id = ? AND task_id = ? FOR UPDATE', [
          session_id,
          task_id,
        ])
      }
    } catch (error) {
      if ((error as { errno?: number }).errno !== 1213) throw error
      died++
    } finally {
      await ours.query('ROLLBACK')
    }
  })
  const before = await deadlocks(server)
  return async () => {
    await stop()
    // Some, and not the test's own transaction each time.
    expect((await deadlocks(server)) - before).toBeGreaterThan(died)
    expect(rounds).toBeGreaterThan(1)
  }
}

async function deadlocks(server: OwnServer): Promise<number> {
  const [row] = await server.query<RowDataPacket[]>(
    "SELECT `COUNT` AS n FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'",
  )
  return Number(row!.n)
}

/** Is done the first time only. */
function once(work: () => Promise<unknown>): () => Promise<unknown> {
  let done: Promise<unknown> | null = null
  return () => {
    done ??= work()
    return done
  }
}

/** Does it again and again until it is told to stop; what it throws comes then. */
function again(work: () => Promise<unknown>): () => Promise<void> {
  let stopped = false
  const running = (async () => {
    while (!stopped) {
      await work()
      await Bun.sleep(20)
    }
  })()
  running.catch(() => undefined) // told when it is stopped
  return async () => {
    stopped = true
    await running
  }
}
