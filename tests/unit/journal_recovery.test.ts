import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import type { BufferConfig } from '../../src/buffer/config.ts'
import {
  emptyCounts,
  heldBy,
  JournalError,
  type JournalRecord,
  type JournalState,
} from '../../src/buffer/journal.ts'
import { createJournalRecovery } from '../../src/buffer/journal_recovery.ts'
import { merge, type Row } from '../../src/collections/row.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { recordCollections } from '../support/contract_backends.ts'
import {
  accepted,
  createBufferUnderTest,
  expectJournalled,
  outage,
  settle,
} from '../support/contract_gates.ts'
import { fullRow, plain, rowWith, stampOf, T0 } from '../support/contract_rows.ts'
import { createMemoryJournal, FIRST_STATE, type MemoryJournal } from '../support/memory_journal.ts'

const task = (id: string, n = 1) => fullRow(tasks, ['s', id], { n, stamp: stampOf(n) })
const record = (id: number, row: Row, more: Partial<JournalRecord> = {}): JournalRecord => ({
  id,
  collection: tasks.name,
  row,
  acceptedAtMs: T0 + id,
  replayed: false,
  ...more,
})
const many = (count: number, from = 1) =>
  Array.from({ length: count }, (_, n) => record(from + n, task(`t-${from + n}`)))

/** A journal whose counts agree with what it holds. */
function journalWith(
  instanceId: string,
  records: readonly JournalRecord[],
  more: Partial<JournalState> = {},
) {
  const counts = Object.fromEntries(
    [...Map.groupBy(records, ({ collection }) => collection)].map(([name, of]) => [
      name,
      { ...emptyCounts(), accepted: of.length + 3, stored: 3 },
    ]),
  )
  return createMemoryJournal(instanceId, { records, state: { ...FIRST_STATE, counts, ...more } })
}

function setUp(
  options: { own?: MemoryJournal; others?: MemoryJournal[]; config?: Partial<BufferConfig> } = {},
) {
  const { own = createMemoryJournal(), others = [], config = {} } = options
  const under = createBufferUnderTest({ journal: own, unopened: true, config })
  const adopted: [id: string, rows: number][] = []
  const refusal: { error: Error | null } = { error: null }
  const log = { meta: [] as unknown[] }
  const note = (message: string, more?: { meta?: Record<string, unknown> }) =>
    void log.meta.push({ message, ...more?.meta })
  const recovery = createJournalRecovery({
    store: { own, others: () => others },
    ledger: under.ledger,
    buffer: under.buffer,
    collections: recordCollections,
    log: { debug: note, info: note, warn: note, error: note },
    onUnusable: () => undefined,
    async onAdopted(id, rows) {
      if (refusal.error) throw refusal.error
      adopted.push([id, rows])
    },
  })
  return { under, own, others, recovery, adopted, refusal, log: log.meta }
}

/** Lets so much time pass, a little at a time: what waits, waits again. */
async function pass(ms: number, stepMs = 200): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    jest.advanceTimersByTime(stepMs)
    await settle()
  }
}

const idsOf = (journal: MemoryJournal) => [...journal.records.keys()].toSorted((a, b) => a - b)

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

