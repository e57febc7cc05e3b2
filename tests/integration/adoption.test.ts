/** Databases of before: tables that API.md §8.1's DDL made are taken over, rows and all. */
import { expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { type FreshDatabase, type SqlServer, sqlServers } from '../support/backends.ts'
import { openConnection } from '../support/connection.ts'
import { type Instance, instance } from '../support/instance.ts'
import {
  LEGACY_SESSIONS,
  LEGACY_TASKS,
  type LegacyRow,
  legacySessions,
  legacyTasks,
  makeLegacy,
} from '../support/legacy_schema.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { runService } from '../support/service.ts'
import { type Item, sessionItem, taskItem } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

/** More than two of the ranges in which rows are copied. */
const TASKS = 12_000
const SESSIONS = 60
const COPY_TASKS = 'FROM adopting_translation_tasks'

for (const server of sqlServers) {
  test(`${server}: tables of API.md's DDL with ${TASKS} rows are adopted at the start, and every value of every row is there`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const { sessions, tasks } = await fill(database)
    const on = instance(await scene.start({ DATABASE_URL: database.url }))

    await expectStored(database, { sessions, tasks })
    await expectTablesLikeNew(server, { scene, database })
    await expectServed(on, { sessions, tasks })

    // It was done once: the next start finds nothing to do, and a write of old and new rows goes on.
    const again = instance(await scene.start({ DATABASE_URL: database.url }))
    expect((await again.session(String(sessions[0]!.session_id))).status).toBe(200)
    await expectStored(database, { sessions, tasks })
  })

  test(`${server}: a row that was adopted takes new writes field by field, and keeps the others`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const sessions = legacySessions(3)
    const tasks = legacyTasks(30, sessions)
    await makeLegacy(database, { sessions, tasks })
    const on = instance(await scene.start({ DATABASE_URL: database.url }))
    const { session_id, task_id, source_text, row_index } = tasks[9] as LegacyRow
    const [session, task] = [String(session_id), String(task_id)]

    await on.patchTasks([{ session_id, task_id, status: 'completed', target_text: '新', context: null }])
    await on.patchSessions([{ session_id, status: 'completed', metadata: { new: true } }])
    expect((await on.flush()).body).toMatchObject({ sessions_written: 1, tasks_written: 1 })
    expect((await on.task(session, task)).body).toMatchObject({
      status: 'completed',
      target_text: '新',
      context: null,
      source_text,
      row_index,
    })
    const filename = sessions.find((row) => row.session_id === session_id)!.filename
    expect((await on.session(session)).body).toMatchObject({
      status: 'completed',
      metadata: { new: true },
      filename,
    })

    // The old key was the task's alone: now the same id may stand in a second session.
    const other = String(sessions.find((row) => row.session_id !== session_id)!.session_id)
    await on.tasks([taskItem(other, task)])
    await on.flush()
    expect((await on.task(session, task)).body).toMatchObject({ source_text })
    expect((await on.task(other, task)).body).toMatchObject({ source_text: `source of ${task}` })
    // No foreign key: a task may come before its session.
    await on.tasks([taskItem('not there yet', 't')])
    expect((await on.flush()).body).toMatchObject({ tasks_written: 1 })
  })

  test(`${server}: a row that says it was updated in the future takes new writes all the same`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const sessions = legacySessions(1)
    const tasks = legacyTasks(1, sessions).map((row) => ({ ...row, updated_at: '2037-12-31 23:59:59' }))
    await makeLegacy(database, { sessions, tasks })
    const on = instance(await scene.start({ DATABASE_URL: database.url }))
    const { session_id, task_id } = tasks[0] as LegacyRow
    await on.patchTasks([{ session_id, task_id, target_text: 'newer' }])
    await on.flush()
    expect((await on.task(String(session_id), String(task_id))).body).toMatchObject({ target_text: 'newer' })
  })

  test(`${server}: a row whose task_id is empty does not stop the adoption, and is kept`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const sessions = legacySessions(1)
    const tasks = legacyTasks(10, sessions).map((row, i) => (i === 5 ? { ...row, task_id: '' } : row))
    await makeLegacy(database, { sessions, tasks })
    await migrated(database, scene)
    await expectStored(database, { sessions, tasks })
  })

  test(`${server}: tables without rows are adopted, and sessions that never had a table of tasks`, async () => {
    await using scene = createScene()
    const [empty, sessionsOnly] = [await scene.database(server), await scene.database(server)]
    await makeLegacy(empty, { sessions: [], tasks: [] })
    const sessions = legacySessions(SESSIONS)
    await makeLegacy(sessionsOnly, { sessions, tasks: null })
    await migrated(empty, scene)
    const on = instance(await scene.start({ DATABASE_URL: sessionsOnly.url }))

    await expectTablesLikeNew(server, { scene, database: empty })
    await expectStored(empty, { sessions: [], tasks: [] })
    await expectTablesLikeNew(server, { scene, database: sessionsOnly })
    await expectStored(sessionsOnly, { sessions, tasks: [] })
    await on.sessions([sessionItem('new')])
    await on.tasks([taskItem('new', 't')])
    expect((await on.flush()).body).toMatchObject({ sessions_written: 1, tasks_written: 1 })
  })

  test(`${server}: an instance killed in the middle of the adoption finishes it at its next start`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const { sessions, tasks } = await fill(database)
    const proxy = await scene.proxy(database)
    const env = { DATABASE_URL: proxy.url, DATA_DIR: await scene.folder() }

    const copying = proxy.intercept(COPY_TASKS, 'hold', 2)
    const first = await scene.start(env, 'listening')
    await copying
    expect(await instance(first).ready()).toBe(503)
    await first.kill()
    // A part is copied, the old rows are all still there.
    const counts = await rowsOf(database, ['translation_tasks', 'adopting_translation_tasks'])
    expect(counts.adopting_translation_tasks).toBe(TASKS)
    expect(counts.translation_tasks).toBeGreaterThan(0)
    expect(counts.translation_tasks).toBeLessThan(TASKS)

    // Killed again when the tasks are done, and their old table is dropped.
    const dropped = proxy.intercept('DROP TABLE `adopting_translation_tasks`', 'lose the answer')
    const second = await scene.start(env, 'listening')
    await dropped
    await second.kill()
    expect((await rowsOf(database, ['translation_tasks'])).translation_tasks).toBe(TASKS)

    // Another instance has to wait until the lease of the dead one is over.
    await database.query("UPDATE leases SET expires_at = 0 WHERE name = 'migrations'")
    const third = instance(await scene.start({ DATABASE_URL: database.url, INSTANCE_ID: 'another' }))
    expect((await third.health()).status).toBe('healthy')
    await expectStored(database, { sessions, tasks })
    await expectTablesLikeNew(server, { scene, database })
  })

  test(`${server}: an adoption goes on by itself when the answers to its statements are lost`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const sessions = legacySessions(20)
    const tasks = legacyTasks(6000, sessions)
    await makeLegacy(database, { sessions, tasks })
    const proxy = await scene.proxy(database)
    const lost = [
      'RENAME TABLE `translation_tasks`',
      COPY_TASKS,
      'DROP TABLE `adopting_translation_tasks`',
    ].map((text) => proxy.intercept(text, 'lose the answer'))
    const service = await scene.start({ DATABASE_URL: proxy.url })
    await Promise.all(lost)
    expect(await instance(service).ready()).toBe(200)
    await expectStored(database, { sessions, tasks })
    await expectTablesLikeNew(server, { scene, database })
  })

  test(`${server}: two instances started at once on an old database adopt it once`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const sessions = legacySessions(20)
    const tasks = legacyTasks(6000, sessions)
    await makeLegacy(database, { sessions, tasks })
    const env = { DATABASE_URL: database.url }
    const both = await Promise.all([scene.start(env), scene.start(env)])
    await expectStored(database, { sessions, tasks })
    for (const service of both) expect((await instance(service).health()).status).toBe('healthy')
  })
}

