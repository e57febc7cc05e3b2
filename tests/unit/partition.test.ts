import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { createPartition, type Entry, type Partition, restOf } from '../../src/buffer/partition.ts'
import { merge, type Row } from '../../src/collections/row.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { keyText } from '../support/contract_gates.ts'
import { fullRow, plain, rowWith, stampOf } from '../support/contract_rows.ts'

let recordId = 0
const entry = (row: Row, bytes = 100, acceptedAtMs = 0): Entry => ({
  row,
  bytes,
  acceptedAtMs,
  recordId: ++recordId,
  replayed: false,
})
const task = (group: string, id: string, n = 1) => fullRow(tasks, [group, id], { n, stamp: stampOf(n) })
const keys = (rows: Iterable<Row>) => Array.from(rows, ({ key }) => keyText(key)).toSorted()

/** Everything that is to be drained, in chunks of any size. */
function drain(partition: Partition, maxRows = 1000, maxBytes = 1e9): Entry[][] {
  const chunks: Entry[][] = []
  while (true) {
    const chunk = partition.nextChunk(maxRows, maxBytes)
    if (chunk.length === 0) return chunks
    chunks.push(chunk)
  }
}

describe('a partition', () => {
  test('holds a row a key, and answers whether one more came', () => {
    const partition = createPartition(tasks)
    expect(partition.add(entry(task('s', 'a', 1))).before).toBeNull()
    expect(partition.add(entry(task('s', 'b', 1))).before).toBeNull()
    expect(partition.add(entry(task('s', 'a', 2))).before).not.toBeNull()
    expect(partition.rows()).toEqual({ live: 2, draining: 0, parked: 0 })
    expect(plain(tasks, partition.get(['s', 'a']))).toEqual(
      plain(tasks, merge(task('s', 'a', 1), task('s', 'a', 2))),
    )
    expect(partition.get(['s', 'c'])).toBeUndefined()
    expect(partition.get(['t', 'a'])).toBeUndefined()
  })

  test('tells case twins, and one id in two groups, apart', () => {
    const partition = createPartition(tasks)
    for (const key of [
      ['S', 'a'],
      ['s', 'A'],
      ['s', 'a'],
      ['a', 's'],
    ]) {
      expect(partition.add(entry(fullRow(tasks, key))).before).toBeNull()
    }
    expect(keys(partition.all())).toEqual(['S/a', 'a/s', 's/A', 's/a'])
    expect(keys(partition.withRest('a'))).toEqual(['S/a', 's/a'])
  })

  test('holds rows whose key is one field', () => {
    const partition = createPartition(sessions)
    partition.add(entry(fullRow(sessions, ['s'])))
    expect(partition.add(entry(fullRow(sessions, ['s'], { n: 2 }))).before).not.toBeNull()
    expect(partition.get(['s'])).toBeDefined()
    expect([...partition.group('s').values()].length).toBe(1)
    partition.swap()
    expect(drain(partition).flat().length).toBe(1)
  })

  test('names a row within its group by the rest of its key', () => {
    expect(restOf(['a', 'b'])).toBe('b')
    expect(restOf(['a'])).toBe('')
    expect(restOf(['a', 'b', 'c'])).not.toBe(restOf(['a', 'bc', '']))
  })

  test('does not touch the rows it was given', () => {
    const partition = createPartition(tasks)
    const row = task('s', 'a', 1)
    const before = plain(tasks, row)
    partition.add(entry(row))
    partition.add(entry(task('s', 'a', 2)))
    partition.beginErase({ group: 's', stamp: stampOf(1) })
    expect(plain(tasks, row)).toEqual(before)
  })

  test('knows the groups with the most rows, live and draining together', () => {
    const partition = createPartition(tasks)
    for (const [group, count] of [
      ['a', 2],
      ['b', 5],
      ['c', 1],
    ] as const) {
      for (let n = 0; n < count; n++) partition.add(entry(task(group, `${n}`)))
    }
    partition.swap()
    for (let n = 0; n < 4; n++) partition.add(entry(task('a', `more-${n}`)))
    expect(partition.topGroups(2)).toEqual([
      { group: 'a', rows: 6 },
      { group: 'b', rows: 5 },
    ])
    expect(partition.topGroups(10).length).toBe(3)
  })
})

