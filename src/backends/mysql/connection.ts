/** The pool, and the only way to a connection: with a deadline, after which the connection is thrown away. */
import type { SQL } from 'drizzle-orm'
import { MySqlDialect } from 'drizzle-orm/mysql-core'
import { drizzle } from 'drizzle-orm/mysql2'
import mysql from 'mysql2/promise'
import { withDeadline } from '../../lib/retry.ts'
import type { Secret } from '../../lib/secret.ts'
import { BackendError } from '../backend.ts'
import type { SqlSession } from '../sql/codec.ts'
import { repeatingConflicts } from './conflicts.ts'
import { toBackendError } from './errors.ts'

export interface MysqlConfig {
  host: string
  port: number
  user: string
  password: Secret
  database: string
  pool_size: number
  /** Seconds. */
  connect_timeout: number
  /** Seconds; bounds statements that write. */
  statement_timeout: number
  ssl?: boolean
}

/**
 * Every connection starts alike, whatever the server's defaults: UTC, strict, backslash escapes as the
 * driver writes them, bounded lock waits, and no gap locks between parallel upserts.
 */
const sessionSetup = (statementTimeoutS: number) => [
  // The server ends a statement that nobody waits for any more; each kind of server has its own name for that.
  `SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = 5, lock_wait_timeout = 5 /*M!100100 , max_statement_time = ${statementTimeoutS} */ /*!80000 , max_execution_time = ${Math.round(statementTimeoutS * 1000)} */`,
  'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
]

/**
 * On Galera a node may lag behind what another one has committed: every statement, be it a read (1), an
 * UPDATE or DELETE (2) or an INSERT (4), first waits until its node has caught up.
 */
const GALERA_SETUP = 'SET SESSION wsrep_sync_wait = 7'
/** "Unknown system variable": the server was built without Galera. */
const UNKNOWN_VARIABLE = 1193

export type MysqlPool = ReturnType<typeof openPool>

