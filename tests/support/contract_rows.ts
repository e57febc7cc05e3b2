/** Rows for the contract suites, made from a collection's definition alone, and their comparison. */
import { expect } from 'bun:test'
import fc from 'fast-check'
import type { RecordReader } from '../../src/backends/backend.ts'
import type { Collection, Value } from '../../src/collections/definition.ts'
import { merge, type Row, rowOf, stampAt } from '../../src/collections/row.ts'
import { ABSENT, makeStamp, type Stamp, stampHex } from '../../src/collections/stamp.ts'

/** The time that rows of tests count from. */
export const T0 = Date.UTC(2025, 8, 30, 8)

/** The stamp of the `n`th acceptance, a millisecond each, on instance 1. */
export function stampOf(n: number): Stamp {
  return makeStamp(T0 + n, 0, 1)
}

/** The `n`th key of a group; a collection whose key is one field has a row a group. */
export function keyOf(collection: Collection, group: string, n: number): string[] {
  return collection.key.map((_, i) => (i < collection.key.length - 1 ? group : `${group}_${n}`))
}

/** What the group filter of a suite compares: the group, or the key itself where that is one field. */
export function groupOf(collection: Collection, group: string, n: number): string {
  return keyOf(collection, group, n)[0]!
}

/** A value of the field's type that differs with `n`. */
export function sampleValue(collection: Collection, name: string, n: number): Value {
  switch (collection.typeOf(name)) {
    case 'text':
      return `${name}-${n}`
    case 'integer':
      return n
    case 'decimal':
      return (n % 10_000) / 10_000
    case 'json':
      return JSON.stringify({ n, of: [name, null, true] })
    case 'timestamp':
      return T0 + n * 1000
  }
}

/** A row of a few fields; what is not given is absent. */
export function rowWith(
  collection: Collection,
  key: readonly string[],
  fields: Readonly<Record<string, Value>>,
  stamp: Stamp,
): Row {
  const named = Object.fromEntries(collection.key.map((name, i) => [name, key[i]!]))
  return rowOf(collection, { ...fields, ...named }, stamp)
}

/** A row with every field but the one that hides it, `fields` in the place of samples. */
export function fullRow(
  collection: Collection,
  key: readonly string[],
  options: { n?: number; stamp?: Stamp; fields?: Readonly<Record<string, Value>> } = {},
): Row {
  const { n = 1, stamp = stampOf(n), fields = {} } = options
  const names = collection.slots.filter((name) => name !== collection.hiddenBy)
  const samples = Object.fromEntries(names.map((name) => [name, sampleValue(collection, name, n)]))
  return rowWith(collection, key, { ...samples, ...fields }, stamp)
}

/** A row as two that mean the same are equal: each field that is there, with its stamp. */
export function plain(collection: Collection, row: Row | null | undefined) {
  if (!row) return null
  const fields = collection.slots.flatMap((name, slot) => {
    const stamp = stampAt(row, slot)
    if (stamp === ABSENT) return []
    const value = row.values[slot]
    const isJson = collection.typeOf(name) === 'json' && typeof value === 'string'
    return [[name, [stampHex(stamp), isJson ? JSON.parse(value) : value]] as const]
  })
  return { key: [...row.key], createdAtMs: row.createdAtMs, fields: Object.fromEntries(fields) }
}

/** That exactly these rows are stored under their keys. */
export async function expectStored(
  reader: RecordReader,
  collection: Collection,
  rows: readonly Row[],
): Promise<void> {
  const found = await reader.readMany(
    collection,
    rows.map(({ key }) => key),
  )
  const byKey = (list: readonly Row[]) =>
    Object.fromEntries(list.map((row) => [JSON.stringify(row.key), plain(collection, row)]))
  expect(byKey(found)).toEqual(byKey(rows))
}

/** All rows of one key merged, by key. */
export function mergeByKey(rows: readonly Row[]): Row[] {
  const merged = new Map<string, Row>()
  for (const row of rows) {
    const key = JSON.stringify(row.key)
    const held = merged.get(key)
    merged.set(key, held ? merge(held, row) : row)
  }
  return [...merged.values()]
}

/** Equal stamps mean equal values: a request has one stamp, and one row a key. */
function valueAt(collection: Collection, slot: number, stamp: Stamp): Value {
  const n = Number((stamp ^ (stamp >> 22n)) % 9973n) + slot
  return n % 5 === 0 ? null : sampleValue(collection, collection.slots[slot]!, n)
}

/** Updates of `keys`: whole rows, sparse ones, and some that were merged before. */
export function arbitraryUpdates(
  collection: Collection,
  keys: readonly (readonly string[])[],
  options: { minLength?: number; maxLength?: number } = {},
): fc.Arbitrary<Row[]> {
  const slots = collection.slots.map((_, slot) => slot)
  const part = fc.record({
    ms: fc.integer({ min: 0, max: 6 }),
    counter: fc.integer({ min: 0, max: 2 }),
    instance: fc.constantFrom(0, 1, 1023),
    slots: fc.oneof(fc.constant(slots), fc.subarray(slots, { minLength: 1 })),
  })
  const row = fc
    .tuple(fc.nat(keys.length - 1), fc.array(part, { minLength: 1, maxLength: 3 }))
    .map(([key, parts]) =>
      parts
        .map(({ ms, counter, instance, slots: written }) => {
          const stamp = makeStamp(T0 + ms * 977, counter, instance)
          const fields = written.map((slot) => [collection.slots[slot]!, valueAt(collection, slot, stamp)])
          return rowWith(collection, keys[key]!, Object.fromEntries(fields), stamp)
        })
        .reduce(merge),
    )
  return fc.array(row, { minLength: options.minLength ?? 1, maxLength: options.maxLength ?? 12 })
}
