import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import { emptyCounts, heldBy } from '../../src/buffer/journal.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { AppError } from '../../src/lib/errors.ts'
import {
  accepted,
  type BufferUnderTest,
  createBufferUnderTest,
  expectJournalled,
  keyText,
  outage,
  settle,
} from '../support/contract_gates.ts'
import { fullRow, plain, rowWith, stampOf } from '../support/contract_rows.ts'
import { createMemoryJournal, FIRST_STATE } from '../support/memory_journal.ts'

const task = (id: string, n = 1) => fullRow(tasks, ['s', id], { n, stamp: stampOf(n) })
const part = (id: string, n: number) =>
  rowWith(tasks, ['s', id], { [n % 2 ? 'status' : 'context']: `${n}` }, stampOf(n))

/** Everything that a failed acceptance must leave as it was. */
function picture({ buffer }: BufferUnderTest) {
  const { collections, rows, bytes } = buffer.status()
  return {
    rows,
    bytes,
    room: buffer.room(),
    collections: structuredClone(collections),
    content: buffer
      .all(tasks)
      .map((row) => plain(tasks, row))
      .sort((a, b) => (keyText(a!.key) < keyText(b!.key) ? -1 : 1)),
  }
}

const codeOf = (one: Promise<unknown>) =>
  one.then(
    () => 'accepted',
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  )

const recordsOf = ({ journal }: BufferUnderTest) =>
  [...journal!.records.values()].map(
    ({ id, row }) => [id, keyText(row.key), plain(tasks, row)?.fields] as const,
  )

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

describe('what is accepted', () => {
  test('in one turn of the event loop is one commit, whatever the request and the collection', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal } = under
    await Promise.all([
      ...Array.from({ length: 7 }, (_, n) => buffer.accept(tasks, accepted([task(`t-${n}`), task('same')]))),
      buffer.accept(sessions, accepted([fullRow(sessions, ['s'])])),
    ])
    expect(journal!.attempts()).toBe(1)
    expect(journal!.commits[0]!.put.length).toBe(9)
    expectJournalled(under)
    await buffer.accept(tasks, accepted([task('later')]))
    expect(journal!.attempts()).toBe(2)
    expect(journal!.commits[1]!.put.length).toBe(1)
  })

  test('is neither held nor answered before its commit', async () => {
    const { buffer, journal } = createBufferUnderTest()
    let answered = false
    const one = buffer.accept(tasks, accepted([task('a')])).then(() => {
      answered = true
    })
    for (let i = 0; i < 50; i++) await Promise.resolve()
    expect([answered, buffer.status().rows, journal!.attempts()]).toEqual([false, 0, 0])
    await one
    expect([buffer.status().rows, journal!.records.size]).toEqual([1, 1])
  })

  test('takes back all of a request that breaks half-way, and none of the others of its turn', async () => {
    const under = createBufferUnderTest()
    const broken = { ...task('broken'), values: undefined } as unknown as ReturnType<typeof task>
    const [first, second] = await Promise.allSettled([
      under.buffer.accept(tasks, accepted([task('a'), broken])),
      under.buffer.accept(tasks, accepted([task('b')])),
    ])
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled'])
    expect(under.buffer.get(tasks, ['s', 'a'])).toBeUndefined()
    expect(under.buffer.status().rows).toBe(1)
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
  })

  test('carries its counts, and what else outlives a restart, in the same commit', async () => {
    const { buffer, journal } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a'), task('b')]))
    await buffer.accept(tasks, accepted([task('a', 2)]))
    expect(journal!.state()).toEqual({
      counts: {
        [sessions.name]: emptyCounts(),
        [tasks.name]: { ...emptyCounts(), accepted: 3, merged: 1 },
      },
      lastId: 3,
      highWater: 0n,
      instanceNumber: 1,
      clockOffsetMs: 0,
    })
    expect(heldBy(journal!.state().counts[tasks.name]!)).toBe(2)
  })

  test('without durability touches no journal, and is counted all the same', async () => {
    const under = createBufferUnderTest({ journal: null })
    const { buffer, store, ledger } = under
    expect(ledger.status()).toEqual({
      durability: 'off',
      loading: false,
      failure: null,
      faults: [],
      sizeBytes: 0,
    })
    await buffer.accept(tasks, accepted([task('a'), task('b'), task('a', 2)]))
    store.open()
    await buffer.flush()
    expect(under.told).toMatchObject({ accepted: 3, merged: 1, stored: 2 })
    expect(under.imbalance()).toBe(0)
    ledger.close()
  })
})

