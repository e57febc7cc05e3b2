/**
 * A Galera cluster with an instance of the service on each node, all of them writing. Two nodes may change a
 * row at the same time: one of them is told at its commit that it lost, and each may lag behind the others.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import type { Backend } from '../../src/backends/backend.ts'
import { openBackend } from '../../src/backends/catalog.ts'
import { translationSessions } from '../../src/collections/translation.ts'
import { openConnection } from '../support/connection.ts'
import { mysqlSpec } from '../support/contract_backends.ts'
import {
  type Cluster,
  type ClusterDatabase,
  GALERA_VARIABLE,
  missingGalera,
  namedCluster,
  type OwnCluster,
  startCluster,
} from '../support/galera.ts'
import { type Instance, instance } from '../support/instance.ts'
import { watchLease } from '../support/lease_watch.ts'
import { createScene, type Scene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { type Item, sessionItem, taskItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const START_TIMEOUT_MS = 180_000
const KILL_TEST_TIMEOUT_MS = 240_000
const LETTERS = '/api/v1/system/dead-letters'

const named = process.env[GALERA_VARIABLE]
const missing = await missingGalera()

let cluster: Cluster
let own: OwnCluster | undefined

const ownCluster = async () => (own ??= await startCluster())

beforeAll(async () => {
  if (named) cluster = namedCluster(named.split(','))
  else if (!missing) cluster = await ownCluster()
}, START_TIMEOUT_MS)

afterAll(async () => {
  if (named) await cluster.close()
  await own?.close()
}, START_TIMEOUT_MS)

/** Runs on the cluster that there is; the title says why it is left out. */
function onCluster(title: string, body: () => Promise<void>): void {
  if (named || !missing) test(title, body)
  else test.skip(`${title} (left out: ${GALERA_VARIABLE} is not set, and ${missing})`, body)
}

/** Runs on a cluster of its own, whose nodes it ends. */
function onOwnCluster(title: string, body: () => Promise<void>): void {
  if (!missing) test(title, body, KILL_TEST_TIMEOUT_MS)
  else test.skip(`${title} (left out: ${missing})`, body)
}

async function databaseOf(scene: Scene, on: Cluster): Promise<ClusterDatabase> {
  const database = await on.freshDatabase()
  if (on !== own) scene.defer(database.drop) // its own goes as a whole
  return database
}

/** An instance a node, started at the same moment. */
function startAll(
  scene: Scene,
  { urls }: ClusterDatabase,
  env: Record<string, string> = {},
): Promise<Service[]> {
  return Promise.all(
    urls.map((url, node) =>
      scene.start({ DATABASE_URL: url, INSTANCE_ID: `on-node-${node}`, FLUSH_INTERVAL: '3600', ...env }),
    ),
  )
}

/** A backend a node, as several instances would have them. */
async function backendsOf(scene: Scene, { urls }: ClusterDatabase): Promise<Backend[]> {
  const backends = await Promise.all(
    urls.map((url, node) =>
      openBackend('store', mysqlSpec(url), { owner: `node-${node}`, readTimeoutMs: 5000 }),
    ),
  )
  for (const backend of backends) scene.defer(backend.close)
  await Promise.all(backends.map((backend) => backend.prepare({ migrate: true })))
  return backends
}

/** "WSREP has not yet prepared node for application use". */
const NOT_READY = 1047

/** The number with which a node refuses a statement. */
async function refusalOf(url: string): Promise<number | undefined> {
  try {
    await using connection = await openConnection({ url })
    await connection.query('SELECT 1 FROM translation_sessions')
    return undefined
  } catch (error) {
    return (error as { errno?: number }).errno
  }
}

async function letters(on: Instance): Promise<unknown> {
  return (await on.http.get(LETTERS)).body.total
}