describe('what is drained', () => {
  test('is what was there at the swap, each row in one chunk; what is live is seen beside it', () => {
    const partition = createPartition(tasks)
    for (let n = 0; n < 10; n++) partition.add(entry(task('s', `old-${n}`)))
    partition.swap()
    partition.add(entry(task('s', 'new')))
    partition.add(entry(rowWith(tasks, ['s', 'old-3'], { status: 'newer' }, stampOf(9))))
    expect(partition.rows()).toEqual({ live: 2, draining: 10, parked: 0 })
    const chunks = drain(partition, 4)
    expect(chunks.map(({ length }) => length)).toEqual([4, 4, 2])
    expect(keys(chunks.flat().map(({ row }) => row))).toEqual(
      Array.from({ length: 10 }, (_, n) => `s/old-${n}`),
    )
    expect(partition.get(['s', 'old-3'])!.values[tasks.slotOf('status')]).toBe('newer')
    expect(partition.get(['s', 'old-3'])!.values[tasks.slotOf('context')]).toBe('context-1')
    expect(partition.group('s').size).toBe(11)
  })

  test('is gone when it is settled, and back among the live when it is not', () => {
    const partition = createPartition(tasks)
    for (let n = 0; n < 6; n++) partition.add(entry(task(`g-${n % 2}`, `${n}`)))
    partition.swap()
    const [first] = [partition.nextChunk(2, 1e9)]
    partition.settle(first!)
    expect(partition.rows()).toEqual({ live: 0, draining: 4, parked: 0 })
    expect(partition.bytes()).toBe(400)
    partition.settle(first!)
    expect(partition.rows()).toEqual({ live: 0, draining: 4, parked: 0 })
    partition.restore()
    expect(partition.rows()).toEqual({ live: 4, draining: 0, parked: 0 })
    expect(partition.bytes()).toBe(400)
    expect(partition.nextChunk(10, 1e9)).toEqual([])
    for (const { row } of first!) expect(partition.get(row.key)).toBeUndefined()
  })

  test('is settled by the entry, never by the key', () => {
    const partition = createPartition(tasks)
    const [old, newer] = [entry(task('s', 'a', 1)), entry(task('s', 'a', 2))]
    partition.add(old)
    partition.swap()
    partition.settle([old])
    partition.add(newer)
    partition.swap()
    partition.settle([old])
    expect(partition.park([old])).toEqual({ merged: [], voided: [], changed: [] })
    expect(partition.rows()).toEqual({ live: 0, draining: 1, parked: 0 })
    expect(partition.bytes()).toBe(100)
  })

  test('takes at least one row, however large, and stops after the one that crosses the bytes', () => {
    const partition = createPartition(tasks)
    for (const [n, bytes] of [5000, 10, 10, 10, 5000, 10].entries()) {
      partition.add(entry(task('s', `${n}`), bytes))
    }
    partition.swap()
    expect(drain(partition, 100, 25).map((chunk) => chunk.map(({ bytes }) => bytes))).toEqual([
      [5000],
      [10, 10, 10],
      [5000],
      [10],
    ])
  })

  test('comes sorted by key within a chunk', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(fc.string({ maxLength: 3 }), fc.string({ maxLength: 3 })), {
          selector: ([a, b]) => `${a}\0${b}`,
          maxLength: 30,
        }),
        fc.integer({ min: 1, max: 10 }),
        (pairs, maxRows) => {
          const partition = createPartition(tasks)
          for (const [group, id] of pairs) partition.add(entry(fullRow(tasks, [group, id])))
          partition.swap()
          const chunks = drain(partition, maxRows)
          expect(chunks.flat().length).toBe(pairs.length)
          for (const chunk of chunks) {
            for (const [i, { row }] of chunk.entries()) {
              if (i === 0) continue
              const [before, now] = [chunk[i - 1]!.row.key, row.key]
              expect(before[0]! < now[0]! || (before[0] === now[0] && before[1]! < now[1]!)).toBe(true)
            }
          }
        },
      ),
    )
  })

  test('may be settled while further chunks are taken', () => {
    const partition = createPartition(tasks)
    for (let n = 0; n < 100; n++) partition.add(entry(task(`g-${n % 7}`, `${n}`)))
    partition.swap()
    const seen = new Set<string>()
    while (true) {
      const chunk = partition.nextChunk(9, 1e9)
      if (chunk.length === 0) break
      for (const { row } of chunk) seen.add(keyText(row.key))
      partition.settle(chunk)
    }
    expect(seen.size).toBe(100)
    expect(partition.rows()).toEqual({ live: 0, draining: 0, parked: 0 })
    expect(partition.bytes()).toBe(0)
    expect(partition.oldestAtMs()).toBeNull()
    expect(partition.all()).toEqual([])
  })
})

