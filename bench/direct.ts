/** The store without the service: statements straight to its driver, as the service sends them. */
import type { Database } from 'bun:sqlite'
import type { Pool } from 'mysql2/promise'

export interface Statement {
  sql: string
  values: readonly unknown[]
}

/** What one request made the service send: waves follow each other, a wave's statements run at once. */
export type RecordedRequest = readonly (readonly Statement[])[]

export interface Direct {
  run(statement: Statement): Promise<unknown>
  close(): Promise<void>
}

/** Opens `mysql://…` through mysql2, or a file's path through bun:sqlite. */
export async function openDirect({ url, poolSize }: { url: string; poolSize: number }): Promise<Direct> {
  if (url.startsWith('mysql:')) {
    const { createPool } = await import('mysql2/promise')
    const pool: Pool = createPool({
      uri: url,
      connectionLimit: poolSize,
      charset: 'utf8mb4',
      dateStrings: true,
    })
    return {
      run: ({ sql, values }) => pool.query({ sql, values: [...values] }),
      close: () => pool.end(),
    }
  }
  const sqlite = await import('bun:sqlite')
  const database: Database = new sqlite.Database(url, { readonly: true })
  database.run('PRAGMA cache_size = -16384')
  return {
    run: async ({ sql, values }) => database.query(sql).values(...(values as never[])),
    close: async () => database.close(),
  }
}

/** Sends what a request would. */
export async function replay(direct: Direct, request: RecordedRequest): Promise<void> {
  for (const wave of request) {
    if (wave.length === 1) await direct.run(wave[0]!)
    else await Promise.all(wave.map((statement) => direct.run(statement)))
  }
}
