import { describe, expect, test } from 'bun:test'
import { inspect } from 'node:util'
import { BackendError } from '../../src/backends/backend.ts'
import { toBackendError as fromMysql } from '../../src/backends/mysql/errors.ts'
import { toBackendError as fromSqlite } from '../../src/backends/sqlite/errors.ts'

const serverError = (errno: number) =>
  Object.assign(new Error('words'), { errno, sqlState: 'HY000', code: 'ER_X' })

describe('a failure of a server', () => {
  const kinds: [kind: string, numbers: number[]][] = [
    // Deadlock, lock wait, certification.
    ['conflict', [1213, 1205, 1020]],
    // Too many connections, denied, unknown database, shutting down, full, read-only, killed, no such table.
    [
      'outage',
      [1040, 1044, 1045, 1047, 1049, 1053, 1114, 1142, 1146, 1290, 1317, 1792, 1836, 1927, 3024, 3098, 4031],
    ],
    // Too long, out of range, wrong value, null, check constraint, unique key, JSON.
    ['refused', [1406, 1264, 1265, 1292, 1366, 1048, 1062, 1452, 1690, 3819, 4025, 3140, 1644]],
    ['too_large', [1153, 1197, 1390]],
    ['unknown', [1064, 1054, 12_345]],
  ]
  test.each(kinds.flatMap(([kind, numbers]) => numbers.map((number) => [number, kind] as const)))(
    '%d is told by its number: %s',
    (number, kind) => {
      const error = fromMysql(serverError(number))
      expect(error).toBeInstanceOf(BackendError)
      expect(error).toMatchObject({ kind, code: String(number) })
      expect(error.words.reveal()).toBe('words')
    },
  )

  const shown: [number: number, shown: boolean][] = [
    ...[1045, 1049, 1114, 1213, 1205, 1153, 1406, 1264, 1048, 3819, 1050].map((n): [number, boolean] => [
      n,
      true,
    ]),
    ...[1062, 1366, 1292, 3140, 1644, 1064, 1105, 9007, 12_345].map((n): [number, boolean] => [n, false]),
  ]
  test.each(shown)(
    '%d has its words in the message only where no row can stand in them: %p',
    (number, whole) => {
      expect(fromMysql(serverError(number)).message).toBe(whole ? 'words' : `error ${number} of the server`)
    },
  )

  test('shows nothing of a row or a statement, however it is printed', () => {
    const sql = "INSERT INTO t VALUES ('a text of a game')"
    const words = "Duplicate entry 'a text of a game' for key 'k'"
    const error = fromMysql(
      Object.assign(new Error(words), {
        errno: 1062,
        sqlState: '23000',
        code: 'ER_X',
        sqlMessage: words,
        sql,
      }),
    )
    for (const text of [
      inspect(error, { showHidden: true, depth: 9 }),
      Bun.inspect(error),
      JSON.stringify(error),
      error.stack,
    ])
      expect(text).not.toContain('game')
  })

  test('that no server told is an outage, by the word of the driver or the system', () => {
    for (const code of ['ECONNREFUSED', 'ECONNRESET', 'PROTOCOL_CONNECTION_LOST', 'ENOTFOUND', 'EPIPE']) {
      expect(fromMysql(Object.assign(new Error('x'), { code, errno: -111 }))).toMatchObject({
        kind: 'outage',
        code,
      })
    }
    expect(fromMysql(new Error('Pool is closed.'))).toMatchObject({ kind: 'outage', code: 'CONNECTION' })
    expect(fromMysql('a text')).toMatchObject({ kind: 'outage', message: 'a text' })
  })

  test('that is told already stays what it is', () => {
    const known = new BackendError('refused', '1406', 'too long')
    expect(fromMysql(known)).toBe(known)
    expect(fromSqlite(known)).toBe(known)
  })
})

describe('a failure of SQLite', () => {
  const kinds: [code: string, errno: number, kind: string][] = [
    // Waited for already: no smaller piece would get the lock.
    ['SQLITE_BUSY', 5, 'outage'],
    ['SQLITE_BUSY_SNAPSHOT', 5 | (2 << 8), 'outage'],
    ['SQLITE_LOCKED', 6, 'outage'],
    ['SQLITE_TOOBIG', 18, 'too_large'],
    ['SQLITE_CONSTRAINT_CHECK', 19 | (1 << 8), 'refused'],
    ['SQLITE_CONSTRAINT_TRIGGER', 19 | (7 << 8), 'refused'],
    ['SQLITE_MISMATCH', 20, 'refused'],
    ['SQLITE_ERROR', 1, 'outage'],
    ['SQLITE_READONLY', 8, 'outage'],
    ['SQLITE_IOERR_WRITE', 10 | (3 << 8), 'outage'],
    ['SQLITE_CORRUPT', 11, 'outage'],
    ['SQLITE_FULL', 13, 'outage'],
    ['SQLITE_CANTOPEN', 14, 'outage'],
    ['SQLITE_NOTADB', 26, 'outage'],
  ]
  test.each(kinds)('%s (%d) is told by its code: %s', (code, errno, kind) => {
    const error = fromSqlite(Object.assign(new Error('words'), { errno, code }))
    expect(error).toMatchObject({ kind, code })
    expect(error.words.reveal()).toBe('words')
  })

  test('has the words of a trigger for nobody but who asks', () => {
    const error = fromSqlite(
      Object.assign(new Error('words'), { errno: 1811, code: 'SQLITE_CONSTRAINT_TRIGGER' }),
    )
    expect(error.message).toBe('refused by a trigger')
    expect(error.words.reveal()).toBe('words')
  })

  test('that has no code is an outage', () => {
    expect(fromSqlite(new RangeError('closed'))).toMatchObject({ kind: 'outage', code: 'SQLITE' })
  })
})
