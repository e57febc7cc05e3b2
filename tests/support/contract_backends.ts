/** The backends that the contract suites run over, one line each, with fresh stores for a suite. */
import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, describe, expect, spyOn, test } from 'bun:test'
import { join } from 'node:path'
import { PoolConnection, type RowDataPacket } from 'mysql2/promise'
import type { Backend } from '../../src/backends/backend.ts'
import { type BackendSpec, openBackend } from '../../src/backends/catalog.ts'
import type { MysqlConfig } from '../../src/backends/mysql/connection.ts'
import type { Collection } from '../../src/collections/definition.ts'
import { translationSessions, translationTasks } from '../../src/collections/translation.ts'
import { databaseUrlParts } from '../../src/config/database_url.ts'
import { secret } from '../../src/lib/secret.ts'
import { freshDatabase, freshFolder, type SqlServer, sqlServers } from './backends.ts'

/** What a backend may offer; what it doesn't list is asserted absent. */
export type Facet = 'records' | 'blobs' | 'coordination' | 'pool'
const FACETS: readonly Facet[] = ['records', 'blobs', 'coordination', 'pool']

/** A backend of the contract, and what it promises. */
export interface BackendKind {
  name: string
  offers: readonly Facet[]
  /** Whose SQL `execute` takes. */
  dialect: 'sqlite' | 'mysql'
  /** Why this run leaves it out. */
  skip?: string
  open(options?: OpenOptions): Promise<OpenStore>
}

interface OpenOptions {
  owner?: string
  /** False leaves the store as it is found; the default migrates it. */
  prepare?: boolean
}

/** Settings of one instance. */
export interface InstanceOptions {
  owner?: string
  readTimeoutMs?: number
  /** What differs from the store's own connection; mysql only. */
  connection?: Partial<MysqlConfig>
}

/** A store made for one suite. */
export interface OpenStore {
  backend: Backend
  /** How another instance would be configured for the same store. */
  spec: BackendSpec
  /** Another instance on the same store, not prepared; closed with the suite. */
  openAnother(options?: InstanceOptions): Promise<Backend>
  /** Runs one statement past the backend, for what the contract has no word for. */
  execute(statement: string): Promise<Record<string, unknown>[]>
  /** Closes every instance and drops the store. */
  close(): Promise<void>
}

/** Every backend, one line each. */
export const backendKinds: readonly BackendKind[] = [
  { name: 'sqlite', dialect: 'sqlite', offers: ['records', 'coordination'], open: openSqliteStore },
  serverKind('mysql'),
  serverKind('mariadb'),
]

/** Every kind of collection that a record backend holds, one line each. */
export const recordCollections: readonly Collection[] = [translationSessions, translationTasks]

/** Runs a suite over every backend that offers what it needs; the title says why one is left out. */
export function onEachBackend(
  title: string,
  needs: Facet,
  body: (store: () => OpenStore, kind: BackendKind) => void,
): void {
  for (const kind of backendKinds) {
    if (kind.skip !== undefined) {
      test.skip(`${kind.name}: ${title} (left out: ${kind.skip})`, () => undefined)
      continue
    }
    if (!kind.offers.includes(needs)) {
      test(`${kind.name}: ${title} (not offered: it has no ${needs})`, async () => {
        const opened = await kind.open()
        expect(opened.backend[needs]).toBeUndefined()
        await opened.close()
      })
      continue
    }
    describe(`${kind.name}: ${title}`, () => {
      let opened: OpenStore
      beforeAll(async () => {
        opened = await kind.open()
      })
      afterAll(() => opened?.close())
      body(() => opened, kind)
    })
  }
}

/** The same, for every kind of collection that holds records. */
export function onEachCollection(
  title: string,
  body: (collection: Collection, store: () => OpenStore, kind: BackendKind) => void,
): void {
  onEachBackend(title, 'records', (store, kind) => {
    describe.each(recordCollections.map((collection) => [collection.name, collection] as const))(
      '%s',
      (_, collection) => body(collection, store, kind),
    )
  })
}

/** That what is there is what the list above says. */
export function assertFacets({ offers }: BackendKind, backend: Backend): void {
  for (const facet of FACETS) {
    if (offers.includes(facet)) expect(backend[facet], facet).toBeDefined()
    else expect(backend[facet], facet).toBeUndefined()
  }
}

/** Counts the statements (for sqlite: the transactions) of every write during `work`. */
export async function countStatements(kind: BackendKind, work: () => Promise<unknown>): Promise<number> {
  const spy =
    kind.dialect === 'sqlite'
      ? spyOn(Database.prototype, 'transaction')
      : spyOn(PoolConnection.prototype, 'query')
  try {
    await work()
    return spy.mock.calls.length
  } finally {
    spy.mockRestore()
  }
}

/** Configuration of a server's database given by its URL. */
export function mysqlSpec(url: string): BackendSpec & { type: 'mysql' } {
  const parts = databaseUrlParts(url)
  if (typeof parts === 'string') throw new Error(`not a database URL: ${parts}`)
  return {
    type: 'mysql',
    config: {
      host: parts.DB_HOST!,
      port: Number(parts.DB_PORT),
      user: parts.DB_USER!,
      password: secret(parts.DB_PASSWORD ?? ''),
      database: parts.DB_DATABASE!,
      pool_size: 10,
      connect_timeout: 5,
      statement_timeout: 30,
    },
  }
}

function serverKind(name: SqlServer): BackendKind {
  return {
    name,
    dialect: 'mysql',
    offers: ['records', 'coordination', 'pool'],
    ...(!sqlServers.includes(name) && { skip: `TEST_${name.toUpperCase()}_URL is not set` }),
    async open(options) {
      const database = await freshDatabase(name)
      return openStore(mysqlSpec(database.url), options, {
        execute: (statement) => database.query<RowDataPacket[]>(statement),
        drop: database.drop,
      })
    },
  }
}

async function openSqliteStore(options?: OpenOptions): Promise<OpenStore> {
  const folder = await freshFolder()
  const path = join(folder.env.DATA_DIR!, 'contract.sqlite')
  return openStore({ type: 'sqlite', config: { path } }, options, {
    async execute(statement) {
      const client = new Database(path)
      try {
        client.run('PRAGMA busy_timeout = 5000')
        return client.query(statement).all() as Record<string, unknown>[]
      } finally {
        client.close()
      }
    },
    drop: folder.drop,
  })
}

async function openStore(
  spec: BackendSpec,
  { owner = 'first', prepare = true }: OpenOptions = {},
  { execute, drop }: Pick<OpenStore, 'execute'> & { drop(): Promise<void> },
): Promise<OpenStore> {
  const opened: Backend[] = []
  const open = async (options: InstanceOptions) => {
    const own: BackendSpec =
      spec.type === 'mysql' ? { ...spec, config: { ...spec.config, ...options.connection } } : spec
    const backend = await openBackend('store', own, {
      owner: options.owner ?? 'another',
      readTimeoutMs: options.readTimeoutMs ?? 5000,
    })
    opened.push(backend)
    return backend
  }
  const backend = await open({ owner })
  if (prepare) await backend.prepare({ migrate: true })
  return {
    backend,
    spec,
    execute,
    openAnother: (options = {}) => open(options),
    async close() {
      await Promise.all(opened.map((one) => one.close()))
      await drop()
    },
  }
}
