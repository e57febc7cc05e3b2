import { beforeEach, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Filter, RecordReader } from '../../src/backends/backend.ts'
import type { Collection } from '../../src/collections/definition.ts'
import { merge, newestStamp, type Row, stampAt, updatedAtMs } from '../../src/collections/row.ts'
import { ABSENT, laterOf, makeStamp, type Stamp, stampMs } from '../../src/collections/stamp.ts'
import { onEachCollection } from '../support/contract_backends.ts'
import {
  arbitraryUpdates,
  expectStored,
  fullRow,
  groupOf,
  keyOf,
  mergeByKey,
  plain,
  rowWith,
  stampOf,
  T0,
} from '../support/contract_rows.ts'

/** What a write of nothing at `stamp` to every field leaves of a row; null = nothing. */
function erased(row: Row, stamp: Stamp): Row | null {
  if (newestStamp(row) <= stamp) return null
  const slots = [...row.values.keys()]
  return {
    key: row.key,
    values: slots.map((slot) => (stampAt(row, slot) > stamp ? row.values[slot] : null)),
    stamps: slots.map((slot) => laterOf(stampAt(row, slot), stamp)),
    createdAtMs: Math.max(row.createdAtMs, stampMs(stamp)),
  }
}

onEachCollection('deletes', (collection, store) => {
  const records = () => store().backend.records!
  const isGrouped = collection.key.length > 1
  const clear = () => records().purge(collection, [], 100_000)
  const stored = async () =>
    Array.fromAsync(records().scan(collection, [], [])).then((pages) => pages.flat().length)
  /** A group's rows; a group whose key is one field has one. */
  const group = (name: string, rows: number, stamp: Stamp) =>
    Array.from({ length: isGrouped ? rows : 1 }, (_, n) =>
      fullRow(collection, isGrouped ? keyOf(collection, name, n) : [name], { n, stamp }),
    )
  beforeEach(clear)

  test('of one row take that row alone, and say whether it was there', async () => {
    const rows = [1, 2].map((n) => fullRow(collection, keyOf(collection, 'one', n), { n }))
    await records().write(collection, rows)
    expect(await records().delete(collection, rows[0]!.key)).toBe(true)
    expect(await records().delete(collection, rows[0]!.key)).toBe(false)
    expect(await records().read(collection, rows[0]!.key)).toBeNull()
    await expectStored(records(), collection, [rows[1]!])
  })

  test('of a group are a write of nothing at their stamp to every field, and no other group is touched', async () => {
    const keys = [0, 1, 2].map((n) => keyOf(collection, 'run', n))
    const others = [3, 4].map((n) => fullRow(collection, keyOf(collection, 'other', n), { stamp: 1n }))
    const history = fc.record({
      updates: arbitraryUpdates(collection, keys, { maxLength: 6 }),
      ms: fc.integer({ min: -1, max: 7 }),
      counter: fc.nat(2),
    })
    await fc.assert(
      fc.asyncProperty(history, async ({ updates, ms, counter }) => {
        await clear()
        await records().write(collection, others)
        await records().write(collection, updates)
        const stamp = makeStamp(T0 + ms * 977, counter, 1)
        const groups = new Set(keys.map((key) => key[0]!))
        const before = mergeByKey(updates)
        const left = before.map((row) => erased(row, stamp)).filter((row) => row !== null)
        let removed = 0
        for (const name of groups) removed += await records().erase(collection, name, stamp, 100)
        expect(removed).toBe(before.length - left.length)
        // A second time there is nothing to do.
        for (const name of groups) expect(await records().erase(collection, name, stamp, 100)).toBe(0)
        await expectStored(records(), collection, [...left, ...others])
        expect(await stored()).toBe(left.length + others.length)
        for (const row of left) expect(await updatedAt(records(), collection, row)).toBe(updatedAtMs(row))
        // What is older than the delete does not come back into a row that outlived it.
        await records().write(
          collection,
          updates.filter((row) => left.some(({ key }) => `${key}` === `${row.key}`)),
        )
        const again = await records().readMany(
          collection,
          left.map(({ key }) => key),
        )
        const fieldsOf = (rows: readonly Row[]) =>
          Object.fromEntries(rows.map((row) => [`${row.key}`, plain(collection, row)?.fields]))
        expect(fieldsOf(again)).toEqual(fieldsOf(left))
      }),
      { numRuns: 30 },
    )
  })

  test('of a group clear also what has their own stamp: retention deletes up to the newest that it saw', async () => {
    const key = isGrouped ? keyOf(collection, 'equal', 1) : ['equal']
    const [first, last] = [collection.slots[0]!, collection.slots.at(-1)!]
    const row = merge(
      rowWith(collection, key, { [first]: 'seen' }, stampOf(5)),
      rowWith(collection, key, { [last]: null }, stampOf(6)),
    )
    await records().write(collection, [row])
    expect(await records().erase(collection, 'equal', stampOf(5), 10)).toBe(0)
    await expectStored(records(), collection, [erased(row, stampOf(5))!])
  })

  test('of a group stop at their limit, and are done when they answer less', async () => {
    await records().write(collection, group('large', 10, stampOf(1)))
    const counts = []
    do counts.push(await records().erase(collection, 'large', stampOf(2), 4))
    while (counts.at(-1) === 4)
    expect(counts).toEqual(isGrouped ? [4, 4, 2] : [1])
    expect(await stored()).toBe(0)
  })

  test('of a group that has no row answer nothing', async () => {
    expect(await records().erase(collection, 'nobody', stampOf(1), 10)).toBe(0)
  })

  test('by conditions take only what meets them, up to their limit', async () => {
    const rows = Array.from({ length: 10 }, (_, n) =>
      fullRow(collection, keyOf(collection, 'some', n), { n, fields: { status: n < 7 ? 'old' : 'new' } }),
    )
    await records().write(collection, rows)
    const old: Filter[] = [{ op: 'eq', field: 'status', value: 'old' }, { op: 'visible' }]
    expect(await records().purge(collection, old, 5)).toBe(5)
    expect(await records().purge(collection, old, 5)).toBe(2)
    expect(await records().purge(collection, old, 5)).toBe(0)
    await expectStored(records(), collection, rows.slice(7))
    expect(await stored()).toBe(3)
  })

  test.each(['complete', 'incomplete', 'visible', 'hidden', ...(collection.parent ? ['orphan'] : [])])(
    'take every kind of condition: %s',
    async (op) => {
      const rows = group('kinds', 3, stampOf(1))
      const half = rowWith(collection, keyOf(collection, 'half', 1), { status: null }, stampOf(1))
      await records().write(collection, [...rows, half])
      const filters = [{ op } as Filter]
      const met = await records().count(collection, filters)
      expect(await records().purge(collection, filters, 100)).toBe(met)
      expect(await stored()).toBe(rows.length + 1 - met)
    },
  )

  test('the newest stamp of a group is that of its newest field, and none where there is no row', async () => {
    expect(await records().newestStamp(collection, 'newest')).toBe(ABSENT)
    const rows = group('newest', 3, stampOf(5))
    await records().write(collection, rows)
    expect(await records().newestStamp(collection, 'newest')).toBe(stampOf(5))
    const last = collection.slots.at(-1)!
    await records().write(collection, [rowWith(collection, rows[0]!.key, { [last]: null }, stampOf(9))])
    expect(await records().newestStamp(collection, 'newest')).toBe(stampOf(9))
    // Above what a signed number of 64 bits holds.
    const high = makeStamp(2 ** 41 + 5, 4095, 1023)
    await records().write(collection, [rowWith(collection, rows[0]!.key, { [last]: null }, high)])
    expect(await records().newestStamp(collection, 'newest')).toBe(high)
  })

  test('the store says how large it is', async () => {
    const bytes = await records().sizeBytes()
    expect(Number.isSafeInteger(bytes)).toBe(true)
    expect(bytes).toBeGreaterThan(4096)
    expect(records().maxWriteBytes).toBeGreaterThanOrEqual(1024 * 1024)
  })
})