test("the tables that these tests adopt are API.md's own, column by column", () => {
  const columns = (ddl: string) => [...ddl.matchAll(/^ {4}([a-z_]+) [A-Z]/gm)].map((match) => match[1])
  expect(columns(LEGACY_SESSIONS)).toEqual(Object.keys(legacySessions(1)[0]!))
  expect(columns(LEGACY_TASKS)).toEqual(Object.keys(legacyTasks(1, legacySessions(1))[0]!))
})

interface Rows {
  sessions: LegacyRow[]
  tasks: LegacyRow[]
}

async function fill(database: FreshDatabase): Promise<Rows> {
  const sessions = legacySessions(SESSIONS)
  const rows = { sessions, tasks: legacyTasks(TASKS, sessions) }
  await makeLegacy(database, rows)
  return rows
}

async function migrated(database: FreshDatabase, scene: Scene): Promise<void> {
  const env = { DATABASE_URL: database.url, DATA_DIR: await scene.folder() }
  const { code, output } = await runService({ env, args: ['migrate'] })
  if (code !== 0) throw new Error(`migrate ended with ${code}\n${output}`)
}

async function rowsOf<T extends string>(database: FreshDatabase, tables: T[]): Promise<Record<T, number>> {
  const counts = tables.map(async (table) => {
    const [row] = await database.query<RowDataPacket[]>('SELECT COUNT(*) AS n FROM ??', [table])
    return [table, Number(row?.n)]
  })
  return Object.fromEntries(await Promise.all(counts))
}