onCluster(
  'instances started at once, one a Galera node, all get ready: one migrates, each has a number',
  async () => {
    await using scene = createScene()
    const database = await databaseOf(scene, cluster)
    const services = await startAll(scene, database)
    for (const node of database.urls.keys()) {
      const migrations = await database.query(node, 'SELECT name FROM schema_migrations')
      expect(migrations.map(({ name }) => name)).toEqual([
        '0001_translation',
        '0002_instance_flushes',
        '0003_instance_holders',
      ])
      const rows = await database.query(node, 'SELECT number, state FROM instances')
      expect(new Set(rows.map(({ number }) => number)).size).toBe(services.length)
      expect(rows.map(({ state }) => state)).toEqual(services.map(() => 'live'))
      const leases = await database.query(node, "SELECT expires_at FROM leases WHERE name = 'migrations'")
      expect(leases.map(({ expires_at }) => Number(expires_at))).toEqual([0])
    }
    for (const { logs } of services) expect(logs.filter(({ level }) => level === 'ERROR')).toEqual([])
  },
)

onCluster(
  'instances that reach for a number through all Galera nodes at once each get one of their own',
  async () => {
    await using scene = createScene()
    const database = await databaseOf(scene, cluster)
    const backends = await backendsOf(scene, database)
    const count = 30
    const numbers = await Promise.all(
      Array.from({ length: count }, (_, i) =>
        backends[i % backends.length]!.coordination!.registerInstance({
          instanceId: `instance-${i}`,
          version: 'test',
          state: 'live',
          bufferedRows: 0,
        }),
      ),
    )
    expect(new Set(numbers).size).toBe(count)
    const rows = await database.query(0, 'SELECT instance_id, number FROM instances')
    const stored = new Map(rows.map(({ instance_id, number }) => [instance_id, Number(number)]))
    expect(numbers.map((_, i) => stored.get(`instance-${i}`))).toEqual(numbers)
  },
)

onCluster('what was stored through one Galera node is read through every other one, at once', async () => {
  await using scene = createScene()
  const database = await databaseOf(scene, cluster)
  const all = (await startAll(scene, database)).map(instance)
  await all[0]!.sessions([sessionItem('s')])
  await database.query(0, 'CREATE TABLE ballast (k INT AUTO_INCREMENT PRIMARY KEY, v CHAR(200))')
  const seen: unknown[] = []
  const rounds = 6
  for (let round = 0; round < rounds; round++) {
    const node = round % all.length
    // The other nodes have this to do before they come to what is committed behind it.
    await database.query(node, 'INSERT INTO ballast (v) SELECT seq FROM seq_1_to_40000')
    const change = { sessions: [{ session_id: 's', total_tasks: round }] }
    const written = await all[node]!.http.patch('/api/v1/translation/sessions/batch?wait=true', change)
    expect(written.status).toBe(200)
    seen.push((await all[(node + 1) % all.length]!.session('s')).body.total_tasks)
  }
  expect(seen).toEqual(Array.from({ length: rounds }, (_, round) => round))
})

onCluster(
  'owners that reach for one lease through all Galera nodes never hold it at the same time',
  async () => {
    await using scene = createScene()
    const lease = watchLease(await backendsOf(scene, await databaseOf(scene, cluster)), { ttlMs: 300 })
    scene.defer(lease.stop)
    await until(() => lease.taken() >= 60, { message: 'the lease is taken', timeoutMs: 40_000 })
    const { overlaps, changes } = await lease.stop()
    expect(overlaps).toEqual([])
    expect(changes).toBeGreaterThan(20)
  },
)

onCluster(
  'a job runs in one instance at a time, whichever Galera nodes they are on: once an interval',
  async () => {
    await using scene = createScene()
    const services = await startAll(scene, await databaseOf(scene, cluster), { RETENTION_INTERVAL: '1' })
    const rounds = () =>
      services.flatMap(({ logs }) => logs.filter(({ message }) => message === 'retention finished'))
    await until(() => rounds().length >= 4, { message: 'rounds of retention', timeoutMs: 30_000 })
    const times = rounds()
      .map(({ timestamp }) => Date.parse(timestamp))
      .sort((a, b) => a - b)
    // An interval of 1 s by the database's clock; the moment of the log line may vary by a few statements.
    expect(Math.min(...times.slice(1).map((time, i) => time - times[i]!))).toBeGreaterThan(800)
  },
)

