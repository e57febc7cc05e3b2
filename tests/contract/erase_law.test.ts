/** To the law a delete is a write of nothing to every field: in the store as in memory, in whatever order. */
import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { RecordStore } from '../../src/backends/backend.ts'
import type { Collection } from '../../src/collections/definition.ts'
import { erasedUpTo, type Row, updatedAtMs } from '../../src/collections/row.ts'
import { makeStamp, type Stamp, stampMs } from '../../src/collections/stamp.ts'
import { onEachCollection } from '../support/contract_backends.ts'
import {
  arbitraryUpdates,
  expectStored,
  fullRow,
  keyOf,
  mergeByKey,
  plain,
  rowWith,
  stampOf,
  T0,
} from '../support/contract_rows.ts'

const RUNS = 40
const KEYS = 4

/** Updates, and a delete among their stamps: often at the very stamp of one. */
function arbitraryDelete(collection: Collection) {
  const keys = Array.from({ length: KEYS }, (_, n) => keyOf(collection, 'run', n))
  return fc.record({
    rows: arbitraryUpdates(collection, keys, { maxLength: 10 }),
    stamp: fc
      .record({
        ms: fc.integer({ min: 0, max: 6 }),
        counter: fc.integer({ min: 0, max: 2 }),
        instance: fc.constantFrom(0, 1, 1023),
      })
      .map(({ ms, counter, instance }) => makeStamp(T0 + ms * 977, counter, instance)),
    limit: fc.integer({ min: 1, max: 3 }),
    before: fc.infiniteStream(fc.boolean()),
  })
}

/** Every run has keys of its own. */
const renamed = (rows: readonly Row[], run: string): Row[] =>
  rows.map((row) => ({ ...row, key: row.key.map((part) => part.replace('run', run)) }))

const left = (rows: readonly Row[], stamp: Stamp): Row[] =>
  rows.flatMap((row) => erasedUpTo(row, stamp) ?? [])

async function eraseAll(
  records: RecordStore,
  collection: Collection,
  rows: readonly Row[],
  { stamp, limit = 100 }: { stamp: Stamp; limit?: number },
): Promise<number> {
  let total = 0
  for (const group of new Set(rows.map(({ key }) => key[0]!))) {
    let erased: number
    do {
      erased = await records.erase(collection, group, stamp, limit)
      expect(erased).toBeLessThanOrEqual(limit)
      total += erased
    } while (erased === limit)
  }
  return total
}

/** That exactly these are left of the rows, their times too. */
async function expectLeft(
  records: RecordStore,
  collection: Collection,
  rows: readonly Row[],
  expected: readonly Row[],
): Promise<void> {
  const keys = rows.map(({ key }) => key)
  expect(await records.readMany(collection, keys)).toHaveLength(expected.length)
  await expectStored(records, collection, expected)
  for (const row of expected) {
    const [times] = await records.query(collection, {
      filters: collection.key.map((field, i) => ({ op: 'eq' as const, field, value: row.key[i]! })),
      sort: 'key',
      descending: false,
      limit: 1,
      fields: [],
    })
    expect(times).toMatchObject({ created_at: row.createdAtMs, updated_at: updatedAtMs(row) })
  }
}

onEachCollection('the law of deletes', (collection, store) => {
  const records = () => store().backend.records!
  let run = 0
  const nextRun = () => `erase${++run}`

  test('an erase, in whatever chunks, leaves what the law leaves, and again', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryDelete(collection), async ({ rows: drawn, stamp, limit }) => {
        const rows = renamed(drawn, nextRun())
        const merged = mergeByKey(rows)
        await records().write(collection, rows)
        const expected = left(merged, stamp)
        for (const again of [false, true]) {
          const erased = await eraseAll(records(), collection, rows, { stamp, limit })
          expect(erased).toBe(again ? 0 : merged.length - expected.length)
          await expectLeft(records(), collection, merged, expected)
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('what is written under its tombstone leaves the same after the erase as before it', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryDelete(collection), async ({ rows: drawn, stamp }) => {
        const rows = renamed(drawn, nextRun())
        const merged = mergeByKey(rows)
        const expected = left(merged, stamp)
        await records().write(collection, rows)
        await eraseAll(records(), collection, rows, { stamp })
        await records().write(collection, expected)
        await expectLeft(records(), collection, merged, expected)
        await eraseAll(records(), collection, rows, { stamp })
        await expectLeft(records(), collection, merged, expected)
        // Where nothing of it was stored yet.
        const fresh = renamed(drawn, nextRun())
        await eraseAll(records(), collection, fresh, { stamp })
        await records().write(collection, left(mergeByKey(fresh), stamp))
        await expectLeft(records(), collection, mergeByKey(fresh), left(mergeByKey(fresh), stamp))
      }),
      { numRuns: RUNS },
    )
  })

  test('of several writes each may come before the delete, or after it under its tombstone', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryDelete(collection), async ({ rows: drawn, stamp, before }) => {
        const rows = renamed(drawn, nextRun())
        const parts = Map.groupBy(rows, () => before.next().value)
        await records().write(collection, parts.get(true) ?? [])
        await eraseAll(records(), collection, rows, { stamp })
        await records().write(collection, left(parts.get(false) ?? [], stamp))
        // The creation alone tells the orders apart: where a row was gone, the one made anew begins with itself.
        const fields = (list: readonly Row[]) =>
          list
            .map((row) => plain(collection, row)!)
            .map(({ key, fields: all }) => ({ key, fields: all }))
            .toSorted((a, b) => (a.key.join('\0') < b.key.join('\0') ? -1 : 1))
        const merged = mergeByKey(rows)
        const found = await records().readMany(
          collection,
          merged.map(({ key }) => key),
        )
        expect(fields(found)).toEqual(fields(left(merged, stamp)))
        for (const { createdAtMs } of found) expect(createdAtMs).toBeGreaterThanOrEqual(stampMs(stamp))
      }),
      { numRuns: RUNS },
    )
  })

  test('what it clears is cleared in chunks as well, in every row of the group and in no other', async () => {
    const count = 25
    const rows = Array.from({ length: count }, (_, n) =>
      fullRow(collection, keyOf(collection, 'many', n), { stamp: stampOf(1) }),
    )
    const others = rows.map((row) => ({ ...row, key: [`${row.key[0]}x`, ...row.key.slice(1)] }))
    const newer = rows.map((row) =>
      rowWith(collection, row.key, { [collection.slots[0]!]: null }, stampOf(9)),
    )
    await records().write(collection, [...rows, ...others, ...newer])
    for (let again = 0; again < 2; again++) {
      expect(await eraseAll(records(), collection, rows, { stamp: stampOf(5), limit: 4 })).toBe(0)
      await expectLeft(records(), collection, rows, left(mergeByKey([...rows, ...newer]), stampOf(5)))
    }
    await expectStored(records(), collection, others)
  })

  test('a field of the very stamp of the delete goes, with a newer one beside it', async () => {
    const key = keyOf(collection, 'equal', 1)
    const rows = [
      fullRow(collection, key, { stamp: stampOf(5) }),
      rowWith(collection, key, { [collection.slots[1]!]: null }, stampOf(6)),
    ]
    await records().write(collection, rows)
    await eraseAll(records(), collection, rows, { stamp: stampOf(5) })
    const expected = left(mergeByKey(rows), stampOf(5))
    expect(expected[0]!.values.every((value) => value === null)).toBe(true)
    await expectLeft(records(), collection, mergeByKey(rows), expected)
  })
})
