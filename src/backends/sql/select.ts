/** Builds what depends on input: optional filters, keyset pages, field lists. The one place for every dialect. */
import { type SQL, sql } from 'drizzle-orm'
import { type Collection, ROW_TIMES, type Value } from '../../collections/definition.ts'
import type { FlatRecord, Row } from '../../collections/row.ts'
import { unpackStamps } from '../../collections/row.ts'
import { ABSENT, type Stamp } from '../../collections/stamp.ts'
import type { Filter, Query } from '../backend.ts'
import type { Dialect } from './codec.ts'

const COMPARE = {
  eq: sql.raw('='),
  lt: sql.raw('<'),
  lte: sql.raw('<='),
  gt: sql.raw('>'),
  gte: sql.raw('>='),
}

export function columns(dialect: Dialect, names: readonly string[]): SQL {
  return sql.raw(names.map((name) => dialect.quote(name)).join(', '))
}

export function table(dialect: Dialect, collection: Collection): SQL {
  return sql.raw(dialect.quote(collection.name))
}

function column(dialect: Dialect, collection: Collection, name: string): SQL {
  return sql.raw(`${dialect.quote(collection.name)}.${dialect.quote(name)}`)
}

function condition(dialect: Dialect, collection: Collection, filter: Filter): SQL {
  const col = (name: string) => column(dialect, collection, name)
  const all = (names: readonly string[], test: string, glue: string) =>
    sql`(${sql.join(
      names.map((name) => sql`${col(name)} ${sql.raw(test)}`),
      sql.raw(glue),
    )})`
  switch (filter.op) {
    case 'complete':
      return all(collection.required, 'IS NOT NULL', ' AND ')
    case 'incomplete':
      return all(collection.required, 'IS NULL', ' OR ')
    case 'visible':
      return sql`NOT (${hidden(dialect, collection)})`
    case 'hidden':
      return hidden(dialect, collection)
    case 'orphan':
      return sql`NOT ${parentExists(dialect, collection)}`
    case 'text':
      return sql`(${sql.join(
        collection.search.map((name) => dialect.contains(col(name), filter.value)),
        sql.raw(' OR '),
      )})`
    case 'in':
      if (filter.values.length === 0) return sql`1 = 0`
      return sql`${col(filter.field)} IN (${sql.join(
        filter.values.map((value) => sql`${dialect.encode(collection.typeOf(filter.field), value)}`),
        sql.raw(', '),
      )})`
    default: {
      const { op, field, value } = filter
      // A key's texts end in no white space: plain equality is exact, and serves its index.
      const isText = op === 'eq' && typeof value === 'string' && !collection.key.includes(field)
      if (isText) return dialect.equals(col(field), value)
      return sql`${col(field)} ${COMPARE[op]} ${dialect.encode(collection.typeOf(field), value)}`
    }
  }
}

/** Whether a row's parent is there and, when asked, has `field` set. */
function parentExists(dialect: Dialect, collection: Collection, field?: string): SQL {
  const { name, key } = collection.parent!
  const parent = (of: string) => sql.raw(`parent.${dialect.quote(of)}`)
  const set = field ? sql` AND ${parent(field)} IS NOT NULL` : sql``
  return sql`EXISTS (SELECT 1 FROM ${sql.raw(dialect.quote(name))} AS parent WHERE ${parent(key[0]!)} = ${column(dialect, collection, collection.key[0]!)}${set})`
}

/** Set on the row itself, or on its parent. */
function hidden(dialect: Dialect, collection: Collection): SQL {
  if (collection.hiddenBy) return sql`${column(dialect, collection, collection.hiddenBy)} IS NOT NULL`
  if (collection.parent?.hiddenBy) return parentExists(dialect, collection, collection.parent.hiddenBy)
  return sql`1 = 0`
}

/** All filters together, as the text behind WHERE. */
export function conditions(dialect: Dialect, collection: Collection, filters: readonly Filter[]): SQL {
  if (filters.length === 0) return sql`1 = 1`
  return sql.join(
    filters.map((filter) => condition(dialect, collection, filter)),
    sql.raw(' AND '),
  )
}

/** `key` of several columns beyond the given one: (a, b) > (x, y), spelt so that an index range serves it. */
function beyond(
  dialect: Dialect,
  collection: Collection,
  names: readonly string[],
  values: readonly Value[],
  op: SQL,
): SQL {
  const [name, ...rest] = names
  if (name === undefined) return sql`1 = 0` // the only row there can be was the last one
  const col = column(dialect, collection, name)
  const value = dialect.encode(collection.typeOf(name), values[0]!)
  if (rest.length === 0) return sql`${col} ${op} ${value}`
  const next = beyond(dialect, collection, rest, values.slice(1), op)
  return sql`(${col} ${op}= ${value} AND (${col} ${op} ${value} OR ${next}))`
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
  const direction = sql.raw(query.descending ? ' DESC' : '')
  const filters = conditions(dialect, collection, query.filters)
  const { after } = query
  const position = after
    ? sql` AND ${beyond(
        dialect,
        collection,
        order,
        loose.map((i) => after[i]!),
        sql.raw(query.descending ? '<' : '>'),
      )}`
    : sql``
  const orderBy = sql.join(
    order.map((name) => sql`${column(dialect, collection, name)}${direction}`),
    sql.raw(', '),
  )
  const sorted = order.length > 0 ? sql` ORDER BY ${orderBy}` : sql``
  const offset = query.offset ? sql` OFFSET ${query.offset}` : sql``
  return sql`SELECT ${columns(dialect, selected(collection, query.fields))} FROM ${table(dialect, collection)} WHERE ${filters}${position}${sorted} LIMIT ${query.limit}${offset}`
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
      ? sql`${columns(dialect, collection.key)} IN ${tuple(keys.map((key) => key[0]!))}`
      : keys.length === 1
        ? sql.join(
            collection.key.map((name, i) => sql`${columns(dialect, [name])} = ${keys[0]![i]}`),
            sql.raw(' AND '),
          )
        : sql`(${columns(dialect, collection.key)}) IN (${dialect.tuples(keys.map(tuple))})`
  return sql`SELECT ${columns(dialect, names)} FROM ${table(dialect, collection)} WHERE ${match}`
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
  const by = columns(dialect, [field])
  return sql`SELECT ${by}, COUNT(*) FROM ${table(dialect, collection)} WHERE ${conditions(dialect, collection, filters)} GROUP BY ${by}`
}

export function selectCountByGroup(
  dialect: Dialect,
  collection: Collection,
  groups: readonly string[],
  filters: readonly Filter[],
  field: string,
): SQL {
  const by = columns(dialect, [collection.key[0]!, field])
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