onCluster(
  'instances on all Galera nodes write the same keys and flush across each other: no commit that lost costs a row',
  async () => {
    await using scene = createScene()
    const database = await databaseOf(scene, cluster)
    const all = (await startAll(scene, database, { MAX_BUFFER_SIZE: '100' })).map(instance)
    await all[0]!.sessions([sessionItem('s')])
    const before = await cluster.conflicts()

    const rounds = 8
    const keys = 300
    await Promise.all(
      all.map(async (on, side) => {
        for (let round = 0; round < rounds; round++) {
          const words = { target_text: `side ${side}, round ${round}`, retry_count: round }
          const items = taskItems('s', keys, words)
          expect((await on.tasks(side % 2 === 0 ? items : items.reverse())).status).toBe(202)
          // Each alone has a field that only it writes: a row's halves come from all nodes.
          const own = { [['context', 'error_message', 'batch_id'][side]!]: `${side}/${round}` }
          const halves = items.map(({ task_id }) => ({ session_id: 's', task_id, ...own }))
          expect((await on.patchTasks(halves)).status).toBe(202)
          if (round % 3 === side) expect((await on.flush()).status).toBe(200)
        }
      }),
    )
    expect((await Promise.all(all.map((on) => on.flush()))).map(({ status }) => status)).toEqual([
      200, 200, 200,
    ])

    expect(await cluster.conflicts()).toBeGreaterThan(before)
    const [tasks, ...elsewhere] = await Promise.all(all.map((on) => on.allTasks('s')))
    for (const same of elsewhere) expect(same).toEqual(tasks!)
    expect(tasks!.length).toBe(keys)
    const lastWords = new Set(tasks!.map(({ target_text, retry_count }) => `${target_text}: ${retry_count}`))
    expect(lastWords.size).toBe(1)
    expect([...lastWords][0]).toMatch(new RegExp(`^side [0-2], round ${rounds - 1}: ${rounds - 1}$`))
    for (const task of tasks!) {
      expect(task).toMatchObject({ context: `0/${rounds - 1}`, error_message: `1/${rounds - 1}` })
    }
    for (const on of all) {
      expect(await on.balance()).toMatchObject({ accepted: 2 * keys * rounds, buffered: 0, dead_lettered: 0 })
      expect(await letters(on)).toBe(0)
    }
  },
)

onCluster(
  'a flush asked of one instance stores what those on the other Galera nodes hold, also when all are asked at once',
  async () => {
    await using scene = createScene()
    const database = await databaseOf(scene, cluster)
    const all = (await startAll(scene, database)).map(instance)
    for (let round = 0; round < 10; round++) {
      await Promise.all(all.map((on, side) => on.tasks(taskItems(`s-${round}-${side}`, 20))))
      const asked = round % 2 === 0 ? all : [all[round % all.length]!]
      const answers = await Promise.all(asked.map((on) => on.flush()))
      for (const { status, body } of answers) {
        expect({ status, missing: body.missing_instances ?? [] }).toEqual({ status: 200, missing: [] })
      }
      const [row] = await database.query(
        round % all.length,
        'SELECT COUNT(*) AS stored FROM translation_tasks',
      )
      expect(Number(row!.stored)).toBe((round + 1) * 20 * all.length)
    }
  },
)

