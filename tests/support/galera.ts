/** A Galera cluster of three nodes, all of them written to: named by the environment, or started from what is installed. */
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createConnection,
  createPool,
  type Pool,
  type PoolConnection,
  type QueryResult,
  type QueryValues,
  type RowDataPacket,
} from 'mysql2/promise'
import { initialise, runAs } from './mysql_servers.ts'
import { findProgram, freePort, lastWords, run } from './processes.ts'
import type { ServerKind } from './server_kind.ts'
import { until } from './waiting.ts'

/** Addresses of all nodes of a cluster that is there already, with commas between them. */
export const GALERA_VARIABLE = 'TEST_GALERA_URLS'

const NODES = 3
const INSTALL_TIMEOUT_MS = 120_000
/** A node that joins copies everything from another one. */
const JOIN_TIMEOUT_MS = 90_000
const CONNECT_TIMEOUT_MS = 3000
const ACCOUNT =
  "CREATE USER IF NOT EXISTS 'test'@'127.0.0.1' IDENTIFIED BY 'test';\nGRANT ALL ON *.* TO 'test'@'127.0.0.1';\n"
/** Where packages put the library that makes a cluster of servers. */
const PROVIDERS = [
  '/usr/lib/galera/libgalera_smm.so',
  '/usr/lib64/galera-4/libgalera_smm.so',
  '/usr/lib64/galera/libgalera_smm.so',
  '/usr/lib/libgalera_smm.so',
]

/** A database of one test, reached through every node. */
export interface ClusterDatabase {
  /** One address a node. */
  urls: string[]
  name: string
  /** One statement through a node, which has caught up with the others before. */
  query<T extends QueryResult = RowDataPacket[]>(
    node: number,
    statement: string,
    params?: QueryValues,
  ): Promise<T>
  /** A write through a node, and what is seen there the moment it has committed, without any waiting for others. */
  writeThenLook(node: number, write: string, look: string): Promise<RowDataPacket[]>
  drop(): Promise<void>
}

export interface Cluster {
  freshDatabase(): Promise<ClusterDatabase>
  /** Commits that lost against another node's, on all nodes since they started. */
  conflicts(): Promise<number>
  close(): Promise<void>
}

/** One whose nodes can be ended. */
export interface OwnCluster extends Cluster {
  /** SIGKILL. */
  kill(node: number): Promise<void>
  /** Starts it again; resolves when it has caught up with the others. */
  rejoin(node: number): Promise<void>
}

/** The line of the runner's table. */
export function galeraServer(): ServerKind {
  return {
    name: 'galera',
    variables: [GALERA_VARIABLE],
    identify: async ({ [GALERA_VARIABLE]: urls }) =>
      urls ? identifyCluster(urls.split(',')) : installedWords(),
    ways: [
      {
        title: 'installed, a cluster that its tests start themselves',
        async start() {
          const missing = await missingGalera()
          if (missing) throw new Error(missing)
          return { variables: {}, ended: () => undefined, stop: async () => {} }
        },
      },
    ],
  }
}

/** Why no cluster can be started here; null where one can. */
export async function missingGalera(): Promise<string | null> {
  for (const program of ['mariadbd', 'mariadb-install-db', 'rsync'])
    if (!findProgram(program)) return `no ${program} installed`
  return provider() ? null : 'no Galera library installed'
}

/** The cluster at these addresses, which is left running. */
export function namedCluster(urls: readonly string[]): Cluster {
  const pools = urls.map((uri) => {
    const pool = createPool({ uri, timezone: 'Z', charset: 'utf8mb4' })
    pool.pool.on('connection', (connection) => connection.query('SET SESSION wsrep_sync_wait = 7', () => {}))
    return pool
  })
  return {
    freshDatabase: () => freshDatabase(urls, pools),
    async conflicts() {
      const counts = await Promise.all(
        pools.flatMap((pool) =>
          ['wsrep_local_cert_failures', 'wsrep_local_bf_aborts'].map(async (name) =>
            Number(await status(pool, name)),
          ),
        ),
      )
      return counts.reduce((sum, count) => sum + count, 0)
    },
    async close() {
      await Promise.all(pools.map((pool) => pool.end()))
    },
  }
}

