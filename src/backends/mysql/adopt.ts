/**
 * Adopts tables that API.md's own DDL made, rows and all. They are renamed, copied in ranges of their key
 * into tables of this version, counted, and dropped: no transaction grows with the table, every step may be
 * killed and is taken up again, and it is the same on MySQL, MariaDB, Galera and TiDB.
 */
import { sql } from 'drizzle-orm'
import adoptSessions from '../../../sql/mysql/adopt_translation_sessions.sql' with { type: 'text' }
import adoptTasks from '../../../sql/mysql/adopt_translation_tasks.sql' with { type: 'text' }
import { BackendError } from '../backend.ts'
import type { SqlSession } from '../sql/codec.ts'
import { statement } from '../sql/statement.ts'

const RANGE_ROWS = 5000

/** Children first: their foreign key would hold the parent's old table. */
const LEGACY = [
  { table: 'translation_tasks', key: 'task_id', copy: statement(adoptTasks) },
  { table: 'translation_sessions', key: 'session_id', copy: statement(adoptSessions) },
] as const

async function hasColumn(session: SqlSession, table: string, column: string): Promise<boolean> {
  const found = await session.all(
    sql`SELECT 1 FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ${table} AND column_name = ${column}`,
  )
  return found.length > 0
}

/** Puts tables of the old form aside; does nothing where there are none. */
export async function putLegacyAside(session: SqlSession): Promise<void> {
  for (const { table, key } of LEGACY) {
    if (!(await hasColumn(session, table, key)) || (await hasColumn(session, table, 'stamps'))) continue
    await session.run(sql.raw(`RENAME TABLE \`${table}\` TO \`adopting_${table}\``))
  }
}

/** Copies what was put aside and drops it once every row is there. Answers the rows adopted. */
export async function adoptLegacy(session: SqlSession): Promise<number> {
  let adopted = 0
  for (const { table, key, copy } of LEGACY) {
    const old = `adopting_${table}`
    if (!(await hasColumn(session, old, key))) continue
    const [legacyKey, legacyTable] = [sql.raw(`\`${key}\``), sql.raw(`\`${old}\``)]
    const count = async (name: string) =>
      Number((await session.all(sql.raw(`SELECT COUNT(*) FROM \`${name}\``)))[0]?.[0])
    let after = ''
    while (true) {
      const [end] = await session.all(
        sql`SELECT MAX(k) FROM (SELECT ${legacyKey} AS k FROM ${legacyTable} WHERE ${legacyKey} > ${after} ORDER BY ${legacyKey} LIMIT ${RANGE_ROWS}) AS span`,
      )
      if (typeof end?.[0] !== 'string') break
      await session.run(copy(after, end[0]))
      after = end[0]
    }
    const [before, copied] = [await count(old), await count(table)]
    if (copied < before) {
      throw new BackendError(
        'refused',
        'ADOPTION',
        `${old} has ${before} rows, ${table} only ${copied}; nothing was dropped`,
      )
    }
    await session.run(sql.raw(`DROP TABLE \`${old}\``))
    adopted += before
  }
  return adopted
}
