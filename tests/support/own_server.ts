/** A MySQL or MariaDB of a test's own, from what is installed: to be paused, killed, filled up and started again. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConnection, type QueryResult, type QueryValues } from 'mysql2/promise'
import { type Family, initialise, runAs } from './mysql_servers.ts'
import { endProcess, findProgram, freePort, lastWords, run } from './processes.ts'
import { until } from './waiting.ts'

const INSTALL_TIMEOUT_MS = 120_000
const ANSWER_TIMEOUT_MS = 60_000
const PROGRAMS: Record<Family, string> = { mysql: 'mysqld', mariadb: 'mariadbd' }
/** `app` may do nothing that a service's account may not: a server keeps a connection, and writes, for others. */
const ACCOUNTS = `
CREATE USER IF NOT EXISTS 'test'@'127.0.0.1' IDENTIFIED BY 'test';
GRANT ALL ON *.* TO 'test'@'127.0.0.1';
CREATE DATABASE IF NOT EXISTS app;
CREATE USER IF NOT EXISTS 'app'@'127.0.0.1' IDENTIFIED BY 'app';
GRANT ALL ON app.* TO 'app'@'127.0.0.1';
`

export interface OwnServer extends AsyncDisposable {
  /** The service's account, and its database. */
  url: string
  /** The same database, for an account that may do everything. */
  adminUrl: string
  /** One statement as that account, on a connection of its own. */
  query<T extends QueryResult>(statement: string, params?: QueryValues): Promise<T>
  /** Empties the database. */
  clear(): Promise<void>
  /** SIGSTOP: it takes connections, as its kernel does, and answers nothing. */
  pause(): void
  resume(): void
  /** An orderly end. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** Starts it again, at the same address; answers when it does. */
  start(): Promise<void>
}

/** Why no server of that family can be started here; null where it can. */
export async function missingServer(family: Family): Promise<string | null> {
  const program = findProgram(PROGRAMS[family])
  if (!program) return `no ${PROGRAMS[family]} installed`
  const isMariadb = /mariadb/i.test(await run([program, '--no-defaults', '--version'], 5000))
  return isMariadb === (family === 'mariadb') ? null : `the ${PROGRAMS[family]} installed is no ${family}`
}

/** Starts one with an empty database, in a folder that goes with it. */
export async function startOwnServer(family: Family): Promise<OwnServer> {
  const program = findProgram(PROGRAMS[family])!
  const folder = await mkdtemp(join(tmpdir(), `persistence-own-${family}-`))
  const log = join(folder, 'log')
  const data = [...(await runAs(folder)), `--datadir=${join(folder, 'data')}`]
  const small = ['--innodb-buffer-pool-size=32M', '--performance-schema=OFF', '--skip-log-bin']
  await run(initialise(family, program, data), INSTALL_TIMEOUT_MS)
  await writeFile(join(folder, 'accounts.sql'), ACCOUNTS)
  const port = await freePort()
  const address = (account: string) => `mysql://${account}:${account}@127.0.0.1:${port}/app`
  // biome-ignore format: one option after the other
  const command = [
    program, '--no-defaults', ...data, ...small, `--port=${port}`, '--bind-address=127.0.0.1',
    `--init-file=${join(folder, 'accounts.sql')}`, `--socket=${join(folder, 's')}`, `--pid-file=${join(folder, 'pid')}`,
    ...(family === 'mysql' ? ['--mysqlx=OFF', '--secure-file-priv=NULL'] : []),
  ]
  let child: Bun.Subprocess | null = null

  async function query<T extends QueryResult>(statement: string, params: QueryValues = []): Promise<T> {
    const connection = await createConnection({ uri: address('test'), timezone: 'Z', charset: 'utf8mb4' })
    try {
      return (await connection.query<T>(statement, params))[0]
    } finally {
      connection.destroy()
    }
  }

  async function start(): Promise<void> {
    const started = Bun.spawn(command, { stdin: 'ignore', stdout: 'ignore', stderr: Bun.file(log) })
    child = started
    await until(
      async () => {
        if (started.exitCode !== null) return 'ended'
        await query('SELECT 1')
        return 'answers'
      },
      { timeoutMs: ANSWER_TIMEOUT_MS, message: `${family} answers` },
    )
    if (started.exitCode !== null)
      throw new Error(`${family} ended: ${lastWords(await readFile(log, 'utf8'))}`)
  }

  const own: OwnServer = {
    url: address('app'),
    adminUrl: address('test'),
    query,
    async clear() {
      const connection = await createConnection({ uri: address('test') })
      await connection.query('DROP DATABASE app')
      await connection.query('CREATE DATABASE app')
      connection.destroy()
    },
    pause: () => child?.kill('SIGSTOP'),
    resume: () => child?.kill('SIGCONT'),
    async stop() {
      if (child) await endProcess(child)
      child = null
    },
    async kill() {
      child?.kill('SIGKILL')
      await child?.exited
      child = null
    },
    start,
    async [Symbol.asyncDispose]() {
      await this.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
  try {
    await start()
    return own
  } catch (error) {
    await own[Symbol.asyncDispose]()
    throw error
  }
}