describe('at the start', () => {
  test('what the journal holds comes back, page by page, with its stamps and the time of its acceptance', async () => {
    const records = [...many(2500), record(9000, fullRow(sessions, ['s']), { collection: sessions.name })]
    const { under, own, recovery } = setUp({ own: journalWith('own', records) })
    const begun: JournalState[] = []
    await recovery.open((state) => void begun.push(state))
    expect(begun).toEqual([own.state()])
    expect(recovery.replayedRows()).toBe(2501)
    expect(under.buffer.status()).toMatchObject({ rows: 2501 })
    expect(under.buffer.status().collections[1]!.oldestAtMs).toBe(T0 + 1)
    expect(plain(tasks, under.buffer.get(tasks, ['s', 't-2500']))).toEqual(plain(tasks, task('t-2500')))
    expect(under.imbalance()).toBe(0)
    expectJournalled(under, 1)
    // And goes its way: stored, and trimmed by the records it came with.
    under.store.open()
    await under.buffer.flush()
    expect(own.records.size).toBe(0)
    expect(own.violations).toEqual([])
  })

  test('what outlives a restart is told before any row comes', async () => {
    const { under, recovery } = setUp({ own: journalWith('own', many(3), { highWater: 77n }) })
    let rows = -1
    await recovery.open(({ highWater }) => {
      expect(highWater).toBe(77n)
      rows = under.buffer.status().rows
    })
    expect(rows).toBe(0)
  })

  test('two records of one key become one, also across pages; the counts tell of it', async () => {
    const old = rowWith(tasks, ['s', 'a'], { status: 'x' }, stampOf(1))
    const newer = rowWith(tasks, ['s', 'a'], { context: 'c' }, stampOf(2))
    const records = [record(1, old), ...many(1500, 2), record(5000, newer, { replayed: true })]
    const { under, own, recovery } = setUp({ own: journalWith('own', records) })
    await recovery.open(() => undefined)
    expect(own.records.size).toBe(1501)
    expect(own.records.get(1)).toMatchObject({ replayed: true, acceptedAtMs: T0 + 1 })
    expect(plain(tasks, own.records.get(1)!.row)).toEqual(plain(tasks, merge(old, newer)))
    expect(own.records.has(5000)).toBe(false)
    expect(under.told).toMatchObject({ accepted: 1505, merged: 1 })
    expect(under.imbalance()).toBe(0)
    expectJournalled(under, 1)
  })

  test('what is accepted from then on has ids of its own', async () => {
    const { under, own, recovery } = setUp({ own: journalWith('own', many(1, 41)) })
    await recovery.open(() => undefined)
    await under.buffer.accept(tasks, accepted([task('new')]))
    expect(idsOf(own)).toEqual([41, 42])
  })

  test('records of a collection that this version lacks stay, and are named', async () => {
    const records = [record(1, task('a')), record(2, task('b'), { collection: 'strange' })]
    const { under, own, recovery, log } = setUp({ own: journalWith('own', records) })
    await recovery.open(() => undefined)
    expect(recovery.replayedRows()).toBe(1)
    expect(log).toContainEqual({
      message: 'records of another version stay in the journal',
      collection: 'strange',
      records: 1,
    })
    under.store.open()
    await under.buffer.flush()
    expect(idsOf(own)).toEqual([2])
    expect(heldBy(own.state().counts.strange!)).toBe(1)
    expect(own.violations).toEqual([])
  })

  test('rows of before a field was added get its slot, those of a later version stay as they are', async () => {
    const older = task('older')
    const later = task('later')
    const records = [
      record(1, { ...older, values: older.values.slice(0, -1) }),
      record(2, { ...later, values: [...later.values, 'of tomorrow'] }),
    ]
    const { under, own, recovery } = setUp({ own: journalWith('own', records) })
    await recovery.open(() => undefined)
    expect(under.buffer.get(tasks, older.key)?.values.length).toBe(tasks.slots.length)
    expect(under.buffer.get(tasks, later.key)).toBeUndefined()
    under.store.open()
    await under.buffer.flush()
    expect(idsOf(own)).toEqual([2])
  })

  test('more rows than the buffer may hold are loaded all the same, and nothing else is taken', async () => {
    const { under, recovery } = setUp({ own: journalWith('own', many(300)), config: { max_rows: 100 } })
    await recovery.open(() => undefined)
    expect(under.buffer.status().rows).toBe(300)
    const refused = await under.buffer.accept(tasks, accepted([task('x')])).catch((error: unknown) => error)
    expect(refused).toMatchObject({ code: 'BUFFER_FULL' })
  })

  test('damage and loss are told', async () => {
    const own = createMemoryJournal('own', { lostRows: 3, faults: ['a page was unreadable'] })
    const { under, recovery, log } = setUp({ own })
    await recovery.open(() => undefined)
    expect(log).toContainEqual({
      message: 'the journal is damaged',
      instance: 'own',
      fault: 'a page was unreadable',
    })
    expect(log).toContainEqual({ message: 'rows that had been accepted are lost', instance: 'own', rows: 3 })
    expect(under.ledger.status().faults).toEqual(['a page was unreadable'])
  })

  test.each(['unusable', 'full', 'failed'] as const)(
    'a journal that can’t be opened (%s) is tried again, and nothing is accepted meanwhile',
    async (kind) => {
      const { under, own, recovery } = setUp({ own: journalWith('own', many(2)) })
      own.refuseOpening(kind)
      let isOpen = false
      const open = recovery
        .open(() => undefined)
        .then(() => {
          isOpen = true
        })
      await pass(10 * 60_000, 5000)
      expect(isOpen).toBe(false)
      expect(own.openings()).toBeGreaterThan(100)
      expect(under.ledger.status().failure).toBe(`opening: ${kind}`)
      const refused = await under.buffer.accept(tasks, accepted([task('x')])).catch((error: unknown) => error)
      expect(refused).toMatchObject({ code: 'JOURNAL_UNAVAILABLE' })
      // Just then somebody looks whether this instance is dead.
      own.refuseOpening('locked')
      await pass(5000, 5000)
      expect(isOpen).toBe(false)
      own.refuseOpening(null)
      await pass(5000)
      await open
      expect(under.ledger.status().failure).toBeNull()
      expect(under.buffer.status().rows).toBe(2)
    },
  )

  test('a journal that another process keeps is waited for, and then a fault of the start', async () => {
    const { own, recovery } = setUp()
    own.refuseOpening('locked')
    const open = recovery.open(() => undefined).catch((error: unknown) => error)
    await pass(4000)
    expect(own.openings()).toBeGreaterThan(10)
    await pass(2000)
    expect(await open).toBeInstanceOf(JournalError)
    const again = setUp()
    again.own.refuseOpening('locked')
    const waiting = again.recovery.open(() => undefined)
    await pass(2000)
    again.own.refuseOpening(null)
    await pass(1000)
    await waiting
    expect(again.own.isOpen()).toBe(true)
  })
})