async function updatedAt(reader: RecordReader, collection: Collection, row: Row) {
  const filters = collection.key.map((field, i) => ({ op: 'eq' as const, field, value: row.key[i]! }))
  const query = { filters, sort: 'key', descending: false, limit: 1, fields: [] }
  return (await reader.query(collection, query))[0]?.updated_at
}

onEachCollection('snapshots', (collection, store, kind) => {
  const records = () => store().backend.records!
  const key = (n: number) => keyOf(collection, 'still', n)
  const row = (n: number, status: string, stamp: Stamp) =>
    fullRow(collection, key(n), { n, stamp, fields: { status } })

  beforeEach(async () => {
    await records().purge(collection, [], 100_000)
    await records().write(
      collection,
      [1, 2, 3].map((n) => row(n, 'before', stampOf(n))),
    )
  })

  async function changeEverything(): Promise<void> {
    await records().write(collection, [row(1, 'after', stampOf(10)), row(4, 'after', stampOf(4))])
    await records().delete(collection, key(2))
  }

  async function view(reader: RecordReader) {
    const query = { filters: [], sort: 'key', descending: false, limit: 10 }
    const group = groupOf(collection, 'still', 1)
    return {
      read: [plain(collection, await reader.read(collection, key(1))), await reader.read(collection, key(4))],
      readMany: (await reader.readMany(collection, [1, 2, 3, 4].map(key)))
        .map(({ key: [...parts] }) => parts)
        .sort(),
      query: (await reader.query(collection, query)).map(({ status }) => status),
      count: await reader.count(collection, []),
      countBy: await reader.countBy(collection, [], 'status'),
      countByGroup: await reader.countByGroup(collection, [group], [], 'status'),
      scan: (await Array.fromAsync(reader.scan(collection, []))).flat().length,
    }
  }

  test('see nothing that was written, changed or deleted after them', async () => {
    const snapshot = await records().snapshot({ timeoutMs: 5000 })
    try {
      const before = await view(snapshot)
      expect(before.count).toBe(3)
      await changeEverything()
      expect(await view(snapshot)).toEqual(before)
      expect(await view(records())).not.toEqual(before)
    } finally {
      await snapshot.close()
    }
    const later = await records().snapshot({ timeoutMs: 5000 })
    expect((await view(later)).query).toEqual(['after', 'before', 'after'])
    await later.close()
  })

  test('begin when they are asked for, not when they are first read', async () => {
    const snapshot = await records().snapshot({ timeoutMs: 5000 })
    await changeEverything()
    expect((await view(snapshot)).query).toEqual(['before', 'before', 'before'])
    await snapshot.close()
  })

  test('give back what they held when they are closed', async () => {
    for (let round = 0; round < 25; round++) {
      const snapshot = await records().snapshot({ timeoutMs: 5000 })
      await snapshot.count(collection, [])
      await snapshot.close()
    }
    const several = await Promise.all(
      Array.from({ length: 5 }, () => records().snapshot({ timeoutMs: 5000 })),
    )
    await Promise.all(several.map((snapshot) => view(snapshot)))
    await changeEverything()
    await Promise.all(several.map((snapshot) => snapshot.close()))
    expect(store().backend.pool?.().active ?? 0).toBe(0)
    if (kind.dialect === 'sqlite') {
      // A reader that is still there would keep the write-ahead log from being emptied.
      const [checkpoint] = await store().execute('PRAGMA wal_checkpoint(TRUNCATE)')
      expect(checkpoint).toMatchObject({ busy: 0 })
    }
    expect((await view(records())).count).toBe(3)
  })
})
