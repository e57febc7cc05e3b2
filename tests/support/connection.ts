/** A connection to a test's own database that outlives one statement: for locks, and for many rows. */
import { createConnection, type QueryResult, type QueryValues } from 'mysql2/promise'
import type { FreshDatabase } from './backends.ts'

/** Texts and numbers as they are, times as text in UTC; `await using` ends it. */
export interface SqlConnection extends AsyncDisposable {
  query<T extends QueryResult>(statement: string, values?: QueryValues): Promise<T>
}

/** Connects, with UTC as the session's time zone. */
export async function openConnection({ url }: Pick<FreshDatabase, 'url'>): Promise<SqlConnection> {
  const connection = await createConnection({
    uri: url,
    charset: 'utf8mb4',
    timezone: 'Z',
    dateStrings: true,
    jsonStrings: true,
  })
  await connection.query("SET time_zone = '+00:00'")
  return {
    query: async <T extends QueryResult>(statement: string, values: QueryValues = []) =>
      (await connection.query<T>(statement, values))[0],
    [Symbol.asyncDispose]: async () => connection.destroy(),
  }
}