describe('the oldest row', () => {
  test('is that of what drains, else of what is live', () => {
    const partition = createPartition(tasks)
    expect(partition.oldestAtMs()).toBeNull()
    partition.add(entry(task('s', 'a'), 1, 50))
    partition.add(entry(task('s', 'b'), 1, 40))
    expect(partition.oldestAtMs()).toBe(40)
    partition.swap()
    partition.add(entry(task('s', 'c'), 1, 60))
    expect(partition.oldestAtMs()).toBe(40)
    partition.settle(partition.nextChunk(10, 1e9))
    expect(partition.oldestAtMs()).toBe(60)
  })
})

describe('what is taken back', () => {
  test('leaves everything as it was, whatever it was merged into', () => {
    const row = fc.record({
      id: fc.nat(3),
      n: fc.integer({ min: 1, max: 9 }),
      bytes: fc.integer({ min: 1, max: 999 }),
    })
    fc.assert(
      fc.property(fc.array(row), fc.array(row), fc.boolean(), (held, added, swaps) => {
        const partition = createPartition(tasks)
        const toEntry = ({ id, n, bytes }: (typeof held)[number]) =>
          entry(
            rowWith(tasks, ['s', `${id}`], { [n % 2 ? 'status' : 'context']: `${n}` }, stampOf(n)),
            bytes,
            n,
          )
        for (const one of held) partition.add(toEntry(one))
        if (swaps) partition.swap()
        const picture = () => ({
          rows: partition.rows(),
          bytes: partition.bytes(),
          content: partition.all().map((one) => plain(tasks, one)),
        })
        const before = picture()
        const placements = added.map((one) => partition.add(toEntry(one)))
        for (const placement of placements.toReversed()) partition.takeBack(placement)
        expect(picture()).toEqual(before)
      }),
    )
  })
})

describe('what is parked', () => {
  const parkAll = (partition: Partition) => {
    partition.swap()
    return partition.park(drain(partition).flat())
  }

  test('is held and seen, but not drained, until it is unparked', () => {
    const partition = createPartition(tasks)
    for (const id of ['a', 'b']) partition.add(entry(task('s', id)))
    expect(parkAll(partition)).toEqual({ merged: [], voided: [], changed: [] })
    partition.add(entry(rowWith(tasks, ['s', 'a'], { status: 'newer' }, stampOf(9))))
    expect(partition.rows()).toEqual({ live: 1, draining: 0, parked: 2 })
    expect(partition.bytes()).toBeGreaterThanOrEqual(300)
    expect([...partition.parkedGroups()]).toEqual(['s'])
    expect(partition.group('s').size).toBe(2)
    expect(partition.get(['s', 'a'])!.values[tasks.slotOf('status')]).toBe('newer')
    expect(partition.unpark('other')).toEqual([])
    const met = partition.unpark('s')
    expect(met.map(({ from, into }) => [keyText(from.row.key), keyText(into.row.key)])).toEqual([
      ['s/a', 's/a'],
    ])
    expect(met[0]!.from).not.toBe(met[0]!.into)
    expect(partition.rows()).toEqual({ live: 2, draining: 0, parked: 0 })
    expect(partition.parkedGroups().size).toBe(0)
  })

  test('is one row with what is parked of its key already, and its record the older one', () => {
    const partition = createPartition(tasks)
    const [old, newer] = [entry(task('s', 'a', 1)), entry(task('s', 'a', 2))]
    partition.add(old)
    parkAll(partition)
    partition.add(newer)
    expect(parkAll(partition).merged).toEqual([{ from: newer, into: old }])
    expect(partition.rows()).toEqual({ live: 0, draining: 0, parked: 1 })
    expect(plain(tasks, partition.get(['s', 'a']))?.fields).toEqual(plain(tasks, task('s', 'a', 2))!.fields)
  })

  test('is voided by a delete, also by one that began while it drained', () => {
    const partition = createPartition(tasks)
    partition.add(entry(task('s', 'a', 1)))
    partition.add(entry(task('s', 'new', 9)))
    partition.swap()
    const erasure = { group: 's', stamp: stampOf(5) }
    expect(partition.beginErase(erasure)).toEqual({ voided: [], changed: [] })
    const { voided, changed } = partition.park(drain(partition).flat())
    expect([voided, changed].map((list) => list.map(({ row }) => row.key[1]))).toEqual([['a'], ['new']])
    partition.endErase(erasure)
    expect(partition.rows().parked).toBe(1)
    expect(partition.beginErase({ group: 's', stamp: stampOf(9) }).voided.length).toBe(1)
    expect(partition.rows().parked).toBe(0)
    expect(partition.bytes()).toBe(0)
    expect(partition.oldestAtMs()).toBeNull()
  })
})
