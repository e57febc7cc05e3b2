/** The sqlite backend: embedded, one file, WAL. */
import { sql } from 'drizzle-orm'
import bootstrap from '../../../sql/sqlite/0000_coordination.sql' with { type: 'text' }
import translation from '../../../sql/sqlite/0001_translation.sql' with { type: 'text' }
import instanceFlushes from '../../../sql/sqlite/0002_instance_flushes.sql' with { type: 'text' }
import instanceHolders from '../../../sql/sqlite/0003_instance_holders.sql' with { type: 'text' }
import migrationPut from '../../../sql/sqlite/migration_put.sql' with { type: 'text' }
import migrationsApplied from '../../../sql/sqlite/migrations_applied.sql' with { type: 'text' }
import migrationsCreate from '../../../sql/sqlite/migrations_create.sql' with { type: 'text' }
import type { Collection } from '../../collections/definition.ts'
import { packStamps, type Row, updatedAtMs } from '../../collections/row.ts'
import { messageOf } from '../../lib/errors.ts'
import { pause } from '../../lib/retry.ts'
import { inTurns } from '../../lib/turns.ts'
import type { Backend, RecordStore, RefusedRow, Snapshot } from '../backend.ts'
import { createCoordination } from '../sql/coordination.ts'
import { mergeAssignments, upsertColumns } from '../sql/guard.ts'
import { writeIsolating } from '../sql/isolate.ts'
import { migrate } from '../sql/migrate.ts'
import { createReader } from '../sql/reader.ts'
import { conditions, table } from '../sql/select.ts'
import { createWriter } from '../sql/writer.ts'
import { openFile, type SqliteConfig, sessionOn } from './connection.ts'
import { sqliteDialect } from './dialect.ts'
import { toBackendError } from './errors.ts'
import { coordinationTexts } from './statements.ts'

const MIGRATION_PAUSE_MS = 50
const ROWS_A_TRANSACTION = 250
const MAX_WRITE_BYTES = 32 * 1024 * 1024

export interface SqliteOptions {
  name: string
  config: SqliteConfig
  owner: string
}

export function openSqlite({ name, config, owner }: SqliteOptions): Backend {
  const file = openFile(config)
  const { session } = file
  const coordination = createCoordination({
    dialect: sqliteDialect,
    session,
    texts: coordinationTexts,
    firstInstanceNumber: 0,
  })

  function upsertText(collection: Collection): string {
    const names = upsertColumns(collection)
    const q = sqliteDialect.quote
    return `INSERT INTO ${q(collection.name)} (${names.map(q).join(', ')}) VALUES (${names.map(() => '?').join(', ')}) ON CONFLICT (${collection.key.map(q).join(', ')}) DO UPDATE SET ${mergeAssignments(sqliteDialect, collection)}`
  }

  function writeAll(upsert: string, rows: readonly Row[]): void {
    try {
      const statement = file.prepare(upsert)
      file.client().transaction(() => {
        for (const row of rows) statement.run(...(bind(row) as never[]))
      })()
    } catch (error) {
      throw toBackendError(error)
    }
  }

  const bind = (row: Row) => [
    ...row.key,
    ...Array.from(row.values, (value) => value ?? null),
    row.createdAtMs,
    updatedAtMs(row),
    Buffer.from(packStamps(row), 'hex'),
  ]

  function openSnapshot() {
    try {
      return file.openSnapshot()
    } catch (error) {
      throw toBackendError(error)
    }
  }

  const records: RecordStore = {
    ...createReader(sqliteDialect, session),
    ...createWriter(sqliteDialect, session),
    maxWriteBytes: MAX_WRITE_BYTES,

    // SQLite answers while the event loop waits: a few rows a transaction, and requests in between.
    async write(collection, rows) {
      const upsert = upsertText(collection)
      const refused: RefusedRow[] = []
      let offset = 0
      await inTurns(rows, ROWS_A_TRANSACTION, async (slice) => {
        const result = await writeIsolating(slice, async (part) => writeAll(upsert, part))
        for (const row of result.refused) refused.push({ ...row, index: row.index + offset })
        offset += slice.length
      })
      return { refused }
    },

    /** The highest row number where all rows are meant; else they are counted: SQLite has no better idea. */
    async estimate(collection, filters) {
      if (filters.every(({ op }) => op === 'complete' || op === 'visible')) {
        const [[rows] = [0]] = await session.all(
          sql`SELECT MAX(rowid) FROM ${table(sqliteDialect, collection)}`,
        )
        return Number(rows ?? 0)
      }
      const [[count] = [0]] = await session.all(
        sql`SELECT COUNT(*) FROM ${table(sqliteDialect, collection)} WHERE ${conditions(sqliteDialect, collection, filters)}`,
      )
      return Number(count)
    },

    async sizeBytes() {
      const [[pages] = [0]] = await session.all(sql`SELECT page_count FROM pragma_page_count`)
      const [[bytes] = [0]] = await session.all(sql`SELECT page_size FROM pragma_page_size`)
      return Number(pages) * Number(bytes)
    },

    async snapshot(): Promise<Snapshot> {
      const client = openSnapshot()
      try {
        client.run('BEGIN')
        client.query('SELECT 1 FROM leases LIMIT 1').all() // the snapshot begins with the first read
      } catch (error) {
        client.close()
        throw toBackendError(error)
      }
      return {
        ...createReader(sqliteDialect, sessionOn(client)),
        async close() {
          client.close()
        },
      }
    },
  }

  return {
    name,
    type: 'sqlite',
    records,
    coordination,

    async prepare(options) {
      if (!options.migrate) {
        await session.all(sql`SELECT 1`)
        return
      }
      await migrate({
        session,
        coordination,
        bootstrap: [migrationsCreate, bootstrap],
        migrations: [
          { name: '0001_translation', text: translation },
          { name: '0002_instance_flushes', text: instanceFlushes },
          { name: '0003_instance_holders', text: instanceHolders },
        ],
        texts: { applied: migrationsApplied, put: migrationPut },
        owner,
        pause: () => pause(MIGRATION_PAUSE_MS),
      })
    },

    async health() {
      const start = performance.now()
      try {
        await session.all(sql`SELECT 1 FROM leases LIMIT 1`)
        return { healthy: true, latencyMs: performance.now() - start }
      } catch (error) {
        return { healthy: false, latencyMs: performance.now() - start, detail: messageOf(error) }
      }
    },

    async close() {
      file.close()
    },
  }
}
