/** How a database would run a statement. */
import type { SQL } from 'drizzle-orm'
import { MySqlDialect } from 'drizzle-orm/mysql-core'
import { SQLiteSyncDialect } from 'drizzle-orm/sqlite-core'
import { format } from 'mysql2/promise'
import { mysqlDialect } from '../../src/backends/mysql/dialect.ts'
import type { Dialect } from '../../src/backends/sql/codec.ts'
import { sqliteDialect } from '../../src/backends/sqlite/dialect.ts'
import type { BackendKind, OpenStore } from './contract_backends.ts'

/** How a statement reaches a table, and whether it sorts what it finds. */
export async function planOf(
  store: OpenStore,
  kind: BackendKind,
  { statement, table }: { statement: SQL; table: string },
): Promise<{ access: string; sorts: boolean }> {
  if (kind.dialect === 'sqlite') {
    const { sql, params } = new SQLiteSyncDialect().sqlToQuery(statement)
    const steps = await store.execute(`EXPLAIN QUERY PLAN ${format(sql, params as never)}`)
    const details = steps.map(({ detail }) => String(detail))
    return {
      access: details.find((detail) => detail.includes(` ${table} `)) ?? details.join('; '),
      sorts: details.some((detail) => detail === 'USE TEMP B-TREE FOR ORDER BY'),
    }
  }
  const { sql, params } = new MySqlDialect().sqlToQuery(statement)
  const steps = await store.execute(`EXPLAIN FORMAT = TRADITIONAL ${format(sql, params as never)}`)
  const step = steps.find((one) => one.table === table)
  return { access: `${step?.type} ${step?.key}`, sorts: /filesort/.test(String(step?.Extra)) }
}

/** The dialect in which a backend's statements are built. */
export const dialectOf = ({ dialect }: BackendKind): Dialect =>
  dialect === 'sqlite' ? sqliteDialect : mysqlDialect
