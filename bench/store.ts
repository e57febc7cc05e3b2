/** A store that a benchmark has to itself: a database of its own, or a file; gone afterwards. */

import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConnection, type RowDataPacket } from 'mysql2/promise'
import type { Backend } from '../src/backends/backend.ts'
import { type BackendSpec, openBackend } from '../src/backends/catalog.ts'
import { COLLECTIONS } from '../src/collections/catalog.ts'
import { type Config, loadConfig } from '../src/config/mod.ts'
import type { BenchOptions, StoreKind } from './args.ts'

export interface BenchStore {
  kind: StoreKind
  /** `mysql://…/database`, or null for sqlite. */
  url: string | null
  /** Path of the file, or null for a server. */
  file: string | null
  /** Makes a service use this store, with a DATA_DIR of its own. */
  env: Record<string, string>
  /** The whole configuration that a service with that environment has. */
  config: Config
  drop(): Promise<void>
}

const READ_TIMEOUT_MS = 60_000
/** Stores that were made and not dropped yet. */
const open = new Set<BenchStore>()

/** Drops what an interrupted run would leave behind. */
export async function dropStores(): Promise<void> {
  await Promise.all([...open].map((store) => store.drop()))
}

/** Makes an empty store of the kind asked for. */
export async function createStore(options: BenchOptions): Promise<BenchStore> {
  const made = await makeStore(options)
  const store: BenchStore = {
    ...made,
    async drop() {
      open.delete(store)
      await made.drop()
    },
  }
  open.add(store)
  return store
}

async function makeStore({ kind, serverUrl }: BenchOptions): Promise<BenchStore> {
  const folder = await mkdtemp(join(tmpdir(), 'persistence-bench-'))
  const dropFolder = () => rm(folder, { recursive: true, force: true })
  if (serverUrl === null) {
    const env = { DATA_DIR: folder }
    return {
      kind,
      url: null,
      file: join(folder, 'persistence.sqlite'),
      env,
      config: configOf(env),
      drop: dropFolder,
    }
  }
  const name = `persistence_bench_${process.pid}_${crypto.randomUUID().slice(0, 8)}`
  const url = new URL(serverUrl)
  url.pathname = '/'
  const server = url.href
  await execute(server, `CREATE DATABASE ${name} CHARACTER SET utf8mb4`)
  url.pathname = `/${name}`
  const env = { DATA_DIR: folder, DATABASE_URL: url.href }
  return {
    kind,
    url: url.href,
    file: null,
    env,
    config: configOf(env),
    async drop() {
      await execute(server, `DROP DATABASE IF EXISTS ${name}`)
      await dropFolder()
    },
  }
}

function configOf(env: Record<string, string>): Config {
  return loadConfig({ env, readFile: (path) => readFileSync(path, 'utf8'), collections: [...COLLECTIONS] })
}

/** The store's backend as the service opens it, with its tables made. The caller closes it. */
export async function openPrepared({ config }: BenchStore): Promise<Backend> {
  const name = config.storage.routes.translation_tasks!
  const spec: BackendSpec = config.storage.backends[name]!
  const backend = await openBackend(name, spec, { owner: 'bench', readTimeoutMs: READ_TIMEOUT_MS })
  await backend.prepare({ migrate: true })
  return backend
}

/** `MySQL 9.7.4`, `MariaDB 10.11.6`, `SQLite 3.50`. */
export async function storeVersion({ serverUrl }: BenchOptions): Promise<string> {
  if (serverUrl === null) {
    const { Database } = await import('bun:sqlite')
    const memory = new Database(':memory:')
    const found = memory.query('SELECT sqlite_version() AS version').get() as { version: string }
    memory.close()
    return `SQLite ${found.version}`
  }
  const [row] = await execute(serverUrl, 'SELECT VERSION() AS version')
  const version = String(row?.version)
  return /mariadb/i.test(version) ? `MariaDB ${version.replace(/-MariaDB.*/i, '')}` : `MySQL ${version}`
}

async function execute(url: string, statement: string): Promise<RowDataPacket[]> {
  const connection = await createConnection(url)
  try {
    const [rows] = await connection.query<RowDataPacket[]>(statement)
    return Array.isArray(rows) ? rows : []
  } finally {
    await connection.end()
  }
}