onCluster(
  'a session that another Galera node writes to is not deleted by what was examined before',
  async () => {
    await using scene = createScene()
    const database = await databaseOf(scene, cluster)
    const [, other] = await backendsOf(scene, database)
    const coordination = other!.coordination!
    const count = 200
    const ids = Array.from({ length: count }, (_, i) => `s-${i}`)
    const rows = ids.map((id) => `('${id}', NOW(3), NOW(3), X'01')`).join(', ')
    await database.query(
      0,
      `INSERT INTO translation_sessions (session_id, created_at, updated_at, stamps) VALUES ${rows}`,
    )
    const outcomes = { put: 0, spared: 0, unseen: [] as string[] }
    for (const id of ids) {
      const seen = await coordination.stampsOf(translationSessions, id)
      const [written, put] = await Promise.all([
        database.writeThenLook(
          0,
          `UPDATE translation_sessions SET stamps = X'02' WHERE session_id = '${id}'`,
          `SELECT stamp FROM tombstones WHERE group_key = '${id}'`,
        ),
        coordination.putTombstoneIfUnchanged(translationSessions, id, 1n, seen),
      ])
      outcomes[put ? 'put' : 'spared']++
      // The write was first: a tombstone before it would be there right after its commit.
      if (put && written.length === 0) outcomes.unseen.push(id)
    }
    expect(outcomes.unseen).toEqual([])
    // Both orders came up.
    expect(outcomes.spared).toBeGreaterThan(0)
    expect(outcomes.put + outcomes.spared).toBe(count)
  },
)

onOwnCluster(
  'a Galera node killed and rejoined under load: its instance goes on accepting, nothing is lost, leases hold',
  async () => {
    const killed = 1
    const survivors = [0, 2]
    await using scene = createScene()
    const nodes = await ownCluster()
    const database = await databaseOf(scene, nodes)
    const env = { MAX_BUFFER_SIZE: '100', FLUSH_INTERVAL: '1', DB_STATEMENT_TIMEOUT: '5' }
    const services = await startAll(scene, database, env)
    const all = services.map(instance)
    const lease = watchLease(await backendsOf(scene, database), { ttlMs: 400 })
    const load = startLoad(all)
    scene.defer(() => Promise.all([load.stop(), lease.stop()]))

    await load.acknowledged(10)
    await nodes.kill(killed)
    await until(async () => (await all[killed]!.health()).database === 'unhealthy', {
      message: 'the instance on the killed node notices',
      timeoutMs: 30_000,
    })
    const down = all[killed]!
    expect([await down.ready(), (await down.session('s')).status]).toEqual([200, 503])
    // The others go on storing, and say who does not.
    const stored = async (on: Instance) =>
      (await on.health()).buffer.conservation.reduce((sum, figures) => sum + figures.stored, 0)
    for (const place of survivors) {
      const on = all[place]!
      const before = await stored(on)
      await until(async () => (await stored(on)) > before, {
        message: 'a survivor stores',
        timeoutMs: 60_000,
      })
    }
    await until(
      async () => {
        const { status, body } = await all[0]!.flush()
        return status === 504 && String(body.missing_instances) === `on-node-${killed}`
      },
      { message: 'the instance on the killed node is named', timeoutMs: 60_000 },
    )
    await load.acknowledged(10)
    expect((await down.health()).buffer.total_count).toBeGreaterThan(0)

    await nodes.rejoin(killed)
    await until(async () => (await down.health()).database === 'healthy', {
      message: 'the node that rejoined is used again',
      timeoutMs: 30_000,
    })
    await load.acknowledged(10)
    const { expected, created, refusals } = await load.stop()
    expect(refusals).toEqual([])
    for (const on of all) {
      await until(async () => (await on.flush()).status === 200, { message: 'a flush', timeoutMs: 60_000 })
    }

    for (const on of all) {
      const tasks = await on.allTasks('s')
      expect(tasks).toHaveLength(expected.length)
      expect(tasks).toMatchObject(expected)
      expect((await on.allTasks('new')).map(({ task_id }) => task_id)).toEqual(created)
      expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0 })
      expect(await letters(on)).toBe(0)
    }
    const { overlaps, changes } = await lease.stop()
    expect(overlaps).toEqual([])
    expect(changes).toBeGreaterThan(20)
  },
)

