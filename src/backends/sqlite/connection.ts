/** One SQLite file: a connection that writes, and one more for each snapshot. */
import { Database, type Statement } from 'bun:sqlite'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { SQL } from 'drizzle-orm'
import { SQLiteSyncDialect } from 'drizzle-orm/sqlite-core'
import { nextTurn } from '../../lib/turns.ts'
import type { SqlSession } from '../sql/codec.ts'
import { toBackendError } from './errors.ts'

export interface SqliteConfig {
  path: string
}

const dialect = new SQLiteSyncDialect()

const LONGEST_TURN_MS = 5

function open(path: string, readonly: boolean): Database {
  const client = new Database(path, readonly ? { readonly } : { create: true, readwrite: true })
  // Short, because the event loop waits too: a file that is held for longer is an outage.
  client.run('PRAGMA busy_timeout = 250')
  if (!readonly) {
    client.run('PRAGMA journal_mode = WAL')
    client.run('PRAGMA synchronous = FULL')
  }
  client.run('PRAGMA cache_size = -16384')
  return client
}

/** Statements on a connection; SQLite answers at once, the promises are the contract's. */
export function sessionOn(client: Database): SqlSession {
  let busyMs = 0
  const attempt = async <T>(work: () => T): Promise<T> => {
    // A loop of statements that answer at once would never let the event loop turn.
    if (busyMs > LONGEST_TURN_MS) {
      busyMs = 0
      await nextTurn()
    }
    const startMs = performance.now()
    try {
      return work()
    } catch (error) {
      throw toBackendError(error)
    } finally {
      busyMs += performance.now() - startMs
    }
  }
  const bound = (statement: SQL) => {
    const { sql, params } = dialect.sqlToQuery(statement)
    return { prepared: client.query(sql), params: params as never[] }
  }
  return {
    all: (statement) =>
      attempt(() => {
        const { prepared, params } = bound(statement)
        return prepared.values(...params) as unknown[][]
      }),
    run: (statement) =>
      attempt(() => {
        const { prepared, params } = bound(statement)
        return prepared.run(...params).changes
      }),
  }
}

/** Opens the file, and its folder, when first used; an error is thrown to whoever used it. */
export function openFile({ path }: SqliteConfig) {
  let writer: Database | null = null
  const prepared = new Map<string, Statement>()

  function client(): Database {
    if (!writer) {
      try {
        mkdirSync(dirname(path), { recursive: true })
        writer = open(path, false)
      } catch (error) {
        throw toBackendError(error)
      }
    }
    return writer
  }

  let session: SqlSession | null = null
  function main(): SqlSession {
    session ??= sessionOn(client())
    return session
  }

  return {
    client,
    session: {
      all: async (statement: SQL) => main().all(statement),
      run: async (statement: SQL) => main().run(statement),
    } satisfies SqlSession,
    /** A statement prepared once. */
    prepare(text: string): Statement {
      let known = prepared.get(text)
      if (!known) {
        known = client().prepare(text)
        prepared.set(text, known)
      }
      return known
    },
    openSnapshot: () => open(path, true),
    close() {
      for (const statement of prepared.values()) statement.finalize()
      prepared.clear()
      writer?.close()
      writer = null
      session = null
    },
  }
}
