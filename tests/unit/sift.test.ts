import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Entry } from '../../src/buffer/partition.ts'
import { EXPIRED, sift } from '../../src/buffer/sift.ts'
import { erasedUpTo, merge, type Row, stampAt } from '../../src/collections/row.ts'
import { ABSENT, type Stamp, stampMs } from '../../src/collections/stamp.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import { arbitraryUpdates, fullRow, plain, rowWith, stampOf, T0 } from '../support/contract_rows.ts'

const entry = (row: Row, replayed = false): Entry => ({
  row,
  bytes: 1,
  acceptedAtMs: T0,
  recordId: 1,
  replayed,
})
const none: ReadonlyMap<string, Stamp> = new Map()
const ALWAYS = Number.NEGATIVE_INFINITY

describe('what of a chunk may be written', () => {
  test('is all of it, untouched, where nothing was deleted and nothing is old', () => {
    const entries = [entry(fullRow(tasks, ['s', 'a'])), entry(fullRow(tasks, ['t', 'b']))]
    const { write, voided, expired } = sift(entries, new Map([['u', stampOf(99)]]), T0)
    expect(write.map(({ row }) => row)).toEqual(entries.map(({ row }) => row))
    expect(write[0]!.row).toBe(entries[0]!.row)
    expect([voided, expired]).toEqual([[], []])
  })

  test('is what a delete leaves, cleared at its stamp; the entry itself stays as it was', () => {
    const row = merge(
      rowWith(tasks, ['s', 'a'], { status: 'old' }, stampOf(1)),
      rowWith(tasks, ['s', 'a'], { context: 'new' }, stampOf(60)),
    )
    const entries = [entry(row), entry(fullRow(tasks, ['s', 'equal'], { n: 50 }))]
    const { write, voided } = sift(entries, new Map([['s', stampOf(50)]]), ALWAYS)
    expect(write.map((one) => plain(tasks, one.row))).toEqual([plain(tasks, erasedUpTo(row, stampOf(50)))])
    expect(entries[0]!.row).toBe(row)
    expect(voided).toEqual([entries[1]!])
  })

  test('is nothing older than the limit, to the millisecond; a replayed row may be of any age', () => {
    const at = (n: number, replayed = false) => entry(fullRow(tasks, ['s', `${n}`], { n }), replayed)
    const entries = [at(9), at(10), at(11), at(1, true)]
    const { write, expired } = sift(entries, none, T0 + 10)
    expect(write.map(({ entry }) => entry)).toEqual([entries[1]!, entries[2]!, entries[3]!])
    expect(expired.map(({ entry, code }) => [entry, code])).toEqual([[entries[0]!, EXPIRED]])
    expect(expired[0]!.row).toEqual({ ...entries[0]!.row, stamps: expect.any(Array) })
  })

  test('is of a row of several ages what is not older, to the millisecond', () => {
    const row = [9, 10, 11]
      .map((n) => rowWith(tasks, ['s', 'a'], { [['status', 'context', 'row_index'][n - 9]!]: n }, stampOf(n)))
      .reduce(merge)
    const { write, expired } = sift([entry(row)], none, T0 + 10)
    const names = (part: Row) => Object.keys(plain(tasks, part)!.fields).toSorted()
    expect(write.map((one) => names(one.row))).toEqual([['context', 'row_index']])
    expect(expired.map((one) => names(one.row))).toEqual([['status']])
  })

  test('does not bring back by a replay what was deleted since', () => {
    const old = entry(fullRow(tasks, ['s', 'a'], { n: 1 }), true)
    expect(sift([old], new Map([['s', stampOf(2)]]), T0 + 100)).toMatchObject({ write: [], voided: [old] })
  })

  test('and what is expired are together exactly what the delete left, each field once', () => {
    const keys = [
      ['s', 'a'],
      ['t', 'b'],
    ]
    const limit = fc.integer({ min: -1, max: 7 }).map((n) => T0 + n * 977 - 400)
    fc.assert(
      fc.property(arbitraryUpdates(tasks, keys), limit, fc.boolean(), (rows, oldestMs, erases) => {
        const tombstones = erases ? new Map([['s', stampOf(3 * 977)]]) : none
        const entries = rows.map((row) => entry(row))
        const { write, voided, expired } = sift(entries, tombstones, oldestMs)
        for (const one of entries) {
          const stamp = tombstones.get(one.row.key[0]!)
          const left = stamp === undefined ? one.row : erasedUpTo(one.row, stamp)
          const parts = [...write, ...expired].filter((part) => part.entry === one).map(({ row }) => row)
          expect(voided.includes(one)).toBe(left === null)
          if (!left) {
            expect(parts).toEqual([])
            continue
          }
          expect(plain(tasks, parts.reduce(merge))).toEqual(plain(tasks, left))
          const slots = parts.flatMap((part) =>
            part.values.flatMap((_, slot) => (stampAt(part, slot) === ABSENT ? [] : [slot])),
          )
          expect(new Set(slots).size).toBe(slots.length)
        }
        for (const { row } of write) {
          for (const slot of row.values.keys()) {
            const stamp = stampAt(row, slot)
            // What a delete cleared is no field that could bring something back.
            if (stamp === ABSENT || stamp === tombstones.get(row.key[0]!)) continue
            expect(stampMs(stamp)).toBeGreaterThanOrEqual(oldestMs)
          }
        }
      }),
    )
  })
})
