/** The same for the embedded store: prepared statements in transactions through bun:sqlite. */
import { Database } from 'bun:sqlite'
import { mergeAssignments, upsertColumns } from '../src/backends/sql/guard.ts'
import { sqliteDialect } from '../src/backends/sqlite/dialect.ts'
import { packStamps, type Row, updatedAtMs } from '../src/collections/row.ts'
import { translationTasks as tasks } from '../src/collections/translation.ts'
import type { BulkWriter, Writers } from './flush_writers.ts'

const CHUNK_ROWS = 1000

/** Opens the file of a store whose tables are there. */
export function openSqliteWriters(file: string): Writers {
  const database = new Database(file, { readwrite: true, create: false })
  for (const setting of [
    'busy_timeout = 5000',
    'journal_mode = WAL',
    'synchronous = FULL',
    'cache_size = -16384',
  ])
    database.run(`PRAGMA ${setting}`)
  const columns = upsertColumns(tasks)
  const insert = `INSERT INTO ${tasks.name} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')}) ON CONFLICT (${tasks.key.join(', ')}) DO UPDATE SET `
  const plain = columns
    .filter((name) => !tasks.key.includes(name))
    .map((name) => `${name} = excluded.${name}`)
    .join(', ')

  const inChunks = (name: string, text: string, chunkRows: number): BulkWriter => ({
    name,
    async prepare(rows) {
      const bound = rows.map(bind)
      const statement = database.prepare(text)
      const write = database.transaction((from: number) => {
        for (const values of bound.slice(from, from + chunkRows)) statement.run(...(values as never[]))
      })
      return async () => {
        for (let from = 0; from < bound.length; from += chunkRows) write(from)
      }
    },
  })
  const guarded = insert + mergeAssignments(sqliteDialect, tasks)
  return {
    bulk: [
      inChunks('bare bun:sqlite, same guard', guarded, CHUNK_ROWS),
      inChunks('bare bun:sqlite, no guard', insert + plain, CHUNK_ROWS),
    ],
    rowByRow: inChunks('row by row', guarded, 1),
    empty: async () => void database.run(`DELETE FROM ${tasks.name}`),
    close: async () => database.close(),
  }
}

function bind(row: Row): unknown[] {
  const values = Array.from(row.values, (value) => value ?? null)
  return [...row.key, ...values, row.createdAtMs, updatedAtMs(row), Buffer.from(packStamps(row), 'hex')]
}