export function openPool(config: MysqlConfig) {
  const options = {
    host: config.host,
    port: config.port,
    user: config.user,
    password: config.password.reveal(),
    database: config.database,
    connectTimeout: config.connect_timeout * 1000,
    charset: 'utf8mb4',
    dateStrings: true,
    supportBigNumbers: true,
    // JSON stays text: MySQL says its type, MariaDB only sometimes, and the dialect decodes both alike.
    jsonStrings: true,
    // A stack for each statement, for the sake of the few that fail, costs a tenth of a short query.
    trace: false,
    ...(config.ssl && { ssl: {} }),
  } satisfies mysql.ConnectionOptions
  const { $client: pool } = drizzle(mysql.createPool({ ...options, connectionLimit: config.pool_size }))
  pool.pool.on('connection', (connection) => {
    // Later than the client's own deadline, which tells one's own impatience from the server's.
    for (const statement of sessionSetup(config.statement_timeout + 1)) {
      connection.query(statement, (error: unknown) => {
        if (error) connection.destroy()
      })
    }
    connection.query(GALERA_SETUP, (error: { errno?: number } | null) => {
      if (error && error.errno !== UNKNOWN_VARIABLE) connection.destroy()
    })
  })
  const dialect = new MySqlDialect()

  /**
   * Lends a connection for `work`. Past the deadline, or after an error of the connection's own, it is
   * destroyed: nobody knows what it is still doing. Throws BackendError.
   */
  async function lend<T>(
    timeoutMs: number,
    work: (connection: mysql.PoolConnection) => Promise<T>,
    options?: { keep: boolean },
  ): Promise<T> {
    const expired = () => new BackendError('outage', 'TIMEOUT', `no answer within ${timeoutMs} ms`)
    const deadline = Date.now() + timeoutMs
    const acquiring = pool.getConnection()
    let connection: mysql.PoolConnection
    try {
      connection = await withDeadline(acquiring, timeoutMs, expired)
    } catch (error) {
      acquiring.then((late) => late.release()).catch(() => undefined) // its failure has been reported already
      throw toBackendError(error)
    }
    try {
      const result = await withDeadline(work(connection), Math.max(1, deadline - Date.now()), expired)
      if (!options?.keep) connection.release()
      return result
    } catch (error) {
      const failure = toBackendError(error)
      if (failure.kind === 'outage') connection.destroy()
      else connection.release()
      throw failure
    }
  }

  /** Statements on one connection; each may be repeated by the caller, none is repeated here. */
  function sessionOn(connection: mysql.PoolConnection): SqlSession {
    const query = async (statement: SQL, rowsAsArray: boolean) => {
      const { sql, params } = dialect.sqlToQuery(statement)
      const [result] = await connection.query({ sql, values: params, rowsAsArray })
      return result
    }
    return {
      all: async (statement) => (await query(statement, true)) as unknown[][],
      run: async (statement) => ((await query(statement, false)) as mysql.ResultSetHeader).affectedRows,
    }
  }

  /** Half of the pool at most is kept by snapshots: everything else goes on beside them. */
  const maxPinned = Math.max(1, Math.floor(config.pool_size / 2))
  let pinned = 0
  const waitingPins: (() => void)[] = []

  async function pinTurn(timeoutMs: number): Promise<void> {
    if (pinned < maxPinned) {
      pinned++
      return
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    waitingPins.push(resolve)
    const busy = () =>
      new BackendError('outage', 'BUSY', `no connection for a snapshot within ${timeoutMs} ms`)
    try {
      await withDeadline(promise, timeoutMs, busy)
    } catch (error) {
      const place = waitingPins.indexOf(resolve)
      if (place >= 0) waitingPins.splice(place, 1)
      else endPin() // its turn came too late: the next one's
      throw error
    }
  }

  /** Hands the place to who waits for it. */
  function endPin(): void {
    const next = waitingPins.shift()
    if (next) next()
    else pinned--
  }

  /** A connection kept for several statements, each with the deadline; `release` or `destroy` ends it. */
  async function pin(timeoutMs: number) {
    await pinTurn(timeoutMs)
    const connection = await lend(timeoutMs, async (borrowed) => borrowed, { keep: true }).catch((error) => {
      endPin()
      throw error
    })
    const inner = sessionOn(connection)
    const bounded = async <T>(work: Promise<T>): Promise<T> => {
      const expired = () => new BackendError('outage', 'TIMEOUT', `no answer within ${timeoutMs} ms`)
      try {
        return await withDeadline(work, timeoutMs, expired)
      } catch (error) {
        throw toBackendError(error)
      }
    }
    const session: SqlSession = {
      all: (statement) => bounded(inner.all(statement)),
      run: (statement) => bounded(inner.run(statement)),
    }
    let over = false
    const end = (how: () => void) => {
      if (over) return
      over = true
      how()
      endPin()
    }
    return {
      session,
      release: () => end(() => connection.release()),
      destroy: () => end(() => connection.destroy()),
    }
  }

  return {
    lend,
    pin,
    sessionOn,
    /** A statement as text and parameters. */
    compile: (statement: SQL) => dialect.sqlToQuery(statement),
    /** Makes the configured database where it isn't there yet. */
    async createDatabase() {
      const { database, ...server } = options
      const connection = await mysql.createConnection(server)
      try {
        await connection.query('CREATE DATABASE IF NOT EXISTS ?? CHARACTER SET utf8mb4', [database])
      } catch (error) {
        throw toBackendError(error)
      } finally {
        connection.destroy()
      }
    },
    /** A session that borrows a connection for each statement, and repeats it after a conflict. */
    session(timeoutMs: number): SqlSession {
      const on = <T>(work: (session: SqlSession) => Promise<T>) =>
        repeatingConflicts(timeoutMs, (leftMs) => lend(leftMs, (connection) => work(sessionOn(connection))))
      return {
        all: (statement) => on((session) => session.all(statement)),
        run: (statement) => on((session) => session.run(statement)),
      }
    },
    usage() {
      const inner = pool.pool as unknown as Record<string, { length: number } | undefined>
      const all = inner._allConnections?.length ?? 0
      const idle = inner._freeConnections?.length ?? 0
      return { active: all - idle, idle, waiting: inner._connectionQueue?.length ?? 0, max: config.pool_size }
    },
    close: () => pool.end(),
  }
}
