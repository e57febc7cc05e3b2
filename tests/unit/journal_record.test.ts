import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { createRecordEncoder, decodeRecord, headOf } from '../../src/backends/sqlite/journal_record.ts'
import type { JournalRecord } from '../../src/buffer/journal.ts'
import { stampOf } from '../support/contract_rows.ts'
import { journalRecord } from '../support/journals.ts'

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom('', '\0', 'a\0b', '\ud800', '\udfff x', '🙂', '"\\,[', 'false', 'line\nline', '文字'),
)
const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(-0, 0, -1.5, 0.1, 1e300, Number.MIN_VALUE))
const value = fc.oneof(text, number, fc.constant(null), fc.constant(undefined))
const stamp = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const time = fc.integer({ min: 0, max: 2 ** 42 })

const record: fc.Arbitrary<JournalRecord> = fc
  .record({
    id: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    collection: fc.oneof(fc.constantFrom('translation_tasks', 'audit_logs'), text),
    key: fc.array(text, { maxLength: 4 }),
    values: fc.array(value, { maxLength: 52 }),
    uniform: fc.boolean(),
    stamp,
    createdAtMs: time,
    acceptedAtMs: time,
    replayed: fc.boolean(),
  })
  .chain(({ id, collection, key, values, uniform, stamp: one, createdAtMs, acceptedAtMs, replayed }) =>
    fc.array(stamp, { minLength: values.length, maxLength: values.length }).map((each) => ({
      id,
      collection,
      row: { key, values, stamps: uniform ? one : each, createdAtMs },
      acceptedAtMs,
      replayed,
    })),
  )

/** Bodies of their own: what the encoder answers stands in memory that it uses again. */
const bodyOf = (of: JournalRecord) => Buffer.from(createRecordEncoder().encode(of))

test('every record is what it was, to the last bit', () => {
  fc.assert(
    fc.property(record, (of) => {
      expect(decodeRecord(bodyOf(of))).toStrictEqual(of)
      expect(headOf(bodyOf(of))).toMatchObject({ id: of.id, collection: of.collection })
    }),
    { numRuns: 500, seed: 1 },
  )
})

test('bodies made one after another stand beside each other until they are no longer needed', () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 30 }), fc.nat(40), (records, large) => {
      const encoder = createRecordEncoder()
      const all = [...records, journalRecord(1, 'x'.repeat(large * 5000)), ...records]
      for (let round = 0; round < 2; round++) {
        encoder.reset()
        expect(all.map((of) => encoder.encode(of)).map(decodeRecord)).toStrictEqual(all)
      }
    }),
    { numRuns: 50, seed: 2 },
  )
})

test('a body of which any bit is another is known to be damaged, and so is one that is cut', () => {
  const body = bodyOf(journalRecord(12))
  for (let bit = 0; bit < body.length * 8; bit++) {
    const flipped = Buffer.from(body)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    expect(decodeRecord(flipped)).toBeNull()
    expect(headOf(flipped)).toBeNull()
  }
  for (let end = 0; end < body.length; end++) expect(decodeRecord(body.subarray(0, end))).toBeNull()
})

test('a slot that was never set is absent, and a row of one stamp is that of its neighbour only where it is equal', () => {
  const values = new Array(3)
  values[1] = 'x'
  const first = { ...journalRecord(1), row: { ...journalRecord(1).row, values, stamps: stampOf(5) } }
  const second = { ...first, row: { ...first.row, stamps: stampOf(6) } }
  const encoder = createRecordEncoder()
  const [a, b, c] = [first, second, first].map((of) => decodeRecord(encoder.encode(of)))
  expect(a?.row.values).toStrictEqual([undefined, 'x', undefined])
  expect([a, b, c].map((of) => of?.row.stamps)).toEqual([stampOf(5), stampOf(6), stampOf(5)])
})

test('a body whose checksum holds by chance is damaged, and throws nothing', () => {
  for (const text of [
    'no record',
    '[7,"translation_tasks",',
    '[7,"translation_tasks",1,false,1,"x",0]',
    '{}',
  ]) {
    const body = Buffer.from(`....${text}`)
    body.writeUInt32LE(Bun.hash.crc32(body.subarray(4)))
    expect(decodeRecord(body)).toBeNull()
  }
})
