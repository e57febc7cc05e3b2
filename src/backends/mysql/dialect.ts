/** MySQL's way, as MariaDB and TiDB take it too. */
import { sql } from 'drizzle-orm'
import { stampHex } from '../../collections/stamp.ts'
import type { Dialect } from '../sql/codec.ts'

export const mysqlDialect: Dialect = {
  quote: (name) => `\`${name}\``,
  encode(type, value) {
    if (value === null) return null
    return type === 'timestamp' ? toDateTime(value as number) : value
  },
  decode(type, raw) {
    if (raw === null || raw === undefined) return null
    if (type === 'timestamp') return Date.parse(`${(raw as string).replace(' ', 'T')}Z`)
    if (type === 'integer' || type === 'decimal') return Number(raw)
    return raw as string
  },
  encodeStamp: (stamp) => Buffer.from(stampHex(stamp), 'hex'),
  forUpdate: 'FOR UPDATE',
  greatest: 'GREATEST',
  least: 'LEAST',
  incoming: (column) => `VALUES(\`${column}\`)`,
  concat: (parts) => `CONCAT(${parts.join(', ')})`,
  // utf8mb4_bin pads with spaces to compare; the length tells 'a' from 'a '.
  equals: (column, text) => sql`${column} = ${text} AND LENGTH(${column}) = ${Buffer.byteLength(text)}`,
  contains: (column, text) => sql`INSTR(LOWER(${column}), LOWER(${text})) > 0`,
  tuples: (tuples) => sql.join([...tuples], sql.raw(', ')),
  deleteSome: (collection, where, limit) =>
    sql`DELETE FROM ${sql.raw(`\`${collection.name}\``)} WHERE ${where} LIMIT ${limit}`,
}

/** Milliseconds since the epoch as DATETIME(3) in UTC, the session's time zone. */
export function toDateTime(ms: number): string {
  return new Date(ms).toISOString().slice(0, 23).replace('T', ' ')
}
