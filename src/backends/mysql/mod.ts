/** The mysql backend: MySQL 8.0 to 9.7, MariaDB 10.6+, Galera through all its nodes; written for TiDB 8. */
import { sql } from 'drizzle-orm'
import mysql from 'mysql2/promise'
import bootstrap from '../../../sql/mysql/0000_coordination.sql' with { type: 'text' }
import translation from '../../../sql/mysql/0001_translation.sql' with { type: 'text' }
import instanceFlushes from '../../../sql/mysql/0002_instance_flushes.sql' with { type: 'text' }
import instanceHolders from '../../../sql/mysql/0003_instance_holders.sql' with { type: 'text' }
import migrationPut from '../../../sql/mysql/migration_put.sql' with { type: 'text' }
import migrationsApplied from '../../../sql/mysql/migrations_applied.sql' with { type: 'text' }
import migrationsCreate from '../../../sql/mysql/migrations_create.sql' with { type: 'text' }
import type { Collection } from '../../collections/definition.ts'
import type { Row } from '../../collections/row.ts'
import { messageOf } from '../../lib/errors.ts'
import { pause, withDeadline } from '../../lib/retry.ts'
import { type Backend, BackendError, type RecordStore, type Snapshot } from '../backend.ts'
import type { Coordination } from '../coordination.ts'
import { createCoordination } from '../sql/coordination.ts'
import { type Isolation, newIsolation, writeIsolating } from '../sql/isolate.ts'
import { migrate } from '../sql/migrate.ts'
import { createReader } from '../sql/reader.ts'
import { conditions, table } from '../sql/select.ts'
import { createWriter } from '../sql/writer.ts'
import { adoptLegacy, putLegacyAside } from './adopt.ts'
import { type MysqlConfig, openPool } from './connection.ts'
import { mysqlDialect } from './dialect.ts'
import { coordinationTexts } from './statements.ts'
import { tombstoneIfUnchanged } from './unchanged.ts'
import { upsertOf, type WriteUpsert } from './upsert.ts'

const HEALTH_TIMEOUT_MS = 2000
/** DDL and the adoption of old tables take what they take. */
const MIGRATION_TIMEOUT_MS = 3600_000
const DEFAULT_PACKET_BYTES = 4 * 1024 * 1024
/** A statement is written out in memory. */
const MAX_WRITE_BYTES = 8 * 1024 * 1024
const MIGRATION_PAUSE_MS = 200

export interface MysqlOptions {
  name: string
  config: MysqlConfig
  /** Names this instance in leases. */
  owner: string
  /** How long a read may wait for an answer. */
  readTimeoutMs: number
}

