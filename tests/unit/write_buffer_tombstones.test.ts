import { describe, expect, test } from 'bun:test'
import { newestStamp } from '../../src/collections/row.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import {
  accepted,
  createBufferUnderTest,
  expectJournalled,
  keyText,
  outage,
  settle,
} from '../support/contract_gates.ts'
import { fullRow, plain, rowWith, stampOf, T0 } from '../support/contract_rows.ts'

const DAY_MS = 86_400_000
const task = (id: string, n: number, group = 's') => fullRow(tasks, [group, id], { n, stamp: stampOf(n) })
const keysOf = (rows: readonly { key: readonly string[] }[]) => rows.map(({ key }) => keyText(key)).toSorted()

describe('a delete on another instance', () => {
  test('that a flush knows of keeps what it voids from being written, and is written into the rest', async () => {
    const under = createBufferUnderTest()
    const { buffer, store, neighbours } = under
    const part = rowWith(tasks, ['s', 'b'], { status: 'new' }, stampOf(60))
    await buffer.accept(tasks, accepted([task('a', 1), part, task('a', 1, 'other')]))
    neighbours.tombstones.set('s', stampOf(50))
    store.open()
    const report = (await buffer.flush()).get(tasks.name)
    expect(report).toEqual({ written: 2, refused: 0, failure: null })
    expect(keysOf(store.writes.flat())).toEqual(['other/a', 's/b'])
    expect(store.stored.get('s/b')!.values[tasks.slotOf('context')]).toBeNull()
    expect(under.told).toMatchObject({ accepted: 3, stored: 2, voided: 1 })
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
  })

  test('is looked for under the name of the collection that the group belongs to', async () => {
    const { buffer, store, neighbours } = createBufferUnderTest()
    const asked: [string, readonly string[]][] = []
    const { tombstonesOf } = neighbours.coordination
    neighbours.coordination.tombstonesOf = (collection, groups) => {
      asked.push([collection, groups])
      return tombstonesOf(collection, groups)
    }
    await buffer.accept(tasks, accepted([task('a', 1), task('b', 1), task('a', 1, 'other')]))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    store.open()
    await buffer.flush()
    expect(new Set(asked.map(([collection]) => collection))).toEqual(new Set([sessions.name]))
    for (const [, groups] of asked) expect(new Set(groups).size).toBe(groups.length)
  })

  test('that commits while rows are on their way is carried out once more, before anything is let go', async () => {
    const under = createBufferUnderTest()
    const { buffer, store, neighbours, letters, journal } = under
    await buffer.accept(tasks, accepted([task('a', 1), task('bad', 1), task('new', 60)]))
    const flush = buffer.flush([tasks])
    await settle()
    neighbours.tombstones.set('s', stampOf(50))
    neighbours.onLook(() => {
      // Written and dead-lettered by now, and still in the journal.
      expect(store.stored.size).toBe(2)
      expect(letters.length).toBe(1)
      expect(journal!.records.size).toBe(3)
    })
    store.pending[0]!.store([1])
    await flush
    expect(neighbours.looks()).toBe(1)
    expect([...store.stored.keys()]).toEqual(['s/new'])
    expect(letters).toEqual([])
    expectJournalled(under)
    expect(under.imbalance()).toBe(0)
  })

  test('is carried out though the first look after the write failed, and the next attempt knows of it', async () => {
    const under = createBufferUnderTest()
    const { buffer, store, neighbours } = under
    await buffer.accept(tasks, accepted([task('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    neighbours.tombstones.set('s', stampOf(50))
    neighbours.fail('tombstonesOf', outage())
    store.pending[0]!.store()
    expect((await flush).get(tasks.name)!.failure).not.toBeNull()
    expect([...store.stored.keys()]).toEqual(['s/a'])
    neighbours.fail('tombstonesOf', null)
    await buffer.flush([tasks])
    expect(store.writes.length).toBe(1)
    expect([...store.stored.keys()]).toEqual([])
    expect(under.told).toMatchObject({ accepted: 1, voided: 1 })
    buffer.stop()
  })

  test('is carried out though the answer of the write before was lost', async () => {
    const { buffer, store, neighbours } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.storeUnheard()
    await flush
    neighbours.tombstones.set('s', stampOf(50))
    await buffer.flush([tasks])
    expect([...store.stored.keys()]).toEqual([])
    buffer.stop()
  })

  test('that was known before the write costs no second delete', async () => {
    const { buffer, store, neighbours } = createBufferUnderTest()
    let erased = 0
    const { erase } = store.records
    store.records.erase = (...args) => {
      erased++
      return erase(...args)
    }
    neighbours.tombstones.set('s', stampOf(50))
    await buffer.accept(tasks, accepted([task('a', 60)]))
    store.open()
    await buffer.flush()
    expect(erased).toBe(0)
    // One that came meanwhile is carried out once, and known from then on.
    neighbours.onLook((look) => void (look === 2 && neighbours.tombstones.set('s', stampOf(55))))
    for (const n of [61, 62, 63]) {
      await buffer.accept(tasks, accepted([task('a', n)]))
      await buffer.flush()
    }
    expect(erased).toBe(1)
  })

  test('whose tombstones can’t be read keeps everything', async () => {
    const under = createBufferUnderTest()
    const { buffer, store, neighbours } = under
    neighbours.fail('tombstonesOf', outage())
    await buffer.accept(tasks, accepted([task('a', 1)]))
    expect((await buffer.flush([tasks])).get(tasks.name)!.failure).not.toBeNull()
    expect(store.writes).toEqual([])
    expect(buffer.status().rows).toBe(1)
    expectJournalled(under, 1)
    buffer.stop()
  })
})

describe('fields that waited longer than a delete is remembered', () => {
  test('are dead letters, and what is newer in their row is stored; the row is counted once', async () => {
    const under = createBufferUnderTest({ config: { expire_days: 30 } })
    const { buffer, store, letters, clock } = under
    await buffer.accept(tasks, accepted([rowWith(tasks, ['s', 'a'], { status: 'old' }, stampOf(1))]))
    await buffer.accept(tasks, accepted([task('b', 1)]))
    const later = 30 * DAY_MS
    const fresh = rowWith(tasks, ['s', 'a'], { context: 'fresh' }, stampOf(later))
    await buffer.accept(tasks, accepted([fresh]))
    clock.nowMs = T0 + later + 2
    store.open()
    const report = (await buffer.flush()).get(tasks.name)
    expect(report).toEqual({ written: 1, refused: 2, failure: null })
    expect(Object.keys(plain(tasks, store.stored.get('s/a'))!.fields)).toEqual(['context'])
    expect(letters.map(({ code, row }) => [code, keyText(row.key), newestStamp(row)])).toEqual([
      ['expired', 's/a', stampOf(1)],
      ['expired', 's/b', stampOf(1)],
    ])
    expect(under.told).toMatchObject({ accepted: 3, merged: 1, dead_lettered: 2, stored: 0 })
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
    // Tried again, on request, they may be of any age.
    await buffer.takeIn(
      tasks,
      letters.splice(0).map(({ row }) => ({ row, bytes: 100 })),
      { replayed: true },
    )
    await buffer.flush()
    expect(letters).toEqual([])
    expect(store.stored.get('s/a')!.values[tasks.slotOf('status')]).toBe('old')
    expect(under.told).toMatchObject({ transferred_in: 2, stored: 2 })
    expect(under.imbalance()).toBe(0)
  })

  test('are not what a dead instance’s rows are exempt from, whatever journal they came by', async () => {
    const under = createBufferUnderTest({ config: { expire_days: 30 } })
    const { buffer, store, letters, clock } = under
    clock.nowMs = T0 + 31 * DAY_MS
    const rows = [{ row: task('a', 1), bytes: 100, acceptedAtMs: T0 + 1 }]
    await buffer.takeIn(tasks, rows, { replayed: false })
    expect(buffer.status().collections[1]!.oldestAtMs).toBe(T0 + 1)
    store.open()
    await buffer.flush()
    expect(letters.map(({ code }) => code)).toEqual(['expired'])
    expect(store.writes).toEqual([])
    expectJournalled(under)
  })

  test('whose other fields are refused too are two letters and one row', async () => {
    const under = createBufferUnderTest({ config: { expire_days: 30 } })
    const { buffer, store, letters, clock } = under
    await buffer.accept(tasks, accepted([rowWith(tasks, ['s', 'a'], { status: 'old' }, stampOf(1))]))
    const fresh = rowWith(tasks, ['s', 'a'], { context: 'fresh' }, stampOf(30 * DAY_MS))
    await buffer.accept(tasks, accepted([fresh]))
    clock.nowMs = T0 + 30 * DAY_MS + 2
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.store([0])
    await flush
    expect(letters.map(({ code }) => code)).toEqual(['expired', '1406'])
    expect(under.told).toMatchObject({ dead_lettered: 1, merged: 1 })
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
  })

  test('of which one letter may be kept and one may not keep their row, and lose nothing', async () => {
    const under = createBufferUnderTest({ config: { expire_days: 30, dead_letters_per_session: 1 } })
    const { buffer, letters, clock, store } = under
    const old = rowWith(tasks, ['s', 'a'], { status: 'old' }, stampOf(1))
    const fresh = rowWith(tasks, ['s', 'a'], { context: 'fresh' }, stampOf(30 * DAY_MS))
    await buffer.accept(tasks, accepted([old]))
    await buffer.accept(tasks, accepted([fresh]))
    clock.nowMs = T0 + 30 * DAY_MS + 2
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.store([0])
    await flush
    expect(letters.map(({ code }) => code)).toEqual(['expired'])
    expect(buffer.status().collections[1]!).toMatchObject({ rows: 1, parked: 1 })
    expect(buffer.get(tasks, ['s', 'a'])!.values[tasks.slotOf('context')]).toBe('fresh')
    expect(under.told.dead_lettered).toBe(0)
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
  })

  test('that no dead letter may hold keep their row, which is whole again when there is room', async () => {
    const under = createBufferUnderTest({ config: { expire_days: 30, dead_letters_per_session: 1 } })
    const { buffer, store, letters, clock } = under
    letters.push({ collection: tasks.name, row: task('x', 1), code: '1', reason: 'r' })
    const old = rowWith(tasks, ['s', 'a'], { status: 'old' }, stampOf(1))
    await buffer.accept(tasks, accepted([old]))
    const fresh = rowWith(tasks, ['s', 'a'], { context: 'fresh' }, stampOf(30 * DAY_MS))
    await buffer.accept(tasks, accepted([fresh]))
    clock.nowMs = T0 + 30 * DAY_MS + 2
    store.open()
    await buffer.flush([tasks])
    expect(buffer.status().collections[1]!).toMatchObject({ rows: 1, parked: 1 })
    expect(store.stored.has('s/a')).toBe(true)
    expect(under.told).toMatchObject({ stored: 0, dead_lettered: 0 })
    expectJournalled(under)
  })
})