describe('a commit that fails', () => {
  test('rejects every acceptance of its turn, and leaves memory, counts and room as they were', async () => {
    const under = createBufferUnderTest({ config: { max_rows: 100 } })
    const { buffer, journal } = under
    await buffer.accept(tasks, accepted([task('a'), part('b', 1)]))
    const before = picture(under)
    const recordsBefore = recordsOf(under)
    journal!.plan('full')
    const codes = await Promise.all(
      [
        accepted([part('a', 7), task('new')]),
        accepted([task('new', 2), part('b', 4), part('b', 5)]),
        accepted([task('new', 3), part('a', 8)], 90_000),
      ].map((rows) => codeOf(buffer.accept(tasks, rows))),
    )
    expect(codes).toEqual(Array(3).fill('JOURNAL_UNAVAILABLE'))
    expect(picture(under)).toEqual(before)
    expect(recordsOf(under)).toEqual(recordsBefore)
    // The next turn brings no trace of them.
    await buffer.accept(tasks, accepted([task('c')]))
    expectJournalled(under)
    expect(buffer.status().rows).toBe(3)
  })

  test('tells the caller when to come again, and no cause', async () => {
    const { buffer, journal } = createBufferUnderTest()
    journal!.plan('failed')
    const error = await buffer.accept(tasks, accepted([task('a')])).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(AppError)
    expect((error as AppError).headers['Retry-After']).toBe('2')
    expect((error as AppError).detail).not.toContain('commit: failed')
  })

  test('is told once in the log and in the status, until one works', async () => {
    const { buffer, journal, ledger, logs } = createBufferUnderTest()
    journal!.always('full')
    for (let n = 0; n < 5; n++) await codeOf(buffer.accept(tasks, accepted([task('a')])))
    expect(ledger.status()).toMatchObject({ durability: 'full', failure: 'commit: full' })
    expect(logs.filter(({ level }) => level === 'error').length).toBe(1)
    journal!.always(null)
    await buffer.accept(tasks, accepted([task('a')]))
    expect(ledger.status().failure).toBeNull()
    expect(logs.at(-1)).toEqual({ level: 'info', message: 'the journal takes rows again' })
  })

  test('is tried again by the timer where something is owed, though nobody writes any more', async () => {
    const under = createBufferUnderTest({ config: { flush_interval: 30 } })
    const { buffer, journal, ledger, store } = under
    buffer.start()
    await buffer.accept(tasks, accepted([task('a')]))
    store.open()
    journal!.always('full')
    await buffer.flush()
    expect(journal!.records.size).toBe(1)
    journal!.always(null)
    jest.advanceTimersByTime(30_000)
    await settle()
    expect(ledger.status().failure).toBeNull()
    expectJournalled(under)
    buffer.stop()
  })

  test('owes a trim to the next one, whoever brings it', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal, store } = under
    await buffer.accept(tasks, accepted([task('a'), task('b')]))
    journal!.plan('failed', 'failed')
    store.open()
    await buffer.flush()
    await codeOf(buffer.accept(tasks, accepted([task('x')])))
    expect(buffer.status().rows).toBe(0)
    expect(journal!.records.size).toBe(2)
    await buffer.accept(tasks, accepted([task('c')]))
    expect(journal!.commits.at(-1)).toMatchObject({ put: [{ row: { key: ['s', 'c'] } }], remove: [1, 2] })
    expectJournalled(under)
  })

  test('owes a restore: until it is brought, both records stand, and nothing would be lost by a crash', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal, store } = under
    await buffer.accept(tasks, accepted([part('a', 1), task('b')]))
    const flush = buffer.flush([tasks])
    await settle()
    await buffer.accept(tasks, accepted([part('a', 2)]))
    journal!.always('failed')
    store.pending[0]!.fail()
    await flush
    expect(buffer.status().rows).toBe(2)
    expect(recordsOf(under).map(([, key]) => key)).toEqual(['s/a', 's/b', 's/a'])
    // It merges into an entry that is owed itself, and is taken back out of it.
    expect(await codeOf(buffer.accept(tasks, accepted([part('a', 9)])))).toBe('JOURNAL_UNAVAILABLE')
    expect(plain(tasks, buffer.get(tasks, ['s', 'a']))!.fields).toEqual({
      status: expect.arrayContaining(['1']),
      context: expect.arrayContaining(['2']),
    })
    journal!.always(null)
    await buffer.accept(tasks, accepted([part('a', 11)]))
    expect(
      recordsOf(under)
        .map(([, key]) => key)
        .toSorted(),
    ).toEqual(['s/a', 's/b'])
    expectJournalled(under, 1)
    expect(under.told).toMatchObject({ accepted: 4, merged: 2 })
    buffer.stop()
  })

  test('owes a restore also past acceptances of others that fail', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal, store } = under
    await buffer.accept(tasks, accepted([part('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    await buffer.accept(tasks, accepted([part('a', 2)]))
    journal!.always('failed')
    store.pending[0]!.fail()
    await flush
    await codeOf(buffer.accept(tasks, accepted([part('b', 9)])))
    journal!.always(null)
    await buffer.accept(tasks, accepted([part('c', 11)]))
    expectJournalled(under, 1)
    buffer.stop()
  })

  test('owes nothing of a record that is done with meanwhile but its trim', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal, store } = under
    await buffer.accept(tasks, accepted([part('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    await buffer.accept(tasks, accepted([part('a', 2)]))
    journal!.always('failed')
    store.pending[0]!.fail()
    await flush
    store.open()
    await buffer.flush([tasks])
    journal!.always(null)
    await buffer.accept(tasks, accepted([part('c', 11)]))
    expect(journal!.commits.at(-1)!.put.map(({ row }) => row.key[1])).toEqual(['c'])
    expectJournalled(under, 1)
    buffer.stop()
  })

  test('leaves the count of what was owed alone when it takes back what it merged into', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal } = under
    await buffer.accept(tasks, accepted([part('a', 1), part('b', 1)]))
    journal!.always('full')
    await buffer.erase(tasks, 's', stampOf(1))
    const before = picture(under)
    expect(before).toMatchObject({ rows: 0 })
    await codeOf(buffer.accept(tasks, accepted([part('a', 3)])))
    expect(picture(under)).toEqual(before)
    journal!.always(null)
    await buffer.accept(tasks, accepted([part('a', 5)]))
    expect(under.told).toMatchObject({ accepted: 3, voided: 2 })
    expectJournalled(under)
  })
})

