/** Builds what depends on input: optional filters, keyset pages, field lists. The one place for every dialect. */
import { type SQL, sql } from 'drizzle-orm'
import { type Collection, ROW_TIMES, type Value } from '../../collections/definition.ts'
import type { FlatRecord, Row } from '../../collections/row.ts'
import { unpackStamps } from '../../collections/row.ts'
import { ABSENT, type Stamp } from '../../collections/stamp.ts'
import type { Filter, Query } from '../backend.ts'
import type { Dialect } from './codec.ts'

const COMPARE = { eq: '=', lt: '<', lte: '<=', gt: '>', gte: '>=' }

function list(dialect: Dialect, names: readonly string[]): string {
  return names.map((name) => dialect.quote(name)).join(', ')
}

export function table(dialect: Dialect, collection: Collection): SQL {
  return sql.raw(dialect.quote(collection.name))
}

function column(dialect: Dialect, collection: Collection, name: string): string {
  return `${dialect.quote(collection.name)}.${dialect.quote(name)}`
}

/** A filter as a condition: plain text where it has no values, which is cheaper to put together. */
function condition(dialect: Dialect, collection: Collection, filter: Filter): SQL | string {
  const col = (name: string) => column(dialect, collection, name)
  switch (filter.op) {
    case 'complete':
      return collection.required.map((name) => `${col(name)} IS NOT NULL`).join(' AND ')
    case 'incomplete':
      return `(${collection.required.map((name) => `${col(name)} IS NULL`).join(' OR ')})`
    case 'visible':
      return `NOT (${hidden(dialect, collection)})`
    case 'hidden':
      return hidden(dialect, collection)
    case 'orphan':
      return `NOT ${parentExists(dialect, collection)}`
    case 'text':
      return sql`(${sql.join(
        collection.search.map((name) => dialect.contains(sql.raw(col(name)), filter.value)),
        sql.raw(' OR '),
      )})`
    case 'in':
      if (filter.values.length === 0) return '1 = 0'
      return sql`${sql.raw(col(filter.field))} IN (${sql.join(
        filter.values.map((value) => sql`${dialect.encode(collection.typeOf(filter.field), value)}`),
        sql.raw(', '),
      )})`
    default: {
      const { op, field, value } = filter
      // A key's texts end in no white space: plain equality is exact, and serves its index.
      const isText = op === 'eq' && typeof value === 'string' && !collection.key.includes(field)
      if (isText) return dialect.equals(sql.raw(col(field)), value)
      return sql`${sql.raw(`${col(field)} ${COMPARE[op]} `)}${dialect.encode(collection.typeOf(field), value)}`
    }
  }
}

/** Whether a row's parent is there and, when asked, has `field` set. */
function parentExists(dialect: Dialect, collection: Collection, field?: string): string {
  const { name, key } = collection.parent!
  const parent = (of: string) => `parent.${dialect.quote(of)}`
  const set = field ? ` AND ${parent(field)} IS NOT NULL` : ''
  return `EXISTS (SELECT 1 FROM ${dialect.quote(name)} AS parent WHERE ${parent(key[0]!)} = ${column(dialect, collection, collection.key[0]!)}${set})`
}

/** Set on the row itself, or on its parent. */
function hidden(dialect: Dialect, collection: Collection): string {
  if (collection.hiddenBy) return `${column(dialect, collection, collection.hiddenBy)} IS NOT NULL`
  if (collection.parent?.hiddenBy) return parentExists(dialect, collection, collection.parent.hiddenBy)
  return '1 = 0'
}

/** All filters together, as the text behind WHERE. */
export function conditions(dialect: Dialect, collection: Collection, filters: readonly Filter[]): SQL {
  const all = filters.map((filter) => condition(dialect, collection, filter))
  const plain = all.filter((one) => typeof one === 'string').join(' AND ')
  const bound = all.filter((one) => typeof one !== 'string')
  if (bound.length === 0) return sql.raw(plain || '1 = 1')
  const joined = sql.join(bound, sql.raw(' AND '))
  return plain ? sql`${sql.raw(`${plain} AND `)}${joined}` : joined
}

/** `key` of several columns beyond the given one: (a, b) > (x, y), spelt so that an index range serves it. */
function beyond(
  dialect: Dialect,
  collection: Collection,
  names: readonly string[],
  values: readonly Value[],
  op: string,
): SQL {
  const [name, ...rest] = names
  if (name === undefined) return sql`1 = 0` // the only row there can be was the last one
  const col = column(dialect, collection, name)
  const value = dialect.encode(collection.typeOf(name), values[0]!)
  const strictly = sql.raw(`${col} ${op} `)
  if (rest.length === 0) return sql`${strictly}${value}`
  const next = beyond(dialect, collection, rest, values.slice(1), op)
  return sql`(${sql.raw(`${col} ${op}= `)}${value} AND (${strictly}${value} OR ${next}))`
}

/** The names by which a sort orders: its own field first, then the key as the unique tie-break. */
export function orderOf(collection: Collection, sort: string): readonly string[] {
  return sort === 'key' ? collection.key : [sort, ...collection.key]
}

