import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { merge, type Row } from '../../src/collections/row.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import {
  accepted,
  createBufferUnderTest,
  createGatedStore,
  keyText,
  outage,
  settle,
} from '../support/contract_gates.ts'
import { fullRow, plain, rowWith, stampOf } from '../support/contract_rows.ts'

const task = (id: string, n = 1, session = 's') => fullRow(tasks, [session, id], { n })
const same = (a: Row | undefined, b: Row | undefined) => expect(plain(tasks, a)).toEqual(plain(tasks, b))
const idsOf = (rows: readonly Row[]) => rows.map(({ key }) => key.at(-1))

describe('what is held', () => {
  test('is seen by key, by group and by the rest of the key, until it is stored', async () => {
    const { buffer, store } = createBufferUnderTest()
    const rows = [task('a'), task('b'), task('a', 2, 't')]
    await buffer.accept(tasks, accepted(rows))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    same(buffer.get(tasks, ['s', 'a']), rows[0])
    expect(buffer.get(tasks, ['s', 'c'])).toBeUndefined()
    expect([...buffer.group(tasks, 's').keys()].toSorted()).toEqual(['a', 'b'])
    expect(buffer.group(tasks, 'u').size).toBe(0)
    expect(buffer.withRest(tasks, 'a').map(({ key }) => key[0])).toEqual(['s', 't'])
    expect(buffer.all(tasks).length).toBe(3)
    expect(buffer.all(sessions).length).toBe(1)
    store.open()
    await buffer.flush()
    expect(buffer.all(tasks)).toEqual([])
    expect(buffer.get(sessions, ['s'])).toBeUndefined()
    expect(store.stored.size).toBe(4)
  })

  test('is one row a key: what is accepted for it again is merged', async () => {
    const { buffer } = createBufferUnderTest()
    const [first, second] = [
      rowWith(tasks, ['s', 'a'], { status: 'x' }, stampOf(1)),
      rowWith(tasks, ['s', 'a'], { context: 'c' }, stampOf(2)),
    ]
    await buffer.accept(tasks, accepted([first]))
    await buffer.accept(tasks, accepted([second]))
    same(buffer.get(tasks, ['s', 'a']), merge(first, second))
    expect(buffer.status().rows).toBe(1)
    expect(buffer.status().collections[1]!.counts).toMatchObject({ accepted: 2, merged: 1 })
  })

  test('counts the items that a request merged, and those that say nothing, as accepted and merged', async () => {
    const under = createBufferUnderTest()
    const silent = rowWith(tasks, ['s', 'silent'], {}, stampOf(1))
    await under.buffer.accept(tasks, [
      { row: task('a'), bytes: 1, items: 3 },
      { row: silent, bytes: 1, items: 1 },
    ])
    expect(under.buffer.status().rows).toBe(1)
    expect(under.told).toMatchObject({ accepted: 4, merged: 3 })
    expect(under.imbalance()).toBe(0)
  })
})

