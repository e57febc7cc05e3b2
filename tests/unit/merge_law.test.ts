import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { merge, newestStamp, type Row, stampAt, updatedAtMs } from '../../src/collections/row.ts'
import { ABSENT, laterOf, makeStamp, stampHex, stampMs } from '../../src/collections/stamp.ts'
import { recordCollections } from '../support/contract_backends.ts'
import { arbitraryUpdates, keyOf, plain, rowWith, T0 } from '../support/contract_rows.ts'

describe.each(recordCollections.map((collection) => [collection.name, collection] as const))(
  'the law of merge on %s',
  (_, collection) => {
    const key = keyOf(collection, 'law', 1)
    const update = arbitraryUpdates(collection, [key], { maxLength: 1 }).map(([row]) => row!)
    const same = (a: Row, b: Row) => expect(plain(collection, a)).toEqual(plain(collection, b))

    test('is commutative', () => {
      fc.assert(fc.property(update, update, (a, b) => same(merge(a, b), merge(b, a))))
    })

    test('is associative', () => {
      fc.assert(
        fc.property(update, update, update, (a, b, c) => same(merge(merge(a, b), c), merge(a, merge(b, c)))),
      )
    })

    test('is idempotent', () => {
      fc.assert(
        fc.property(update, update, (a, b) => {
          same(merge(a, a), a)
          same(merge(merge(a, b), b), merge(a, b))
        }),
      )
    })

    test('leaves of any order and repetition of updates one and the same row', () => {
      const updates = arbitraryUpdates(collection, [key], { maxLength: 8 })
      const shuffled = updates.chain((rows) =>
        fc.tuple(
          fc.constant(rows),
          fc
            .array(fc.constantFrom(...rows), { maxLength: 6 })
            .chain((again) =>
              fc.shuffledSubarray([...rows, ...again], { minLength: rows.length + again.length }),
            ),
        ),
      )
      fc.assert(fc.property(shuffled, ([rows, order]) => same(rows.reduce(merge), order.reduce(merge))))
    })

    test('takes each field from the update with its highest stamp, and the least creation', () => {
      fc.assert(
        fc.property(arbitraryUpdates(collection, [key], { maxLength: 8 }), (rows) => {
          const merged = rows.reduce(merge)
          for (const slot of collection.slots.keys()) {
            const newest = rows.reduce((a, b) => (stampAt(b, slot) > stampAt(a, slot) ? b : a))
            expect(stampAt(merged, slot)).toBe(stampAt(newest, slot))
            if (stampAt(newest, slot) !== ABSENT) expect(merged.values[slot]).toBe(newest.values[slot])
            else expect(merged.values[slot]).toBeUndefined()
          }
          expect(merged.createdAtMs).toBe(Math.min(...rows.map(({ createdAtMs }) => createdAtMs)))
          expect(newestStamp(merged)).toBe(rows.map(newestStamp).reduce(laterOf))
          expect(updatedAtMs(merged)).toBe(Math.max(...rows.map(updatedAtMs)))
        }),
      )
    })

    test('changes neither of the rows it merges', () => {
      fc.assert(
        fc.property(update, update, (a, b) => {
          const before = [plain(collection, a), plain(collection, b)]
          merge(a, b)
          expect([plain(collection, a), plain(collection, b)]).toEqual(before)
        }),
      )
    })
  },
)

describe('a merged row', () => {
  const [collection] = recordCollections
  const key = keyOf(collection!, 'law', 1)
  const [older, newer] = [makeStamp(T0, 0, 1), makeStamp(T0 + 1, 0, 2)]
  const at = (field: string, row: Row) => row.values[collection!.slotOf(field)]

  test('keeps a cleared field cleared: null is a value, absent is none', () => {
    const written = rowWith(collection!, key, { filename: 'a', file_path: 'b' }, older)
    const cleared = merge(written, rowWith(collection!, key, { filename: null }, newer))
    expect(at('filename', cleared)).toBeNull()
    expect(at('file_path', cleared)).toBe('b')
    expect(at('status', cleared)).toBeUndefined()
  })

  test('keeps what is newer over a clearing that is older', () => {
    const cleared = rowWith(collection!, key, { filename: null }, older)
    expect(at('filename', merge(cleared, rowWith(collection!, key, { filename: 'a' }, newer)))).toBe('a')
  })

  test('has one stamp, not one a field, where its fields were accepted together', () => {
    const one = rowWith(collection!, key, { filename: 'a' }, older)
    expect(merge(one, rowWith(collection!, key, { filename: 'b', status: 'x' }, newer)).stamps).toBe(newer)
    expect(Array.isArray(merge(one, rowWith(collection!, key, { status: 'x' }, newer)).stamps)).toBe(true)
  })

  test('decides between instances of one millisecond the same way everywhere', () => {
    const [low, high] = [makeStamp(T0, 0, 1), makeStamp(T0, 0, 2)]
    const rows = [
      rowWith(collection!, key, { status: 'low' }, low),
      rowWith(collection!, key, { status: 'high' }, high),
    ]
    expect(at('status', merge(rows[0]!, rows[1]!))).toBe('high')
    expect(at('status', merge(rows[1]!, rows[0]!))).toBe('high')
    expect(stampMs(high)).toBe(T0)
    expect(stampHex(high) > stampHex(low)).toBe(true)
  })
})