/** Starts three nodes on loopback, in folders that go with them. */
export async function startCluster(): Promise<OwnCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'persistence-galera-'))
  const account = await runAs(folder)
  await chmod(folder, 0o755)
  const { uid, gid } = await stat(folder)
  const nodes = await Promise.all(
    Array.from({ length: NODES }, async (_, i) => {
      const home = join(folder, `node-${i}`)
      // What is in the first one's data folder the others copy from it.
      for (const path of [home, join(home, 'data')]) {
        await mkdir(path)
        await chown(path, uid, gid)
      }
      const [port, group, copy, catchUp] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
      return { home, port, group, copy, catchUp, child: null as Bun.Subprocess | null }
    }),
  )
  const urls = nodes.map(({ port }) => `mysql://test:test@127.0.0.1:${port}`)
  const members = `gcomm://${nodes.map(({ group }) => `127.0.0.1:${group}`).join(',')}`

  async function launch(place: number, founds: boolean): Promise<void> {
    const node = nodes[place]!
    const log = join(node.home, 'log')
    // biome-ignore format: one option after the other
    const child = Bun.spawn([
      findProgram('mariadbd')!, '--no-defaults', ...account, `--datadir=${join(node.home, 'data')}`,
      `--socket=${join(node.home, 's')}`, `--pid-file=${join(node.home, 'pid')}`, `--port=${node.port}`, '--bind-address=127.0.0.1',
      '--skip-name-resolve', '--innodb-buffer-pool-size=32M', '--innodb-log-file-size=32M', '--performance-schema=OFF',
      '--binlog-format=ROW', '--innodb-autoinc-lock-mode=2', '--innodb-flush-log-at-trx-commit=0',
      '--wsrep-on=ON', `--wsrep-provider=${provider()}`, '--wsrep-cluster-name=persistence-test', `--wsrep-cluster-address=${members}`,
      `--wsrep-node-name=node-${place}`, `--wsrep-node-address=127.0.0.1:${node.group}`, '--wsrep-sst-method=rsync',
      `--wsrep-sst-receive-address=127.0.0.1:${node.copy}`,
      `--wsrep-provider-options=base_port=${node.group};gmcast.listen_addr=tcp://127.0.0.1:${node.group};ist.recv_addr=127.0.0.1:${node.catchUp};gcache.size=32M`,
      ...(founds ? ['--wsrep-new-cluster', `--init-file=${join(folder, 'account.sql')}`] : []),
    ], { stdin: 'ignore', stdout: 'ignore', stderr: Bun.file(log) })
    node.child = child
    await until(async () => child.exitCode !== null || (await isSynced(urls[place]!)), {
      timeoutMs: JOIN_TIMEOUT_MS,
      message: `node ${place} is part of the cluster`,
    })
    if (child.exitCode !== null)
      throw new Error(`node ${place} ended: ${lastWords(await readFile(log, 'utf8'))}`)
  }

  async function kill(place: number): Promise<void> {
    const { child } = nodes[place]!
    child?.kill('SIGKILL')
    await child?.exited
    nodes[place]!.child = null
  }

  async function close(): Promise<void> {
    await named?.close()
    await Promise.all(nodes.keys().map(kill))
    await rm(folder, { recursive: true, force: true })
  }

  let named: Cluster | undefined
  try {
    await writeFile(join(folder, 'account.sql'), ACCOUNT)
    const data = [...account, `--datadir=${join(nodes[0]!.home, 'data')}`]
    await run(initialise('mariadb', 'mariadbd', data), INSTALL_TIMEOUT_MS)
    for (const place of nodes.keys()) await launch(place, place === 0)
    named = namedCluster(urls)
    return { ...named, close, kill, rejoin: (place) => launch(place, false) }
  } catch (error) {
    await close()
    throw error
  }
}

async function freshDatabase(urls: readonly string[], pools: readonly Pool[]): Promise<ClusterDatabase> {
  const name = `persistence_test_${process.pid}_${crypto.randomUUID().slice(0, 8)}`
  await pools[0]!.query(`CREATE DATABASE ${name}`)
  const on = async <T>(node: number, work: (connection: PoolConnection) => Promise<T>): Promise<T> => {
    const connection = await pools[node]!.getConnection()
    try {
      await connection.query(`USE ${name}`)
      return await work(connection)
    } finally {
      connection.release()
    }
  }
  return {
    name,
    urls: urls.map((address) => Object.assign(new URL(address), { pathname: `/${name}` }).href),
    query: <T extends QueryResult>(node: number, statement: string, params: QueryValues = []) =>
      on(node, async (connection) => (await connection.query<T>(statement, params))[0]),
    writeThenLook: (node, write, look) =>
      on(node, async (connection) => {
        await connection.query('SET SESSION wsrep_sync_wait = 0')
        await connection.query(write)
        const [found] = await connection.query<RowDataPacket[]>(look)
        await connection.query('SET SESSION wsrep_sync_wait = 7')
        return found
      }),
    async drop() {
      await pools[0]!.query(`DROP DATABASE IF EXISTS ${name}`)
    },
  }
}

async function identifyCluster(urls: readonly string[]): Promise<string> {
  const words = await Promise.all(urls.map((uri) => withConnection(uri, versionOf)))
  if (urls.length !== NODES) throw new Error(`it names ${urls.length} nodes, and ${NODES} are needed`)
  const missing = await missingGalera()
  return `MariaDB ${words[0]}, ${NODES} nodes${missing ? `, but none is killed: ${missing}` : ''}`
}

async function versionOf(connection: { query: Pool['query'] }): Promise<string> {
  const state = await status(connection, 'wsrep_local_state_comment')
  if (state !== 'Synced') throw new Error(`a node is ${state || 'no part of a cluster'}`)
  const [rows] = await connection.query<RowDataPacket[]>('SELECT VERSION() AS version')
  return String(rows[0]?.version).replace(/-MariaDB.*/i, '')
}

async function installedWords(): Promise<string> {
  const words = await run([findProgram('mariadbd')!, '--no-defaults', '--version'], CONNECT_TIMEOUT_MS)
  return `MariaDB ${/\d+\.\d+\.\d+/.exec(words)?.[0]}, ${NODES} nodes`
}

async function isSynced(url: string): Promise<boolean> {
  return withConnection(
    url,
    async (connection) =>
      (await status(connection, 'wsrep_local_state_comment')) === 'Synced' &&
      (await status(connection, 'wsrep_ready')) === 'ON',
  )
}

async function status(on: { query: Pool['query'] }, name: string): Promise<string> {
  const [rows] = await on.query<RowDataPacket[]>('SHOW GLOBAL STATUS LIKE ?', [name])
  return String(rows[0]?.Value ?? '')
}

async function withConnection<T>(
  uri: string,
  work: (connection: { query: Pool['query'] }) => Promise<T>,
): Promise<T> {
  const connection = await createConnection({ uri, connectTimeout: CONNECT_TIMEOUT_MS })
  try {
    return await work(connection as unknown as { query: Pool['query'] })
  } finally {
    connection.destroy()
  }
}

function provider(): string | undefined {
  return PROVIDERS.find((path) => existsSync(path))
}
