/** What a dialect of SQL does its own way; the rest of this folder is common to all. */
import type { SQL } from 'drizzle-orm'
import type { Collection, FieldType, Value } from '../../collections/definition.ts'
import type { Stamp } from '../../collections/stamp.ts'

export interface Dialect {
  /** Quotes an identifier that came from a definition, never from input. */
  quote(name: string): string
  /** A value as the driver takes it. */
  encode(type: FieldType, value: Value): unknown
  /** A column of a result as a value. */
  decode(type: FieldType, raw: unknown): Value
  /** A stamp as a parameter of 8 bytes. */
  encodeStamp(stamp: Stamp): unknown
  /** What ends a subquery whose rows are locked until the statement commits. */
  forUpdate: string
  /** The functions that take the greatest and the least of their arguments. */
  greatest: string
  least: string
  /** The column's value in the row that an upsert brings. */
  incoming(column: string): string
  /** Joins expressions of bytes. */
  concat(parts: readonly string[]): string
  /** `column` is that very text, to the last byte. */
  equals(column: SQL, text: string): SQL
  /** `column` contains `text`, without regard to ASCII case; `%`, `_` and `\` in it are themselves. */
  contains(column: SQL, text: string): SQL
  /** The list of row values behind IN. */
  tuples(tuples: readonly SQL[]): SQL
  /** A DELETE of at most `limit` rows. */
  deleteSome(collection: Collection, where: SQL, limit: number): SQL
}

/** A connection, or what stands for one. */
export interface SqlSession {
  /** Rows as arrays, in the order of the columns. */
  all(statement: SQL): Promise<unknown[][]>
  /** Answers how many rows were affected. */
  run(statement: SQL): Promise<number>
}