describe('the journals of others', () => {
  async function open(options: Parameters<typeof setUp>[0]) {
    const all = setUp(options)
    await all.recovery.open(() => undefined)
    all.recovery.start()
    await settle()
    return all
  }

  test('whose owners are gone are taken over, rows with their stamps, and both sides count it', async () => {
    const strange = record(9, task('z'), { collection: 'strange' })
    const dead = journalWith('dead', [...many(3), record(8, task('old'), { replayed: true }), strange])
    const { under, own, recovery, adopted } = await open({ others: [dead] })
    await pass(400)
    expect(adopted).toEqual([['dead', 4]])
    expect(idsOf(dead)).toEqual([9])
    expect(dead.violations).toEqual([])
    expect(dead.state().counts[tasks.name]).toMatchObject({ accepted: 7, stored: 3, transferred_out: 4 })
    expect(dead.isOpen()).toBe(false)
    expect(under.told).toMatchObject({ transferred_in: 4, accepted: 0, merged: 0 })
    expect(under.imbalance()).toBe(0)
    expect([...own.records.values()].map(({ acceptedAtMs, replayed }) => [acceptedAtMs, replayed])).toEqual([
      [T0 + 1, false],
      [T0 + 2, false],
      [T0 + 3, false],
      [T0 + 8, true],
    ])
    expect(plain(tasks, under.buffer.get(tasks, ['s', 't-2']))).toEqual(plain(tasks, task('t-2')))
    expectJournalled(under)
    // The one record that stays is no news.
    await pass(120_000, 10_000)
    expect(adopted.length).toBe(1)
    await recovery.stop()
  })

  test('bring what they have lost along: it is counted here, once, and theirs is zero', async () => {
    const counts = { [tasks.name]: { ...emptyCounts(), accepted: 7, lost: 5 } }
    const dead = journalWith('dead', many(2), { counts })
    const { under, own, recovery } = await open({ others: [dead] })
    await pass(400)
    expect(dead.state().counts[tasks.name]).toMatchObject({ accepted: 7, lost: 0, transferred_out: 7 })
    for (let round = 0; round < 3; round++) {
      expect(under.told).toMatchObject({ transferred_in: 7, lost: 5 })
      expect(own.state().counts[tasks.name]).toMatchObject({ transferred_in: 7, lost: 5 })
      await pass(30_000, 10_000)
    }
    expect(under.imbalance()).toBe(0)
    expect([dead.violations, own.violations]).toEqual([[], []])
    await recovery.stop()
  })

  test('keep the count of what they have lost until it is safe here', async () => {
    const counts = { [tasks.name]: { ...emptyCounts(), accepted: 5, lost: 5 } }
    const dead = journalWith('dead', [], { counts })
    const { under, own, recovery } = setUp({ others: [dead] })
    await recovery.open(() => undefined)
    own.always('failed')
    recovery.start()
    await pass(400)
    expect(dead.state().counts[tasks.name]).toMatchObject({ lost: 5 })
    own.always(null)
    under.ledger.note(tasks, {})
    await pass(60_000, 10_000)
    expect(dead.state().counts[tasks.name]).toMatchObject({ lost: 0 })
    expect(own.state().counts[tasks.name]).toMatchObject({ transferred_in: 5, lost: 5 })
    await recovery.stop()
  })

  test('of living instances are left alone, and looked at again', async () => {
    const living = journalWith('living', many(2))
    living.open()
    const { under, recovery, adopted, log } = await open({ others: [living] })
    await pass(60_000, 10_000)
    expect(log).toEqual([])
    expect([under.buffer.status().rows, living.records.size, living.isOpen()]).toEqual([0, 2, true])
    living.close()
    await pass(30_000, 10_000)
    expect(adopted).toEqual([['living', 2]])
    expect(under.buffer.status().rows).toBe(2)
    await recovery.stop()
  })

  test('are merged with what is here: the newer field wins, and nothing is counted twice', async () => {
    const dead = journalWith('dead', [record(1, rowWith(tasks, ['s', 'a'], { status: 'old' }, stampOf(1)))])
    const own = journalWith('own', [record(1, rowWith(tasks, ['s', 'a'], { status: 'new' }, stampOf(2)))])
    const { under, recovery } = await open({ own, others: [dead] })
    await pass(400)
    expect(under.buffer.get(tasks, ['s', 'a'])!.values[tasks.slotOf('status')]).toBe('new')
    expect(under.told).toMatchObject({ transferred_in: 1, merged: 1 })
    expect(under.imbalance()).toBe(0)
    expectJournalled(under, 1)
    await recovery.stop()
  })

  test('wait for room, and come as it allows, however many they are', async () => {
    const dead = journalWith('dead', many(250))
    const { under, recovery, adopted } = await open({
      others: [dead],
      config: { max_rows: 100, max_buffer_size: 100 },
    })
    await pass(5000)
    expect(under.buffer.status().rows).toBe(80)
    expect(dead.records.size).toBe(170)
    expect(under.buffer.status().full).toBe(false)
    expect(adopted).toEqual([])
    // Requests have the rest to themselves.
    await under.buffer.accept(tasks, accepted([task('mine')]))
    under.store.open()
    for (let n = 0; n < 5; n++) {
      await under.buffer.flush()
      await pass(30_000)
    }
    expect(adopted).toEqual([['dead', 250]])
    expect(under.store.stored.size).toBe(251)
    expect(dead.violations).toEqual([])
    expect(under.imbalance()).toBe(0)
    await recovery.stop()
  })

  test('are no larger at a time than the buffer may be', async () => {
    const text = 'x'.repeat(200_000)
    const rows = Array.from({ length: 20 }, (_, n) =>
      record(n + 1, rowWith(tasks, ['s', `${n}`], { source_text: text }, stampOf(n + 1))),
    )
    const dead = journalWith('dead', rows)
    const { under, recovery, adopted } = await open({
      others: [dead],
      config: { max_bytes: 4_000_000, flush_bytes: 1_000_000 },
    })
    under.store.open()
    for (let n = 0; n < 20; n++) {
      await under.buffer.flush()
      await pass(1000)
    }
    expect(adopted).toEqual([['dead', 20]])
    expect(under.store.stored.size).toBe(20)
    await recovery.stop()
  })

  test('stay theirs while this instance’s own journal takes nothing; each row is counted once in the end', async () => {
    const dead = journalWith('dead', [...many(3), record(4, task('old'), { replayed: true })])
    const own = createMemoryJournal()
    const { under, recovery, adopted } = setUp({ own, others: [dead] })
    await recovery.open(() => undefined)
    own.plan(null, 'full', 'full')
    recovery.start()
    await settle()
    expect(dead.records.size).toBe(1)
    for (let round = 0; round < 3; round++) await pass(30_000)
    expect(adopted).toEqual([['dead', 4]])
    expect(under.told).toMatchObject({ transferred_in: 4, merged: 0 })
    expect(dead.state().counts[tasks.name]!.transferred_out).toBe(4)
    await recovery.stop()
  })

  test('that can’t be told of are told of at the next round, and none is forgotten for another’s fault', async () => {
    const [broken, dead] = [journalWith('broken', many(1)), journalWith('dead', many(2, 10))]
    broken.refuseOpening('unusable')
    const { recovery, adopted, refusal, log } = setUp({ others: [broken, dead] })
    await recovery.open(() => undefined)
    refusal.error = outage()
    recovery.start()
    await pass(1000)
    expect(dead.records.size).toBe(0)
    expect([adopted, dead.isOpen()]).toEqual([[], false])
    expect(log).toContainEqual({
      message: 'the journal of another instance cannot be taken over',
      instance: 'broken',
      error: 'opening: unusable',
    })
    refusal.error = null
    await pass(60_000, 10_000)
    expect(adopted).toEqual([['dead', 2]])
    broken.refuseOpening(null)
    await pass(30_000, 10_000)
    expect(adopted).toEqual([
      ['dead', 2],
      ['broken', 1],
    ])
    await recovery.stop()
  })

  test('are taken over again where their trim failed, and are one row', async () => {
    const dead = journalWith('dead', many(2))
    const { under, recovery, adopted } = setUp({ others: [dead] })
    await recovery.open(() => undefined)
    dead.plan('failed')
    recovery.start()
    await settle()
    expect(under.buffer.status().rows).toBe(2)
    expect(dead.records.size).toBe(2)
    await pass(40_000, 10_000)
    expect(dead.records.size).toBe(0)
    expect(adopted).toEqual([['dead', 2]])
    expect(under.buffer.status().rows).toBe(2)
    expect(under.told).toMatchObject({ transferred_in: 4, merged: 2 })
    expect(under.imbalance()).toBe(0)
    await recovery.stop()
  })

  test('are let go when this instance stops while it waits for room', async () => {
    const dead = journalWith('dead', many(90))
    const { recovery, adopted } = await open({
      others: [dead],
      config: { max_rows: 100, max_buffer_size: 100 },
    })
    const stopped = recovery.stop()
    await pass(2000)
    await stopped
    expect(dead.isOpen()).toBe(false)
    expect(dead.records.size).toBe(10)
    expect(adopted).toEqual([])
    expect(dead.violations).toEqual([])
  })
})
