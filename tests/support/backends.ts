/** The record backends that this run covers, each with fresh stores of its own for a test. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConnection, type QueryResult, type QueryValues } from 'mysql2/promise'

/** Servers that speak MySQL's protocol; `tests/run.ts` finds them and says where they are. */
export type SqlServer = 'mysql' | 'mariadb'

const VARIABLES: Record<SqlServer, string> = { mysql: 'TEST_MYSQL_URL', mariadb: 'TEST_MARIADB_URL' }

/** Configuration of a service on stores that nobody has used, and their removal. */
export interface FreshEnv {
  env: Record<string, string>
  drop(): Promise<void>
}

/** A record backend under test. */
export interface BackendUnderTest {
  name: 'sqlite' | SqlServer
  /** A folder for DATA_DIR and, for a server, a database of its own as DATABASE_URL. */
  freshEnv(): Promise<FreshEnv>
}

/** A database made for one test. */
export interface FreshDatabase {
  url: string
  name: string
  /** Runs one statement on a connection of its own; rows for a query, mysql2's header for a change. */
  query<T extends QueryResult>(statement: string, params?: QueryValues): Promise<T>
  drop(): Promise<void>
}

/** Those of the servers whose address this run was given. */
export const sqlServers: readonly SqlServer[] = (['mysql', 'mariadb'] as const).filter(
  (server) => process.env[VARIABLES[server]],
)

/** SQLite always, the servers where they are. */
export const recordBackends: readonly BackendUnderTest[] = [
  { name: 'sqlite', freshEnv: freshFolder },
  ...sqlServers.map((name) => ({ name, freshEnv: () => freshServerEnv(name) })),
]

/** An empty folder as DATA_DIR. */
export async function freshFolder(): Promise<FreshEnv> {
  const folder = await mkdtemp(join(tmpdir(), 'persistence-test-'))
  return { env: { DATA_DIR: folder }, drop: () => rm(folder, { recursive: true, force: true }) }
}

async function freshServerEnv(server: SqlServer): Promise<FreshEnv> {
  const [database, folder] = await Promise.all([freshDatabase(server), freshFolder()])
  return {
    env: { ...folder.env, DATABASE_URL: database.url },
    async drop() {
      await Promise.all([database.drop(), folder.drop()])
    },
  }
}

/** Makes an empty database, with the server's default character set. Throws when this run has no such server. */
export async function freshDatabase(server: SqlServer): Promise<FreshDatabase> {
  const address = process.env[VARIABLES[server]]
  if (!address) throw new Error(`${VARIABLES[server]} is not set: this run has no ${server}`)
  const name = `persistence_test_${process.pid}_${crypto.randomUUID().slice(0, 8)}`
  const url = new URL(address)
  url.pathname = '/'
  const serverUrl = url.href
  await execute(serverUrl, `CREATE DATABASE ${name}`)
  url.pathname = `/${name}`
  return {
    url: url.href,
    name,
    query: (statement, params) => execute(url.href, statement, params),
    async drop() {
      await execute(serverUrl, `DROP DATABASE IF EXISTS ${name}`)
    },
  }
}

async function execute<T extends QueryResult>(
  url: string,
  statement: string,
  params: QueryValues = [],
): Promise<T> {
  const connection = await createConnection({ uri: url, timezone: 'Z', charset: 'utf8mb4' })
  try {
    const [result] = await connection.query<T>(statement, params)
    return result
  } finally {
    await connection.end()
  }
}