/** Column names of a result, in order: the key, the fields asked for, the row's times. */
export function selected(collection: Collection, fields: readonly string[] = collection.slots): string[] {
  return [...collection.key, ...fields, ...ROW_TIMES]
}

export function selectPage(dialect: Dialect, collection: Collection, query: Query): SQL {
  const names = orderOf(collection, query.sort)
  // What a filter holds constant orders nothing; leaving it out lets an index range serve the rest.
  const fixed = new Set(query.filters.flatMap((filter) => (filter.op === 'eq' ? [filter.field] : [])))
  const loose = names.flatMap((name, i) => (fixed.has(name) ? [] : [i]))
  const order = loose.map((i) => names[i]!)
  const direction = query.descending ? ' DESC' : ''
  const { after } = query
  const position = after
    ? sql` AND ${beyond(
        dialect,
        collection,
        order,
        loose.map((i) => after[i]!),
        query.descending ? '<' : '>',
      )}`
    : sql``
  const orderBy = order.map((name) => `${column(dialect, collection, name)}${direction}`).join(', ')
  const sorted = orderBy ? ` ORDER BY ${orderBy}` : ''
  const select = `SELECT ${list(dialect, selected(collection, query.fields))} FROM ${dialect.quote(collection.name)} WHERE `
  const offset = query.offset ? sql` OFFSET ${query.offset}` : sql``
  return sql`${sql.raw(select)}${conditions(dialect, collection, query.filters)}${position}${sql.raw(`${sorted} LIMIT `)}${query.limit}${offset}`
}

export function selectRows(
  dialect: Dialect,
  collection: Collection,
  keys: readonly (readonly string[])[],
): SQL {
  const names = [...collection.key, ...collection.slots, 'created_at', 'stamps']
  const tuple = (key: readonly string[]) =>
    sql`(${sql.join(
      key.map((part) => sql`${part}`),
      sql.raw(', '),
    )})`
  const match =
    collection.key.length === 1
      ? sql`${sql.raw(list(dialect, collection.key))} IN ${tuple(keys.map((key) => key[0]!))}`
      : keys.length === 1
        ? sql.join(
            collection.key.map((name, i) => sql`${sql.raw(`${dialect.quote(name)} = `)}${keys[0]![i]}`),
            sql.raw(' AND '),
          )
        : sql`${sql.raw(`(${list(dialect, collection.key)})`)} IN (${dialect.tuples(keys.map(tuple))})`
  return sql`${sql.raw(`SELECT ${list(dialect, names)} FROM ${dialect.quote(collection.name)} WHERE `)}${match}`
}

export function selectCount(
  dialect: Dialect,
  collection: Collection,
  filters: readonly Filter[],
  limit?: number,
): SQL {
  const from = sql`FROM ${table(dialect, collection)} WHERE ${conditions(dialect, collection, filters)}`
  if (limit === undefined) return sql`SELECT COUNT(*) ${from}`
  return sql`SELECT COUNT(*) FROM (SELECT 1 AS one ${from} LIMIT ${limit}) AS counted`
}

export function selectCountBy(
  dialect: Dialect,
  collection: Collection,
  filters: readonly Filter[],
  field: string,
): SQL {
  const by = sql.raw(dialect.quote(field))
  return sql`SELECT ${by}, COUNT(*) FROM ${table(dialect, collection)} WHERE ${conditions(dialect, collection, filters)} GROUP BY ${by}`
}

export function selectCountByGroup(
  dialect: Dialect,
  collection: Collection,
  groups: readonly string[],
  filters: readonly Filter[],
  field: string,
): SQL {
  const by = sql.raw(list(dialect, [collection.key[0]!, field]))
  const all: Filter[] = [{ op: 'in', field: collection.key[0]!, values: groups }, ...filters]
  return sql`SELECT ${by}, COUNT(*) FROM ${table(dialect, collection)} WHERE ${conditions(dialect, collection, all)} GROUP BY ${by}`
}

export function decodeRecord(
  dialect: Dialect,
  collection: Collection,
  names: readonly string[],
  raw: readonly unknown[],
): FlatRecord {
  const record: FlatRecord = {}
  for (let i = 0; i < names.length; i++)
    record[names[i]!] = dialect.decode(collection.typeOf(names[i]!), raw[i])
  return record
}

/** A result of `selectRows` as a row of the law. */
export function decodeRow(dialect: Dialect, collection: Collection, raw: readonly unknown[]): Row {
  const keys = collection.key.length
  const stamps: Stamp[] = unpackStamps(
    raw[keys + collection.slots.length + 1] as Uint8Array,
    collection.slots.length,
  )
  return {
    key: collection.key.map((_, i) => dialect.decode('text', raw[i]) as string),
    values: collection.slots.map((name, slot) =>
      stamps[slot] === ABSENT ? undefined : dialect.decode(collection.typeOf(name), raw[keys + slot]),
    ),
    stamps,
    createdAtMs: dialect.decode('timestamp', raw[keys + collection.slots.length]) as number,
  }
}