describe('a trim', () => {
  test('names the record, never the key: what arrives while its older row is in flight keeps its own', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal, store } = under
    await buffer.accept(tasks, accepted([task('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    await buffer.accept(tasks, accepted([task('a', 2)]))
    expect(recordsOf(under).map(([id, key]) => [id, key])).toEqual([
      [1, 's/a'],
      [2, 's/a'],
    ])
    store.pending[0]!.store()
    await flush
    expect(journal!.commits.at(-1)!.remove).not.toContain(2)
    expect(recordsOf(under)).toEqual([[2, 's/a', plain(tasks, task('a', 2))!.fields]])
    expectJournalled(under, 1)
  })

  test('comes only after the store has answered, and in the commit that counts it', async () => {
    const { buffer, journal, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a')]))
    const flush = buffer.flush([tasks])
    await settle()
    expect(journal!.records.size).toBe(1)
    store.pending[0]!.store()
    await flush
    const last = journal!.commits.find(({ remove }) => remove.length > 0)!
    expect(last.state.counts[tasks.name]).toMatchObject({ accepted: 1, stored: 1 })
    expect(journal!.records.size).toBe(0)
  })

  test('is in the journal when the flush that it is of resolves', async () => {
    const { buffer, journal, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a')]))
    store.open()
    await buffer.flush()
    expect(journal!.records.size).toBe(0)
  })
})

describe('a long outage, in which the same keys are written again and again', () => {
  test('leaves at most two records a key, and one once the flush has failed', async () => {
    const under = createBufferUnderTest()
    const { buffer, journal, store } = under
    let n = 0
    for (let round = 0; round < 40; round++) {
      await buffer.accept(tasks, accepted([part('a', ++n), part('b', n), part('c', n)]))
      const flush = buffer.flush([tasks])
      await settle()
      await buffer.accept(tasks, accepted([part('a', ++n), part('b', n)]))
      expectJournalled(under, 2)
      expect(journal!.records.size).toBe(5)
      if (round % 2) store.pending[0]!.fail(outage())
      else store.pending[0]!.storeUnheard()
      await flush
      expectJournalled(under, 1)
      expect(journal!.records.size).toBe(3)
      expect(under.imbalance()).toBe(0)
    }
    buffer.stop()
  })
})

describe('the journal', () => {
  test('that is not open, or can’t be opened, accepts nothing', async () => {
    const { buffer, ledger, journal } = createBufferUnderTest({ unopened: true })
    expect(ledger.status().failure).not.toBeNull()
    const room = buffer.room()
    expect(await codeOf(buffer.accept(tasks, accepted([task('a')])))).toBe('JOURNAL_UNAVAILABLE')
    expect(buffer.room()).toBe(room)
    ledger.fail('the disk is read-only')
    expect(ledger.status().failure).toBe('the disk is read-only')
    expect(await codeOf(buffer.accept(tasks, accepted([task('a')])))).toBe('JOURNAL_UNAVAILABLE')
    ledger.use(journal!, journal!.open())
    expect(ledger.status().failure).toBeNull()
    await buffer.accept(tasks, accepted([task('a')]))
    expect(buffer.status().rows).toBe(1)
  })

  test('goes on with the counts and the ids of the life before, also those of unknown collections', async () => {
    const known = { ...emptyCounts(), accepted: 10, stored: 7, voided: 2 }
    const strange = { ...emptyCounts(), accepted: 4, stored: 3 }
    const records = [
      { id: 41, collection: tasks.name, row: task('a'), acceptedAtMs: 5, replayed: false },
      { id: 40, collection: 'strange', row: task('z'), acceptedAtMs: 5, replayed: false },
    ]
    const journal = createMemoryJournal('own', {
      records,
      state: { ...FIRST_STATE, counts: { [tasks.name]: known, strange } },
      faults: ['a page was unreadable'],
    })
    const under = createBufferUnderTest({ journal })
    under.buffer.reload(tasks, [records[0]!])
    expect(under.ledger.status().faults).toEqual(['a page was unreadable'])
    expect(under.imbalance()).toBe(0)
    await under.buffer.accept(tasks, accepted([task('b')]))
    expect([...journal.records.keys()].toSorted()).toEqual([40, 41, 42])
    expect(journal.state().counts).toMatchObject({ [tasks.name]: { accepted: 11 }, strange })
    expect(journal.violations).toEqual([])
  })

  /** A buffer that so many rows wait in, with its timer; each record counts as a megabyte. */
  async function peakOf(rows: number) {
    const under = createBufferUnderTest()
    under.buffer.start()
    await under.buffer.accept(tasks, accepted(Array.from({ length: rows }, (_, n) => task(`t-${n}`))))
    return under
  }
  async function ticks(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      jest.advanceTimersByTime(30_000)
      await settle()
    }
  }

  test('gives the room of a peak back once it is empty, and nothing was written for a while', async () => {
    const under = await peakOf(70)
    const { buffer, journal, ledger, store } = under
    await ticks(4)
    expect(journal!.shrinks()).toBe(0)
    store.open()
    await buffer.flush()
    expect(buffer.status().rows).toBe(0)
    await ticks(1)
    expect(journal!.shrinks()).toBe(0) // a moment ago it was written to
    await ticks(1)
    expect([journal!.shrinks(), ledger.status().sizeBytes]).toEqual([1, 0])
    await ticks(3)
    expect(journal!.shrinks()).toBe(1)
    await buffer.accept(tasks, accepted([task('a')]))
    expectJournalled(under)
    buffer.stop()
  })

  test('keeps the room that it uses every day', async () => {
    const { buffer, journal, store } = await peakOf(50)
    store.open()
    await buffer.flush()
    await ticks(4)
    expect([buffer.status().rows, journal!.shrinks()]).toEqual([0, 0])
    buffer.stop()
  })

  test('that is closed was given what was owed, and takes nothing more', async () => {
    const { buffer, ledger, journal, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a')]))
    store.open()
    journal!.plan('full')
    await buffer.flush()
    expect(journal!.records.size).toBe(1)
    const last = codeOf(buffer.accept(tasks, accepted([task('b')])))
    ledger.close()
    expect(await last).toBe('accepted')
    expect([...journal!.records.values()].map(({ row }) => row.key[1])).toEqual(['b'])
    expect(journal!.isOpen()).toBe(false)
    expect(await codeOf(buffer.accept(tasks, accepted([task('c')])))).toBe('JOURNAL_UNAVAILABLE')
    await settle()
    expect(buffer.status().rows).toBe(1)
  })
})