export function openMysql({ name, config, owner, readTimeoutMs }: MysqlOptions): Backend {
  const pool = openPool(config)
  const writeTimeoutMs = config.statement_timeout * 1000
  const session = pool.session(readTimeoutMs)
  const writing = pool.session(writeTimeoutMs)
  let packetBytes = DEFAULT_PACKET_BYTES
  const coordination: Coordination = {
    ...createCoordination({
      dialect: mysqlDialect,
      session,
      texts: coordinationTexts,
      firstInstanceNumber: 1,
      maxStatementBytes: () => packetBytes,
    }),
    putTombstoneIfUnchanged: tombstoneIfUnchanged(pool, readTimeoutMs),
  }
  const upserts = new Map<string, { write: WriteUpsert; isolation: Isolation }>()

  function upsertInto(collection: Collection) {
    let known = upserts.get(collection.name)
    if (!known) {
      known = { write: upsertOf(collection), isolation: newIsolation() }
      upserts.set(collection.name, known)
    }
    return known
  }

  /** The server would cut the connection in the middle of the packet, which looks like an outage. */
  function assertFits(text: string): void {
    if (text.length * 3 < packetBytes || Buffer.byteLength(text) < packetBytes) return
    throw new BackendError('too_large', '1153', 'the statement is larger than max_allowed_packet')
  }

  const records: RecordStore = {
    ...createReader(mysqlDialect, session),
    ...createWriter(mysqlDialect, writing),

    // Escaping may double a text, and the statement has to fit into one packet.
    get maxWriteBytes() {
      return Math.min(Math.floor(packetBytes / 3), MAX_WRITE_BYTES)
    },

    write(collection, rows) {
      const { write, isolation } = upsertInto(collection)
      const writePart = async (part: readonly Row[]) => {
        const text = await write(part)
        assertFits(text)
        // As a value of its own, so that the driver doesn't look through it for placeholders.
        const statement = { sql: '?', values: [mysql.raw(text)] }
        await pool.lend(writeTimeoutMs, (connection) => connection.query(statement))
      }
      return writeIsolating(rows, writePart, isolation)
    },

    async estimate(collection, filters) {
      const { sql: text, params } = pool.compile(
        sql`EXPLAIN FORMAT = TRADITIONAL SELECT 1 FROM ${table(mysqlDialect, collection)} WHERE ${conditions(mysqlDialect, collection, filters)}`,
      )
      const [plan] = await pool.lend(readTimeoutMs, (connection) =>
        connection.query({ sql: text, values: params }),
      )
      const step = (plan as Record<string, unknown>[]).find((row) => row.table === collection.name)
      return Math.round(Number(step?.rows ?? step?.estRows ?? 0) * (Number(step?.filtered ?? 100) / 100))
    },

    async sizeBytes() {
      const [[bytes] = [0]] = await session.all(
        sql`SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()`,
      )
      return Number(bytes ?? 0)
    },

    async snapshot({ timeoutMs }): Promise<Snapshot> {
      const pinned = await pool.pin(timeoutMs)
      try {
        await pinned.session.run(sql.raw('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ'))
        await pinned.session.run(sql.raw('START TRANSACTION WITH CONSISTENT SNAPSHOT'))
      } catch (error) {
        pinned.destroy()
        throw error
      }
      return {
        ...createReader(mysqlDialect, pinned.session),
        async close() {
          try {
            await pinned.session.run(sql.raw('COMMIT'))
            pinned.release()
          } catch {
            pinned.destroy() // a connection that can't even commit a read is of no use to the next one
          }
        },
      }
    },
  }

  return {
    name,
    type: 'mysql',
    records,
    coordination,

    async prepare(options) {
      try {
        await session.all(sql`SELECT 1`)
      } catch (error) {
        if (!(error instanceof BackendError && error.code === '1049' && options.migrate)) throw error
        await pool.createDatabase()
      }
      if (options.migrate) {
        const migrating = pool.session(MIGRATION_TIMEOUT_MS)
        await migrate({
          session: migrating,
          coordination,
          bootstrap: [migrationsCreate, bootstrap],
          migrations: [
            {
              name: '0001_translation',
              text: translation,
              before: putLegacyAside,
              after: async (on) => {
                await adoptLegacy(on)
              },
            },
            { name: '0002_instance_flushes', text: instanceFlushes },
            { name: '0003_instance_holders', text: instanceHolders },
          ],
          texts: { applied: migrationsApplied, put: migrationPut },
          owner,
          pause: () => pause(MIGRATION_PAUSE_MS),
        })
      }
      const [[bytes] = [DEFAULT_PACKET_BYTES]] = await session.all(sql`SELECT @@max_allowed_packet`)
      packetBytes = Number(bytes)
    },

    async health() {
      const start = performance.now()
      const latencyMs = () => Math.round((performance.now() - start) * 10) / 10
      try {
        await withDeadline(
          pool.session(HEALTH_TIMEOUT_MS).all(sql`SELECT 1`),
          HEALTH_TIMEOUT_MS,
          () => new BackendError('outage', 'TIMEOUT', 'no answer'),
        )
        return { healthy: true, latencyMs: latencyMs() }
      } catch (error) {
        return { healthy: false, latencyMs: latencyMs(), detail: messageOf(error) }
      }
    },

    pool: pool.usage,
    close: pool.close,
  }
}
