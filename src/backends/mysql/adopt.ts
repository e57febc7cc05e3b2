/**
 * Adopts tables that API.md's own DDL made, rows and all. They are renamed, copied in ranges of their key
 * into tables of this version, counted, and dropped: no transaction grows with the table, every step may be
 * killed and is taken up again, and it is the same on MySQL, MariaDB, Galera and TiDB.
 */
import { sql } from 'drizzle-orm'
import adoptSessions from '../../../sql/mysql/adopt_translation_sessions.sql' with { type: 'text' }
import adoptTasks from '../../../sql/mysql/adopt_translation_tasks.sql' with { type: 'text' }
import type { Collection } from '../../collections/definition.ts'
import { translationSessions, translationTasks } from '../../collections/translation.ts'
import { BackendError } from '../backend.ts'
import type { SqlSession } from '../sql/codec.ts'
import { statement } from '../sql/statement.ts'

const RANGE_ROWS = 5000

/** What the old form has too: all but what came with the stamps. */
function columnsIn({ key, slots }: Collection): string[] {
  return [...key, ...slots, 'created_at', 'updated_at'].filter((name) => name !== 'deleted_at')
}

/** Children first: their foreign key would hold the parent's old table. */
const LEGACY = [
  {
    table: 'translation_tasks',
    key: 'task_id',
    columns: columnsIn(translationTasks),
    copy: statement(adoptTasks),
  },
  {
    table: 'translation_sessions',
    key: 'session_id',
    columns: columnsIn(translationSessions),
    copy: statement(adoptSessions),
  },
] as const

/** The columns of a table of this database; empty where there is none of that name. */
async function columnsOf(session: SqlSession, table: string): Promise<Set<string>> {
  const found = await session.all(
    sql`SELECT LOWER(column_name) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ${table}`,
  )
  return new Set(found.map(([name]) => String(name)))
}

async function isTable(session: SqlSession, name: string): Promise<boolean> {
  const found = await session.all(
    sql`SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ${name} AND table_type = 'BASE TABLE'`,
  )
  return found.length > 0
}

/** Puts tables of the old form aside; does nothing where there are none. What is neither old nor new is refused. */
export async function putLegacyAside(session: SqlSession): Promise<void> {
  const aside: string[] = []
  for (const { table, columns } of LEGACY) {
    const found = await columnsOf(session, table)
    if (found.size === 0) continue
    const hasAll = columns.every((name) => found.has(name))
    if (!hasAll || !(await isTable(session, table))) {
      throw new BackendError(
        'refused',
        'ADOPTION',
        `${table} is there, but is no table that the API document's DDL made`,
      )
    }
    if (!found.has('stamps')) aside.push(table)
  }
  for (const table of aside) await session.run(sql.raw(`RENAME TABLE \`${table}\` TO \`adopting_${table}\``))
}

/** Copies what was put aside and drops it once every row is there. Answers the rows adopted. */
export async function adoptLegacy(session: SqlSession): Promise<number> {
  let adopted = 0
  for (const { table, key, copy } of LEGACY) {
    const old = `adopting_${table}`
    if (!(await isTable(session, old))) continue
    const [legacyKey, legacyTable] = [sql.raw(`\`${key}\``), sql.raw(`\`${old}\``)]
    const count = async (name: string) =>
      Number((await session.all(sql.raw(`SELECT COUNT(*) FROM \`${name}\``)))[0]?.[0])
    let after: string | null = null
    while (true) {
      const beyond = after === null ? sql`1 = 1` : sql`${legacyKey} > ${after}`
      const [end] = await session.all(
        sql`SELECT MAX(k) FROM (SELECT ${legacyKey} AS k FROM ${legacyTable} WHERE ${beyond} ORDER BY ${legacyKey} LIMIT ${RANGE_ROWS}) AS span`,
      )
      if (typeof end?.[0] !== 'string') break
      await session.run(copy(after === null ? 1 : 0, after ?? '', end[0]))
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
