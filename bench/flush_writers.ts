/** What a flush is held against: the ways in which a program could write the same rows by hand. */
import { Readable } from 'node:stream'
import { createConnection, type ResultSetHeader, raw } from 'mysql2/promise'
import { mysqlDialect, toDateTime } from '../src/backends/mysql/dialect.ts'
import { mergeAssignments, upsertColumns } from '../src/backends/sql/guard.ts'
import { packStamps, type Row, updatedAtMs } from '../src/collections/row.ts'
import { translationTasks as tasks } from '../src/collections/translation.ts'
import { openSqliteWriters } from './flush_writers_sqlite.ts'
import type { BenchStore } from './store.ts'

export interface BulkWriter {
  name: string
  /** Does what need not be measured (conversion to the driver's values), and answers the writing itself. */
  prepare(rows: readonly Row[]): Promise<() => Promise<void>>
}

export interface Writers {
  /** The first is the one that targets are about: the same guard. */
  bulk: readonly BulkWriter[]
  rowByRow: BulkWriter
  /** Empties the table. */
  empty(): Promise<void>
  close(): Promise<void>
}

const CHUNK_ROWS = 1000
const STREAM_CHUNK_BYTES = 64 * 1024

/** Opens one connection to the store, which all writers of it share. */
export async function openWriters(store: BenchStore): Promise<Writers> {
  if (store.url === null) return openSqliteWriters(store.file!)
  const connection = await createConnection({ uri: store.url, charset: 'utf8mb4' })
  await connection.query(
    `SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'`,
  )
  const columns = upsertColumns(tasks)
  const names = columns.map((name) => `\`${name}\``).join(', ')
  const insert = `INSERT INTO ${tasks.name} (${names}) VALUES ? ON DUPLICATE KEY UPDATE `
  const guarded = insert + mergeAssignments(mysqlDialect, tasks)
  const plain =
    insert +
    columns
      .filter((name) => !tasks.key.includes(name))
      .map((name) => `\`${name}\` = VALUES(\`${name}\`)`)
      .join(', ')

  const inChunks = (name: string, text: string, chunkRows: number): BulkWriter => ({
    name,
    async prepare(rows) {
      const bound = rows.map(bind)
      return async () => {
        for (let i = 0; i < bound.length; i += chunkRows)
          await connection.query({ sql: text, values: [bound.slice(i, i + chunkRows)] })
      }
    },
  })

  const loadData: BulkWriter = {
    name: 'LOAD DATA LOCAL REPLACE',
    async prepare(rows) {
      const file = Buffer.from(rows.map((row) => tabbed(row)).join(''))
      const chunks = Array.from({ length: Math.ceil(file.length / STREAM_CHUNK_BYTES) }, (_, i) =>
        file.subarray(i * STREAM_CHUNK_BYTES, (i + 1) * STREAM_CHUNK_BYTES),
      )
      const into = columns.map((name) => (name === 'stamps' ? '@stamps' : `\`${name}\``)).join(', ')
      return async () => {
        await connection.query<ResultSetHeader>({
          sql: `LOAD DATA LOCAL INFILE 'rows' REPLACE INTO TABLE ${tasks.name} CHARACTER SET utf8mb4 (${into}) SET stamps = UNHEX(@stamps)`,
          infileStreamFactory: () => Readable.from(chunks),
        })
      }
    },
  }
  const [[{ allowed } = { allowed: 0 }]] = (await connection.query(
    'SELECT @@local_infile AS allowed',
  )) as never as [{ allowed: number }[]]
  return {
    bulk: [
      inChunks('bare mysql2, same guard', guarded, CHUNK_ROWS),
      inChunks('bare mysql2, no guard', plain, CHUNK_ROWS),
      ...(allowed ? [loadData] : []),
    ],
    rowByRow: inChunks('row by row', guarded, 1),
    empty: async () => void (await connection.query(`TRUNCATE TABLE ${tasks.name}`)),
    close: () => connection.end(),
  }
}

/** The slots' values as texts and numbers that MySQL takes. */
function fieldsOf(row: Row): (string | number | null)[] {
  return tasks.slots.map((name, slot) => {
    const value = row.values[slot] ?? null
    return value !== null && tasks.typeOf(name) === 'timestamp' ? toDateTime(value as number) : value
  })
}

function timesOf(row: Row): [created: string, updated: string] {
  return [toDateTime(row.createdAtMs), toDateTime(updatedAtMs(row))]
}

/** A row as the driver's values. */
function bind(row: Row): unknown[] {
  return [...row.key, ...fieldsOf(row), ...timesOf(row), raw(`X'${packStamps(row)}'`)]
}

/** A row as a line of LOAD DATA's default format. */
function tabbed(row: Row): string {
  const fields = fieldsOf(row).map((value) =>
    value === null ? '\\N' : String(value).replace(/[\\\t\n]/g, '\\$&'),
  )
  return `${[...row.key, ...fields, ...timesOf(row), packStamps(row)].join('\t')}\n`
}
