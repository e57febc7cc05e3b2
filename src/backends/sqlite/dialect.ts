/** SQLite's way. Times are milliseconds, confidence a REAL, stamps a BLOB. */
import { sql } from 'drizzle-orm'
import { stampHex } from '../../collections/stamp.ts'
import type { Dialect } from '../sql/codec.ts'

const quote = (name: string) => `"${name}"`

export const sqliteDialect: Dialect = {
  quote,
  encode: (_type, value) => value,
  decode: (_type, raw) => (raw === undefined ? null : (raw as string | number | null)),
  encodeStamp: (stamp) => Buffer.from(stampHex(stamp), 'hex'),
  // A statement that writes has the file to itself.
  forUpdate: '',
  greatest: 'max',
  least: 'min',
  incoming: (column) => `excluded.${quote(column)}`,
  // `||` makes a text of the same bytes; the cast says what they are.
  concat: (parts) => `CAST(${parts.join(' || ')} AS BLOB)`,
  equals: (column, text) => sql`${column} = ${text}`,
  // Not LIKE, which stops at a NUL.
  contains: (column, text) => sql`instr(lower(${column}), lower(${text})) > 0`,
  tuples: (tuples) => sql`VALUES ${sql.join([...tuples], sql.raw(', '))}`,
  // DELETE … LIMIT is a compile-time option that not every SQLite has.
  deleteSome(collection, where, limit) {
    const name = sql.raw(quote(collection.name))
    const key = sql.raw(collection.key.map(quote).join(', '))
    return sql`DELETE FROM ${name} WHERE (${key}) IN (SELECT ${key} FROM ${name} WHERE ${where} LIMIT ${limit})`
  },
}
