/** The journal's file as SQLite has it: opened under its lock, looked through, its statements prepared. */
import { Database } from 'bun:sqlite'
import createRecords from '../../../sql/sqlite/journal_create_records.sql' with { type: 'text' }
import createState from '../../../sql/sqlite/journal_create_state.sql' with { type: 'text' }
import recordGet from '../../../sql/sqlite/journal_record_get.sql' with { type: 'text' }
import recordPage from '../../../sql/sqlite/journal_record_page.sql' with { type: 'text' }
import recordPut from '../../../sql/sqlite/journal_record_put.sql' with { type: 'text' }
import recordRemove from '../../../sql/sqlite/journal_record_remove.sql' with { type: 'text' }
import stateGet from '../../../sql/sqlite/journal_state_get.sql' with { type: 'text' }
import statePut from '../../../sql/sqlite/journal_state_put.sql' with { type: 'text' }
import { PAGE_BYTES } from './journal_pages.ts'
import { headOf } from './journal_record.ts'
import { FIRST_STATE, type NumberedState, readStateLine, stateLine } from './journal_state.ts'

/** "pers", for `file` and for whoever opens it by mistake. */
const APPLICATION_ID = 0x70657273
const FORMAT_VERSION = 1
/** A number above this is no version but damage. */
const MAX_VERSION = 99
/** Rows of one INSERT: more of them gain nothing, and are one long text. */
export const ROWS_A_PUT = 25
const SCAN_ROWS = 1000
const CACHE_KIB = 8192

export interface JournalFile {
  client: Database
  /** Rows, as id and body in turns: `ROWS_A_PUT` of them, or one. */
  put(cells: (number | Uint8Array)[]): void
  removeRun(firstId: number, lastId: number): void
  putState(line: string): void
  get(id: number): Uint8Array | null
  page(after: number, limit: number): [id: number, body: Uint8Array][]
  state(): NumberedState | null
  /** Moves the log into the file, and gives its room back. */
  checkpoint(): void
  /** Leaves nothing but what is there; what it costs is the giving back, some 50 ms for 100 MiB. */
  vacuum(): void
  /** All or nothing: what is thrown inside is thrown again, with nothing changed. */
  transaction(work: () => void): void
  close(): void
}

/** Prepares the statements; what closes the file must close these first, or the lock stays. */
export function journalFile(client: Database): JournalFile {
  const many = recordPut.replace('(?, ?)', Array(ROWS_A_PUT).fill('(?, ?)').join(', '))
  const texts = ['BEGIN', 'COMMIT', recordPut, many, recordRemove, recordGet, recordPage, stateGet, statePut]
  const prepared = texts.map((text) => client.prepare(text))
  const [begin, commit, putOne, putMany, remove, get, page, getState, putState] = prepared as [
    ...typeof prepared,
  ]
  return {
    client,
    put(cells) {
      if (cells.length === 2 * ROWS_A_PUT) putMany!.run(...cells)
      else for (let at = 0; at < cells.length; at += 2) putOne!.run(cells[at]!, cells[at + 1]!)
    },
    removeRun(firstId, lastId) {
      remove!.run(firstId, lastId)
    },
    putState(line) {
      putState!.run(line)
    },
    checkpoint() {
      client.run('PRAGMA wal_checkpoint(TRUNCATE)')
    },
    vacuum() {
      client.run('VACUUM')
      client.run('PRAGMA wal_checkpoint(TRUNCATE)')
    },
    get: (id) => (get!.values(id)[0]?.[0] as Uint8Array | undefined) ?? null,
    page: (after, limit) => page!.values(after, limit) as [number, Uint8Array][],
    state() {
      const line = getState!.values()[0]?.[0]
      return typeof line === 'string' ? readStateLine(line) : null
    },
    transaction(work) {
      if (client.inTransaction) client.run('ROLLBACK') // one that couldn't be rolled back when it failed
      begin!.run()
      try {
        work()
        commit!.run()
      } catch (error) {
        // Some failures have rolled it back already.
        if (client.inTransaction) client.run('ROLLBACK')
        throw error
      }
    },
    close() {
      for (const statement of prepared) statement.finalize()
      client.close()
    },
  }
}

