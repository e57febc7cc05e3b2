/** A small world of rows with ties, holes, hidden and parentless ones, and what a query of it must answer. */
import fc from 'fast-check'
import type { Filter, Query, RecordStore } from '../../src/backends/backend.ts'
import type { Collection, Value } from '../../src/collections/definition.ts'
import { type FlatRecord, flatten, type Row } from '../../src/collections/row.ts'
import { makeStamp } from '../../src/collections/stamp.ts'
import { fullRow, keyOf, rowWith, T0 } from './contract_rows.ts'

/** Everything that was written, by collection; only what this suite wrote is in the store. */
export type World = ReadonlyMap<string, readonly Row[]>

const STATUSES = ['pending', 'processing', 'completed', 'failed']
const GROUPS = 14
/** Groups from this one on have no parent. */
const PARENTS = 11
const ROWS_A_GROUP = 9
/** Rows whose times are the same. */
const TIES = 8
const PHRASES = ['The dragon wakes', 'a DRAGON sleeps', '龙醒了', '100% _done_', 'back\\slash', `it's`]

const groupName = (n: number) => (n % 3 === 0 ? `Group-${n}` : `group-${n}`)

/** Rows of a collection and, where it has one, of its parent. */
export function makeWorld(collections: readonly Collection[]): World {
  return new Map(
    collections.map((collection) => {
      const isParent = collection.key.length === 1
      const count = isParent ? PARENTS : GROUPS * ROWS_A_GROUP
      const rows = Array.from({ length: count }, (_, n) => {
        const group = groupName(isParent ? n : n % GROUPS)
        const key = isParent ? [group] : keyOf(collection, group, n)
        return makeRow(collection, key, n)
      })
      return [collection.name, rows] as const
    }),
  )
}

function makeRow(collection: Collection, key: readonly string[], n: number): Row {
  const stamp = makeStamp(T0 + Math.floor(n / TIES) * 1000, n, 1)
  const fields: Record<string, Value> = {
    status: STATUSES[n % STATUSES.length]!,
    [collection.search[0]!]: PHRASES[n % PHRASES.length]!,
    [collection.search.at(-1)!]: `${PHRASES[(n + 3) % PHRASES.length]!} ${n}`,
  }
  if (collection.hiddenBy && n % 4 === 1) fields[collection.hiddenBy] = T0 + n
  if (n % 10 === 3) fields.status = null
  if (n % 10 === 7) return rowWith(collection, key, fields, stamp)
  const row = fullRow(collection, key, { n, stamp, fields })
  // Written again later, so that creation and update differ.
  return { ...row, createdAtMs: row.createdAtMs - (n % 3) * 500 }
}

/** Writes the world, in an order that is not that of its keys. */
export async function writeWorld(
  records: RecordStore,
  collections: readonly Collection[],
  world: World,
): Promise<void> {
  for (const collection of collections) {
    const rows = world.get(collection.name)!
    await records.write(
      collection,
      rows.toSorted((a, b) => (a.key.toReversed().join() < b.key.toReversed().join() ? 1 : -1)),
    )
  }
}

/** The records that meet the filters, in any order. */
export function matching(world: World, collection: Collection, filters: readonly Filter[]): FlatRecord[] {
  return world
    .get(collection.name)!
    .map((row) => flatten(collection, row))
    .filter((record) => filters.every((filter) => matches(world, collection, record, filter)))
}

function matches(world: World, collection: Collection, record: FlatRecord, filter: Filter): boolean {
  const complete = collection.required.every((name) => record[name] !== null)
  switch (filter.op) {
    case 'complete':
      return complete
    case 'incomplete':
      return !complete
    case 'hidden':
      return isHidden(world, collection, record)
    case 'visible':
      return !isHidden(world, collection, record)
    case 'orphan':
      return parentOf(world, collection, record) === undefined
    case 'text':
      return collection.search.some((name) =>
        asciiLower(String(record[name] ?? '')).includes(asciiLower(filter.value)),
      )
    case 'in':
      return filter.values.includes(record[filter.field]!)
    default: {
      const value = record[filter.field]!
      if (value === null || filter.value === null) return false
      const order = compare(value, filter.value)
      const met = { eq: order === 0, lt: order < 0, lte: order <= 0, gt: order > 0, gte: order >= 0 }
      return met[filter.op]
    }
  }
}

