/**
 * Listens to what this process sends to its stores: wraps the drivers' own methods for a while, so that the
 * alternative gets exactly the service's statements, whatever those are by then.
 */
import { Database } from 'bun:sqlite'
import mysql from 'mysql2'
import type { RecordedRequest, Statement } from './direct.ts'

interface Query {
  sql: string
  values?: readonly unknown[]
}
type Done = (...results: unknown[]) => void
interface DriverConnection {
  query(...args: unknown[]): unknown
}

/** The class of every connection of mysql2, pooled or not. */
const connections = (mysql as unknown as { Connection: { prototype: DriverConnection } }).Connection.prototype

/** Calls `onSend` for each statement; what that answers is called when the statement has been answered. */
function listen(onSend: (statement: Statement) => () => void): () => void {
  const { query } = connections
  connections.query = function (this: DriverConnection, ...args) {
    const [first] = args
    const { sql, values = [] } = typeof first === 'string' ? { sql: first } : (first as Query)
    const answered = onSend({ sql, values })
    const done = args.at(-1)
    if (typeof done === 'function') {
      args[args.length - 1] = (...results: unknown[]) => {
        answered()
        ;(done as Done)(...results)
      }
    }
    return query.apply(this, args)
  }
  const prepared = Database.prototype.query
  Database.prototype.query = function (this: Database, sql: string) {
    const statement = prepared.call(this, sql)
    const heard =
      <T>(method: (...values: never[]) => T) =>
      (...values: never[]) => {
        const answered = onSend({ sql, values })
        const result = method.apply(statement, values)
        answered()
        return result
      }
    return {
      values: heard(statement.values as never),
      run: heard(statement.run as never),
      all: heard(statement.all as never),
    } as never
  } as never
  return () => {
    connections.query = query
    Database.prototype.query = prepared
  }
}

/** Counts the statements from now on; `stop` answers how many. For sqlite's bulk writes: transactions. */
export function countStatements(): { stop(): number } {
  let count = 0
  const release = listen(() => {
    count++
    return () => undefined
  })
  const { transaction } = Database.prototype
  Database.prototype.transaction = function (this: Database, ...args: Parameters<typeof transaction>) {
    count++
    return transaction.apply(this, args)
  } as typeof transaction
  return {
    stop() {
      release()
      Database.prototype.transaction = transaction
      return count
    },
  }
}

/** Statements that are not a request's own: signs of life, leases, jobs. */
const BACKGROUND = /\b(instances|leases|facts)\b|information_schema|^SET |^SELECT 1$/i

/** Runs `work` and answers what it sent. Statements that were under way together are one wave. */
export async function record(work: () => Promise<void>): Promise<RecordedRequest> {
  const waves: Statement[][] = []
  let open = 0
  const release = listen((statement) => {
    if (BACKGROUND.test(statement.sql)) return () => undefined
    if (open === 0) waves.push([])
    open++
    waves.at(-1)!.push(statement)
    return () => {
      open--
    }
  })
  try {
    await work()
  } finally {
    release()
  }
  return waves
}