export interface Scan {
  records: number
  lastId: number
  readable: Map<string, number>
  /** What is wrong, in words; null where all is well. */
  fault: string | null
}

/** Reads every record once, a page at a time, and checks it; yields after each. */
export function* scan(file: JournalFile): Generator<void, Scan> {
  const readable = new Map<string, number>()
  let records = 0
  let damaged = 0
  let lastId = 0
  for (;;) {
    const rows = file.page(lastId, SCAN_ROWS)
    if (rows.length === 0) break
    for (const [id, body] of rows) {
      if (id <= lastId) return { records, lastId, readable, fault: 'its records are out of order' }
      lastId = id
      const head = body instanceof Uint8Array ? headOf(body) : null
      if (head?.id !== id) {
        damaged++
        continue
      }
      records++
      readable.set(head.collection, (readable.get(head.collection) ?? 0) + 1)
    }
    yield
  }
  return { records, lastId, readable, fault: damaged === 0 ? null : `${damaged} records are damaged` }
}

/** Opens a connection that waits for nobody: the event loop would wait too. */
export function connect(path: string): Database {
  const client = new Database(path, { create: true, readwrite: true })
  client.run('PRAGMA busy_timeout = 0')
  // Before anything is read: so SQLite needs no shared memory, and keeps its lock until the end.
  client.run('PRAGMA locking_mode = EXCLUSIVE')
  client.run(`PRAGMA page_size = ${PAGE_BYTES}`)
  client.run(`PRAGMA cache_size = -${CACHE_KIB}`)
  // What was removed is gone from the free pages too: salvage can't bring it back where their list is damaged.
  client.run('PRAGMA secure_delete = ON')
  return client
}

/**
 * Makes the tables in an empty database: all of it, or nothing, and without a write-ahead log. So a log beside
 * an empty file is a sign of damage.
 */
export function createTables(client: Database): void {
  client.transaction(() => {
    client.run(createRecords)
    client.run(createState)
    client.run(`PRAGMA application_id = ${APPLICATION_ID}`)
    client.run(`PRAGMA user_version = ${FORMAT_VERSION}`)
    client.run(statePut, [stateLine(FIRST_STATE)])
  })()
}

const pragma = (client: Database, name: string): unknown => {
  const statement = client.prepare(`PRAGMA ${name}`)
  try {
    return statement.values()[0]?.[0]
  } finally {
    statement.finalize()
  }
}

/** Nothing was ever written into it: it is new, or its maker was killed before its first commit. */
export function isBlank(client: Database): boolean {
  const statement = client.prepare('SELECT COUNT(*) FROM sqlite_schema')
  try {
    return (
      statement.values()[0]?.[0] === 0 &&
      pragma(client, 'application_id') === 0 &&
      pragma(client, 'user_version') === 0
    )
  } finally {
    statement.finalize()
  }
}

/** A version above this one's, which must not be touched; null where it is none. */
export function newerVersion(client: Database): number | null {
  const version = Number(pragma(client, 'user_version'))
  const isOurs = pragma(client, 'application_id') === APPLICATION_ID
  return isOurs && version > FORMAT_VERSION && version <= MAX_VERSION ? version : null
}

/** What is wrong with the file itself, in words; null where all is well. Costs a look at every page. */
export function faultOf(client: Database): string | null {
  if (pragma(client, 'application_id') !== APPLICATION_ID) return 'it is no journal'
  const version = pragma(client, 'user_version')
  if (version !== FORMAT_VERSION) return `its version ${version} is none`
  if (pragma(client, 'page_size') !== PAGE_BYTES) return 'its pages have another size'
  const check = pragma(client, 'quick_check(1)')
  return check === 'ok' ? null : String(check)
}