onOwnCluster(
  'a Galera node that is left without a majority refuses everything: an outage, so all is kept and stored afterwards',
  async () => {
    await using scene = createScene()
    const nodes = await ownCluster()
    const database = await databaseOf(scene, nodes)
    const url = database.urls[0]!
    const left = instance(
      await scene.start({ DATABASE_URL: url, MAX_BUFFER_SIZE: '50', FLUSH_INTERVAL: '1' }),
    )
    await left.sessions([sessionItem('s')])
    await left.flush()

    await Promise.all([nodes.kill(1), nodes.kill(2)])
    await until(async () => (await left.health()).database === 'unhealthy', {
      message: 'the instance on the node that is left notices',
      timeoutMs: 30_000,
    })
    await until(async () => (await refusalOf(url)) === NOT_READY, {
      message: 'the node knows that it is alone',
      timeoutMs: 30_000,
    })
    for (let from = 0; from < 500; from += 100)
      expect((await left.tasks(taskItems('s', 100, { from }))).status).toBe(202)
    expect((await left.session('s')).status).toBe(503)

    await Promise.all([nodes.rejoin(1), nodes.rejoin(2)])
    await until(async () => (await left.flush()).status === 200, { message: 'a flush', timeoutMs: 60_000 })
    expect((await left.allTasks('s')).length).toBe(500)
    expect(await left.balance()).toMatchObject({ accepted: 500, stored: 500, dead_lettered: 0 })
    expect(await letters(left)).toBe(0)
  },
)

/** What each side alone writes, so that the last word on it is known. */
const FIELDS = ['target_text', 'retry_count', 'context'] as const
const KEYS = 120

/** Every instance writes to the same tasks, a field of its own, and makes new ones; one request after the other. */
function startLoad(all: readonly Instance[]) {
  const last = FIELDS.map(() => new Map<string, unknown>())
  const created: string[] = []
  const refusals: Item[] = []
  const acknowledged = all.map(() => 0)
  let stopped = false

  async function side(on: Instance, place: number): Promise<void> {
    const field = FIELDS[place]!
    if (place === 0) await on.sessions([sessionItem('s'), sessionItem('new')])
    for (let round = 0; !stopped; round++) {
      const value = field === 'retry_count' ? round : `${field} ${round}`
      const items = Array.from({ length: 40 }, (_, i) =>
        taskItem('s', taskId((round * 17 + i * (place + 1)) % KEYS)),
      )
      const fresh = `${place}-${String(round).padStart(6, '0')}`
      const answers = [
        await on.tasks([...items.map((item) => ({ ...item, [field]: value })), taskItem('new', fresh)]),
        await on.patchTasks(
          items.slice(0, 10).map(({ session_id, task_id }) => ({ session_id, task_id, [field]: value })),
        ),
      ]
      for (const { status, body } of answers)
        if (status !== 202) refusals.push({ place, round, status, body })
      for (const { task_id } of items) last[place]!.set(String(task_id), value)
      created.push(fresh)
      acknowledged[place]!++
    }
  }

  const sides = Promise.all(all.map(side))
  return {
    /** Waits until every side has had so many rounds more. */
    async acknowledged(rounds: number) {
      const from = [...acknowledged]
      await until(() => acknowledged.every((count, place) => count >= from[place]! + rounds), {
        message: 'every instance accepts',
        timeoutMs: 60_000,
      })
    },
    async stop() {
      stopped = true
      await sides
      const ids = [...new Set(last.flatMap((values) => [...values.keys()]))].sort()
      const expected: Item[] = ids.map((task_id) => ({
        task_id,
        ...Object.fromEntries(FIELDS.map((field, place) => [field, last[place]!.get(task_id) ?? null])),
      }))
      return { expected, created: created.sort(), refusals }
    },
  }
}

const taskId = (n: number) => `task_${String(n).padStart(4, '0')}`