function isHidden(world: World, collection: Collection, record: FlatRecord): boolean {
  if (collection.hiddenBy) return record[collection.hiddenBy] !== null
  const hiddenBy = collection.parent?.hiddenBy
  return hiddenBy !== undefined && (parentOf(world, collection, record)?.[hiddenBy] ?? null) !== null
}

function parentOf(world: World, { parent, key }: Collection, record: FlatRecord): FlatRecord | undefined {
  const row = parent && world.get(parent.name)!.find((one) => one.key[0] === record[key[0]!])
  return row && flatten(parent, row)
}

const asciiLower = (text: string) => text.replace(/[A-Z]/g, (char) => char.toLowerCase())

/** Texts by their code points, as a binary collation has them. */
function compare(a: Value, b: Value): number {
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b))
  return Number(a) - Number(b)
}

/** Records in the order of a sort, ties broken by the key. */
export function inOrder(
  collection: Collection,
  records: readonly FlatRecord[],
  { sort, descending }: Pick<Query, 'sort' | 'descending'>,
): FlatRecord[] {
  const names = sort === 'key' ? collection.key : [sort, ...collection.key]
  const direction = descending ? -1 : 1
  return records.toSorted((a, b) => {
    for (const name of names) {
      const order = compare(a[name]!, b[name]!)
      if (order !== 0) return order * direction
    }
    return 0
  })
}

/** Where the page after a record begins. */
export function positionOf(collection: Collection, sort: string, record: FlatRecord): Value[] {
  return (sort === 'key' ? collection.key : [sort, ...collection.key]).map((name) => record[name]!)
}

/** Conditions as lists, retention and recovery use them, and some that nobody uses yet. */
export function arbitraryFilter(collection: Collection): fc.Arbitrary<Filter> {
  const compared = fc.constantFrom<'eq' | 'lt' | 'lte' | 'gt' | 'gte'>('eq', 'lt', 'lte', 'gt', 'gte')
  const time = fc.integer({ min: -1, max: 18 }).map((n) => T0 + n * 500)
  const text = fc.constantFrom(...collection.key, 'status')
  const textValue = (field: string) =>
    field === 'status'
      ? fc.constantFrom(...STATUSES, 'none', 'COMPLETED')
      : fc
          .nat(40)
          .map((n) => (field === collection.key[0] ? groupName(n % GROUPS) : `group-${n % GROUPS}_${n}`))
  const numbers = collection.slots.filter((name) => collection.typeOf(name) === 'integer')
  return fc.oneof(
    ...['complete', 'incomplete', 'visible', 'hidden'].map((op) => fc.constant({ op } as Filter)),
    ...(collection.parent ? [fc.constant<Filter>({ op: 'orphan' })] : []),
    fc.record({ op: compared, field: fc.constantFrom('created_at', 'updated_at'), value: time }),
    fc.record({ op: compared, field: fc.constantFrom(...numbers), value: fc.nat(60) }),
    text.chain((field) => fc.record({ op: compared, field: fc.constant(field), value: textValue(field) })),
    text.chain((field) =>
      fc.record({
        op: fc.constant('in' as const),
        field: fc.constant(field),
        values: fc.array(textValue(field), { minLength: 1, maxLength: 4 }),
      }),
    ),
    fc.record({
      op: fc.constant('text' as const),
      value: fc.constantFrom('dragon', 'DRAGON', '龙', '%', '_', '\\', `'`, 'wakes 1', 'nothing'),
    }),
  )
}

/** Up to three conditions together. */
export function arbitraryFilters(collection: Collection): fc.Arbitrary<Filter[]> {
  return fc.array(arbitraryFilter(collection), { maxLength: 3 })
}
