/** Reads of a record store over one SQL session. */
import { sql } from 'drizzle-orm'
import type { Value } from '../../collections/definition.ts'
import type { FlatRecord } from '../../collections/row.ts'
import type { RecordReader } from '../backend.ts'
import type { Dialect, SqlSession } from './codec.ts'
import {
  decodeRecord,
  decodeRow,
  selectCount,
  selectCountBy,
  selectCountByGroup,
  selected,
  selectPage,
  selectRows,
} from './select.ts'

/** A page of a scan aims at so many bytes, whatever its rows weigh. */
const SCAN_PAGE_BYTES = 512 * 1024
const SCAN_ROWS = { first: 200, least: 10, most: 250 }
const READ_MANY_ROWS = 500

export function createReader(dialect: Dialect, session: SqlSession): RecordReader {
  const reader: RecordReader = {
    async read(collection, key) {
      const [raw] = await session.all(selectRows(dialect, collection, [key]))
      return raw ? decodeRow(dialect, collection, raw) : null
    },

    async readMany(collection, keys) {
      const rows = []
      for (let i = 0; i < keys.length; i += READ_MANY_ROWS) {
        const found = await session.all(selectRows(dialect, collection, keys.slice(i, i + READ_MANY_ROWS)))
        for (const raw of found) rows.push(decodeRow(dialect, collection, raw))
      }
      return rows
    },

    async query(collection, query) {
      const names = selected(collection, query.fields)
      const found = await session.all(selectPage(dialect, collection, query))
      return found.map((raw) => decodeRecord(dialect, collection, names, raw))
    },

    async count(collection, filters, options) {
      const [[count] = [0]] = await session.all(selectCount(dialect, collection, filters, options?.limit))
      return Number(count)
    },

    async countBy(collection, filters, field) {
      const found = await session.all(selectCountBy(dialect, collection, filters, field))
      const type = collection.typeOf(field)
      return new Map<Value, number>(
        found.map(([value, count]) => [dialect.decode(type, value), Number(count)]),
      )
    },

    async countByGroup(collection, groups, filters, field) {
      const counts = new Map<string, Map<Value, number>>()
      for (let i = 0; i < groups.length; i += READ_MANY_ROWS) {
        const part = groups.slice(i, i + READ_MANY_ROWS)
        for (const [group, value, count] of await session.all(
          selectCountByGroup(dialect, collection, part, filters, field),
        )) {
          const name = dialect.decode('text', group) as string
          const of = counts.get(name) ?? new Map<Value, number>()
          counts.set(name, of.set(dialect.decode(collection.typeOf(field), value), Number(count)))
        }
      }
      return counts
    },

    async *scan(collection, filters, fields) {
      const pageAfter = (limit: number, after?: readonly Value[]) =>
        reader.query(collection, {
          filters,
          sort: 'key',
          descending: false,
          limit,
          ...(after && { after }),
          ...(fields && { fields }),
        })
      let limit = SCAN_ROWS.first
      let page = await pageAfter(limit)
      while (page.length === limit) {
        const last = page.at(-1)!
        const fitting = Math.floor((page.length * SCAN_PAGE_BYTES) / weightOf(page))
        limit = Math.min(SCAN_ROWS.most, Math.max(SCAN_ROWS.least, fitting))
        // The next page is on its way while this one is used.
        const next = pageAfter(
          limit,
          collection.key.map((name) => last[name]!),
        )
        next.catch(() => undefined) // whoever goes on is told; whoever stops need not be
        yield page
        page = await next
      }
      if (page.length > 0) yield page
    },
  }
  return reader
}

/** About the bytes of some records. */
function weightOf(records: readonly FlatRecord[]): number {
  let bytes = 0
  for (const record of records) {
    for (const value of Object.values(record)) bytes += typeof value === 'string' ? value.length : 8
  }
  return Math.max(1, bytes)
}

/** `SELECT` of one column's distinct values, by a loose scan of the clustered index. */
export function selectGroups(dialect: Dialect, name: string, column: string, after: string, limit: number) {
  const group = sql.raw(dialect.quote(column))
  return sql`SELECT DISTINCT ${group} FROM ${sql.raw(dialect.quote(name))} WHERE ${group} > ${after} ORDER BY ${group} LIMIT ${limit}`
}