describe('a flush', () => {
  test('of nothing answers at once, without a statement', async () => {
    const { buffer, store } = createBufferUnderTest()
    const reports = await buffer.flush()
    expect([...reports.values()]).toEqual([
      { written: 0, refused: 0, failure: null },
      { written: 0, refused: 0, failure: null },
    ])
    expect(store.writes.length).toBe(0)
  })

  test('writes what was accepted before it, and keeps what arrives meanwhile', async () => {
    const under = createBufferUnderTest()
    const { buffer, store } = under
    await buffer.accept(tasks, accepted([task('a', 1), task('b', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    const newer = rowWith(tasks, ['s', 'a'], { status: 'newer' }, stampOf(9))
    await buffer.accept(tasks, accepted([newer, task('c')]))
    same(buffer.get(tasks, ['s', 'a']), merge(task('a', 1), newer))
    expect(buffer.group(tasks, 's').size).toBe(3)
    expect(under.imbalance()).toBe(0)
    expect(store.pending.map(({ rows }) => idsOf(rows))).toEqual([['a', 'b']])
    store.pending[0]!.store()
    expect((await flush).get(tasks.name)).toEqual({ written: 2, refused: 0, failure: null })
    same(buffer.get(tasks, ['s', 'a']), newer)
    expect(buffer.status().rows).toBe(2)
    store.open()
    await buffer.flush()
    same(store.stored.get('s/a'), merge(task('a', 1), newer))
    expect(store.stored.size).toBe(3)
    expect(under.told).toMatchObject({ accepted: 4, stored: 4, merged: 0 })
  })

  test('that fails keeps every row, merged with what arrived meanwhile', async () => {
    const under = createBufferUnderTest()
    const { buffer, store } = under
    await buffer.accept(tasks, accepted([task('a', 1), task('b', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    const newer = rowWith(tasks, ['s', 'a'], { status: 'newer' }, stampOf(9))
    await buffer.accept(tasks, accepted([newer]))
    const failure = outage()
    store.pending[0]!.fail(failure)
    expect((await flush).get(tasks.name)).toEqual({ written: 0, refused: 0, failure })
    expect(buffer.status().rows).toBe(2)
    same(buffer.get(tasks, ['s', 'a']), merge(task('a', 1), newer))
    same(buffer.get(tasks, ['s', 'b']), task('b', 1))
    expect(under.told).toMatchObject({ accepted: 3, merged: 1, stored: 0 })
    expect(under.imbalance()).toBe(0)
    buffer.stop()
  })

  test('whose answer was lost is written again, and nothing is different for it', async () => {
    const under = createBufferUnderTest()
    const { buffer, store } = under
    await buffer.accept(tasks, accepted([task('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.storeUnheard()
    await flush
    expect(buffer.status().rows).toBe(1)
    store.open()
    await buffer.flush([tasks])
    same(store.stored.get('s/a'), task('a', 1))
    expect(under.told.stored).toBe(1)
    expect(under.imbalance()).toBe(0)
    buffer.stop()
  })

  test('runs while at most one waits, and every other call joins the one that waits', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a')]))
    const first = buffer.flush([tasks])
    await buffer.accept(tasks, accepted([task('b')]))
    const second = buffer.flush([tasks])
    await buffer.accept(tasks, accepted([task('c')]))
    const third = buffer.flush([tasks])
    await settle()
    expect(store.writes.map(idsOf)).toEqual([['a']])
    store.pending[0]!.store()
    await first
    await settle()
    await buffer.accept(tasks, accepted([task('d')]))
    const fourth = buffer.flush([tasks])
    await settle()
    expect(store.writes.map(idsOf)).toEqual([['a'], ['b', 'c']])
    store.pending[0]!.store()
    const written = (reports: Awaited<typeof second>) => reports.get(tasks.name)!.written
    expect([written(await second), written(await third)]).toEqual([2, 2])
    await settle()
    expect(store.writes.map(idsOf)).toEqual([['a'], ['b', 'c'], ['d']])
    store.pending[0]!.store()
    expect(written(await fourth)).toBe(1)
    expect(store.mostAtOnce()).toBe(1)
  })

  test('that waits is begun also when the one before it failed', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a')]))
    const [first, second] = [buffer.flush([tasks]), buffer.flush([tasks])]
    await settle()
    store.pending[0]!.fail()
    expect((await first).get(tasks.name)?.failure).not.toBeNull()
    await settle()
    store.pending[0]!.store()
    expect((await second).get(tasks.name)).toMatchObject({ written: 1, failure: null })
    buffer.stop()
  })

  test('never runs beside another, and is over only when its rows are stored, whenever it is asked for', async () => {
    for (let turns = 0; turns < 30; turns++) {
      const { buffer, store } = createBufferUnderTest()
      const flushed: [id: string, isStored: boolean][] = []
      const flush = async (id: string) => {
        await buffer.flush([tasks])
        flushed.push([id, store.stored.has(`s/${id}`)])
      }
      await buffer.accept(tasks, accepted([task('a')]))
      const flushes = [flush('a')]
      await settle()
      await buffer.accept(tasks, accepted([task('b')]))
      flushes.push(flush('b'))
      store.pending[0]!.store()
      // About when the first ends, and the second, which waits, begins.
      for (let i = 0; i < turns; i++) await Promise.resolve()
      await buffer.accept(tasks, accepted([task('c')]))
      flushes.push(flush('c'))
      await settle()
      await buffer.accept(tasks, accepted([task('d')]))
      flushes.push(flush('d'))
      await settle()
      while (store.pending.length > 0) {
        store.pending[0]!.store()
        await settle()
      }
      await Promise.all(flushes)
      expect(
        flushed.filter(([, isStored]) => !isStored),
        `after ${turns} turns`,
      ).toEqual([])
      expect(store.mostAtOnce(), `after ${turns} turns`).toBe(1)
    }
  })

  test('of one collection leaves the other alone, and both are flushed side by side', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a')]))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    const lone = buffer.flush([sessions])
    await settle()
    expect(store.pending.map(({ collection }) => collection)).toEqual([sessions.name])
    store.pending[0]!.store()
    await lone
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'], { n: 2 })]))
    const both = buffer.flush()
    await settle()
    expect(store.pending.map(({ collection }) => collection)).toEqual([sessions.name, tasks.name])
    store.open()
    expect([...(await both).values()].map(({ written }) => written)).toEqual([1, 1])
  })
})

describe('the chunks of a flush', () => {
  const arbitraryRows = fc.uniqueArray(
    fc.record({ session: fc.nat(5), id: fc.nat(60), bytes: fc.integer({ min: 1, max: 900 }) }),
    { selector: ({ session, id }) => `${session}/${id}`, minLength: 1, maxLength: 80 },
  )

  test('hold every row once, sorted by key, within rows and bytes by no more than one row', async () => {
    const limits = fc.record({
      maxRows: fc.integer({ min: 1, max: 30 }),
      maxBytes: fc.integer({ min: 100, max: 5000 }),
      connections: fc.integer({ min: 1, max: 4 }),
    })
    await fc.assert(
      fc.asyncProperty(arbitraryRows, limits, async (specs, { maxRows, maxBytes, connections }) => {
        const store = createGatedStore(maxBytes)
        const { buffer } = createBufferUnderTest({
          store,
          config: {
            min_batch_rows: maxRows,
            max_batch_rows: maxRows,
            flush_connections: connections,
          },
        })
        const bytesOf = new Map<string, number>()
        for (const { session, id, bytes } of specs) {
          const row = task(`t-${id}`, 1, `s-${session}`)
          bytesOf.set(keyText(row.key), bytes)
          await buffer.accept(tasks, accepted([row], bytes))
        }
        store.open()
        const report = (await buffer.flush([tasks])).get(tasks.name)
        expect(report).toEqual({ written: specs.length, refused: 0, failure: null })
        const keys = store.writes.flat().map(({ key }) => keyText(key))
        expect(keys.toSorted()).toEqual([...bytesOf.keys()].toSorted())
        for (const rows of store.writes) {
          expect(rows.length).toBeLessThanOrEqual(maxRows)
          const order = rows.map(({ key }) => key.join('\0'))
          expect(order).toEqual(order.toSorted())
          const sizes = rows.map(({ key }) => bytesOf.get(keyText(key))!)
          const total = sizes.reduce((sum, size) => sum + size, 0)
          expect(total - Math.max(...sizes)).toBeLessThan(maxBytes)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('go over several connections when there is much, and over one when there is little', async () => {
    for (const [rows, expected] of [
      [8, 4],
      [3, 2],
      [2, 1],
    ] as const) {
      const { buffer, store } = createBufferUnderTest({
        config: { max_buffer_size: 2, min_batch_rows: 2, max_batch_rows: 2, flush_connections: 4 },
      })
      await buffer.accept(tasks, accepted(Array.from({ length: rows }, (_, n) => task(`t-${n}`))))
      const flush = buffer.flush([tasks])
      await settle()
      expect(store.pending.length).toBe(expected)
      store.open()
      await flush
      expect(store.mostAtOnce()).toBe(expected)
    }
  })

  test('that are under way when one fails are finished, and no further one is begun', async () => {
    const under = createBufferUnderTest({
      config: { max_buffer_size: 2, min_batch_rows: 2, max_batch_rows: 2, flush_connections: 2 },
    })
    const { buffer, store } = under
    await buffer.accept(tasks, accepted(Array.from({ length: 8 }, (_, n) => task(`t-${n}`))))
    const flush = buffer.flush([tasks])
    await settle()
    const [one, two] = [...store.pending]
    one!.fail()
    await settle()
    two!.store()
    const report = (await flush).get(tasks.name)!
    expect(report).toMatchObject({ written: 2, refused: 0 })
    expect(report.failure).not.toBeNull()
    expect(store.writes.length).toBe(2)
    expect(buffer.status().rows).toBe(6)
    expect(under.imbalance()).toBe(0)
    buffer.stop()
  })

  test('a fault of ours ends the flush, not the rows: what others write meanwhile is counted once', async () => {
    const under = createBufferUnderTest({
      config: { max_buffer_size: 2, min_batch_rows: 2, max_batch_rows: 2, flush_connections: 2 },
    })
    const { buffer, store } = under
    await buffer.accept(tasks, accepted(Array.from({ length: 4 }, (_, n) => task(`t-${n}`))))
    const flush = buffer.flush([tasks]).then(
      () => null,
      (error: unknown) => error,
    )
    await settle()
    const [one, two] = [...store.pending]
    one!.fail(new TypeError('a fault of ours'))
    await settle()
    expect(under.imbalance()).toBe(0)
    two!.store()
    await settle()
    expect(await flush).toBeInstanceOf(TypeError)
    expect(under.imbalance()).toBe(0)
    store.open()
    await buffer.flush([tasks])
    expect(store.stored.size).toBe(4)
    expect(buffer.status().rows).toBe(0)
    expect(under.told).toMatchObject({ accepted: 4, stored: 4 })
    buffer.stop()
  })

  test('a late end of a flush that broke takes no row that a later flush holds', async () => {
    const { buffer, store } = createBufferUnderTest({
      config: { max_buffer_size: 1, min_batch_rows: 1, max_batch_rows: 1, flush_connections: 2 },
    })
    await buffer.accept(tasks, accepted([task('a', 1), task('b', 1)]))
    const broken = buffer.flush([tasks]).catch(() => undefined)
    await settle()
    const [first, late] = [...store.pending]
    first!.fail(new TypeError('a fault of ours'))
    await settle()
    const newer = task('b', 2)
    await buffer.accept(tasks, accepted([newer]))
    const next = buffer.flush([tasks])
    await settle()
    late!.store()
    await settle()
    for (const one of [...store.pending]) one.fail()
    await Promise.all([broken, next])
    await settle()
    for (const one of [...store.pending]) one.fail()
    await settle()
    expect(plain(tasks, buffer.get(tasks, ['s', 'b']))?.fields).toEqual(plain(tasks, newer)!.fields)
    buffer.stop()
  })
})
