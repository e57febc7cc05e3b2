import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { RecordStore } from '../../src/backends/backend.ts'
import type { Collection } from '../../src/collections/definition.ts'
import { merge, packStamps, type Row, updatedAtMs } from '../../src/collections/row.ts'
import { stampHex } from '../../src/collections/stamp.ts'
import { type OpenStore, onEachCollection } from '../support/contract_backends.ts'
import {
  arbitraryUpdates,
  expectStored,
  fullRow,
  groupOf,
  keyOf,
  mergeByKey,
  rowWith,
  stampOf,
} from '../support/contract_rows.ts'

const RUNS = 40
const KEYS = 3

/** Updates, an order of them in which some come again, and where that order is cut into calls. */
function arbitraryHistory(collection: Collection) {
  const keys = Array.from({ length: KEYS }, (_, n) => keyOf(collection, 'run', n))
  return arbitraryUpdates(collection, keys, { maxLength: 10 }).chain((updates) =>
    fc.record({
      updates: fc.constant(updates),
      order: fc
        .array(fc.constantFrom(...updates), { maxLength: 5 })
        .chain((again) =>
          fc.shuffledSubarray([...updates, ...again], { minLength: updates.length + again.length }),
        ),
      cuts: fc.array(fc.nat(14), { maxLength: 5 }),
    }),
  )
}

function split<T>(list: readonly T[], cuts: readonly number[]): T[][] {
  const at = [0, ...cuts.filter((cut) => cut < list.length).sort((a, b) => a - b), list.length]
  return at.slice(1).map((end, i) => list.slice(at[i], end))
}

/** Every run has keys of its own. */
function renamed(rows: readonly Row[], run: number): Row[] {
  return rows.map((row) => ({ ...row, key: row.key.map((part) => part.replace('run', `run${run}`)) }))
}

async function times(records: RecordStore, collection: Collection, row: Row) {
  const filters = collection.key.map((field, i) => ({ op: 'eq' as const, field, value: row.key[i]! }))
  const [record] = await records.query(collection, {
    filters,
    sort: 'key',
    descending: false,
    limit: 1,
    fields: [],
  })
  return { created: record?.created_at, updated: record?.updated_at }
}

onEachCollection('the law of merge', (collection, store) => {
  const records = () => store().backend.records!

  test('any order, repetition and split of updates leaves exactly their merge', async () => {
    let run = 0
    await fc.assert(
      fc.asyncProperty(arbitraryHistory(collection), async ({ updates, order, cuts }) => {
        run += 1
        for (const rows of split(renamed(order, run), cuts)) {
          expect(await records().write(collection, rows)).toEqual({ refused: [] })
        }
        const expected = mergeByKey(renamed(updates, run))
        await expectStored(records(), collection, expected)
        for (const row of expected) {
          expect(await times(records(), collection, row)).toEqual({
            created: row.createdAtMs,
            updated: updatedAtMs(row),
          })
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('several writers of the same keys at once leave exactly the merge of all they wrote', async () => {
    const keys = Array.from({ length: 40 }, (_, n) => keyOf(collection, 'crowd', n))
    const rows = Array.from({ length: 4 }, (_, writer) =>
      keys.map((key, n) => {
        const names = collection.slots.filter((_, slot) => (slot + n) % 4 !== writer)
        const values = Object.fromEntries(names.map((name) => [name, null]))
        return rowWith(collection, key, values, stampOf(writer * 10 + n))
      }),
    )
    const inOrder = rows.map((part) =>
      part.toSorted((a, b) => (a.key.join('\0') < b.key.join('\0') ? -1 : 1)),
    )
    await Promise.all(inOrder.map((part) => records().write(collection, part)))
    await expectStored(records(), collection, mergeByKey(rows.flat()))
  })

  describe('a row of another version', () => {
    const stored = fullRow(collection, keyOf(collection, 'version', 1), { stamp: stampOf(5) })

    test('that knew fewer fields takes the new ones, and keeps its own', async () => {
      const known = 2
      const old: Row = { ...stored, key: keyOf(collection, 'fewer', 1) }
      await records().write(collection, [old])
      await setStamps(store(), collection, old, packStamps(old).slice(0, known * 16))
      const older = rowWith(
        collection,
        old.key,
        { [collection.slots[0]!]: null, [collection.slots[known]!]: null },
        stampOf(1),
      )
      await records().write(collection, [older])
      const expected: Row = {
        ...old,
        values: old.values.map((value, slot) => (slot < known ? value : slot === known ? null : undefined)),
        stamps: old.values.map((_, slot) => (slot < known ? stampOf(5) : slot === known ? stampOf(1) : 0n)),
        createdAtMs: older.createdAtMs,
      }
      await expectStored(records(), collection, [expected])
      await expectStamps(store(), collection, expected, packStamps(expected))
    })

    test('that knew more fields keeps their stamps through every write and erase', async () => {
      const beyond = stampHex(stampOf(9)) + stampHex(stampOf(2))
      const newer: Row = { ...stored, key: keyOf(collection, 'more', 1) }
      await records().write(collection, [newer])
      await setStamps(store(), collection, newer, packStamps(newer) + beyond)
      const update = rowWith(collection, newer.key, { [collection.slots[1]!]: null }, stampOf(7))
      await records().write(collection, [update])
      const merged = merge(newer, update)
      await expectStored(records(), collection, [merged])
      await expectStamps(store(), collection, merged, packStamps(merged) + beyond)
      await records().erase(collection, groupOf(collection, 'more', 1), stampOf(6), 10)
      const [row] = await records().readMany(collection, [newer.key])
      await expectStamps(store(), collection, row!, packStamps(row!) + beyond)
    })
  })
})

const whereKey = (collection: Collection, row: Row) =>
  collection.key.map((name, i) => `${name} = '${row.key[i]}'`).join(' AND ')

async function setStamps(store: OpenStore, collection: Collection, row: Row, hex: string): Promise<void> {
  await store.execute(`UPDATE ${collection.name} SET stamps = X'${hex}' WHERE ${whereKey(collection, row)}`)
}

async function expectStamps(store: OpenStore, collection: Collection, row: Row, hex: string): Promise<void> {
  const [found] = await store.execute(
    `SELECT HEX(stamps) AS hex FROM ${collection.name} WHERE ${whereKey(collection, row)}`,
  )
  expect(String(found?.hex).toLowerCase()).toBe(hex)
}