/** Every column of every row in the database is what was there before. */
async function expectStored(database: FreshDatabase, { sessions, tasks }: Rows): Promise<void> {
  await using connection = await openConnection(database)
  for (const [table, rows] of [
    ['translation_sessions', sessions],
    ['translation_tasks', tasks],
  ] as const) {
    const key = table === 'translation_tasks' ? 'task_id' : 'session_id'
    const found = await connection.query<RowDataPacket[]>('SELECT * FROM ??', [table])
    expect(found.length).toBe(rows.length)
    const stored = new Map(found.map((row) => [String(row[key]), row]))
    const different = rows.filter((row) => {
      const now = stored.get(String(row[key]))
      return !now || Object.entries(row).some(([column, value]) => !same(now[column], value, { column, row }))
    })
    // The first few are enough to see what happened.
    expect(different.slice(0, 3).map((row) => ({ before: row, now: stored.get(String(row[key])) }))).toEqual(
      [],
    )
  }
}

function same(
  now: unknown,
  before: LegacyRow[string] | undefined,
  of: { column: string; row: LegacyRow },
): boolean {
  if (of.column === 'game_info' || of.column === 'metadata') {
    return Bun.deepEquals(
      now === null ? null : JSON.parse(String(now)),
      before === null ? null : JSON.parse(String(before)),
    )
  }
  if (of.column.endsWith('_at') || of.column.endsWith('_time')) {
    // Where one of a row's times was missing, the other one stands for both.
    const expected = before ?? (of.column.endsWith('_at') ? (of.row.updated_at ?? of.row.created_at) : null)
    return now === (expected === null ? null : `${expected}.000`)
  }
  return now === before
}

/** The tables are no different from those of a database that was new. */
async function expectTablesLikeNew(
  server: SqlServer,
  { scene, database }: { scene: Scene; database: FreshDatabase },
): Promise<void> {
  const fresh = await scene.database(server)
  await migrated(fresh, scene)
  const describe = async (of: FreshDatabase) => {
    const tables = (await of.query<RowDataPacket[]>('SHOW TABLES')).map((row) =>
      String(Object.values(row)[0]),
    )
    const made = tables.map(async (table) => {
      const [row] = await of.query<RowDataPacket[]>('SHOW CREATE TABLE ??', [table])
      return [table, String(row?.['Create Table'])]
    })
    return Object.fromEntries(await Promise.all(made)) as Record<string, string>
  }
  const tables = await describe(database)
  expect(tables).toEqual(await describe(fresh))
  expect(Object.values(tables).join()).not.toContain('FOREIGN KEY')
  expect(tables.translation_tasks).toContain('PRIMARY KEY (`session_id`,`task_id`)')
}

const wireTime = (text: LegacyRow[string] | undefined) =>
  typeof text === 'string' ? `${text.replace(' ', 'T')}.000Z` : null
const wireJson = (text: LegacyRow[string] | undefined) => (typeof text === 'string' ? JSON.parse(text) : null)

/** The API answers each row as it was. */
async function expectServed(on: Instance, { sessions, tasks }: Rows): Promise<void> {
  let seen = 0
  for (const session of sessions) {
    const id = String(session.session_id)
    expect((await on.session(id)).body).toMatchObject({
      session_id: id,
      filename: session.filename,
      file_path: session.file_path,
      status: session.status,
      llm_provider: session.llm_provider,
      game_info: wireJson(session.game_info),
      metadata: wireJson(session.metadata),
      created_at: wireTime(session.created_at ?? session.updated_at),
      updated_at: wireTime(session.updated_at ?? session.created_at),
    })
    const of = tasks.filter(({ session_id }) => session_id === id)
    const served = await on.allTasks(id)
    seen += served.length
    const expected = of.map(
      (task): Item => ({
        ...task,
        confidence: task.confidence === null ? null : Number(task.confidence),
        retry_count: task.retry_count ?? 0,
        start_time: wireTime(task.start_time),
        end_time: wireTime(task.end_time),
        created_at: wireTime(task.created_at ?? task.updated_at),
        updated_at: wireTime(task.updated_at ?? task.created_at),
      }),
    )
    const byId = (rows: Item[]) => new Map(rows.map((row) => [String(row.task_id), row]))
    expect(byId(served)).toEqual(byId(expected))
  }
  expect(seen).toBe(tasks.length)
  await until(async () => (await on.health()).buffer.total_count === 0, { message: 'nothing is buffered' })
}
