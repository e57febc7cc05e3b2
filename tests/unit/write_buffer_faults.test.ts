import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import { BackendError } from '../../src/backends/backend.ts'
import type { WriteBuffer } from '../../src/buffer/write_buffer.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { accepted, createBufferUnderTest, outage, settle } from '../support/contract_gates.ts'
import { fullRow, stampOf } from '../support/contract_rows.ts'

const task = (id: string, n = 1) => fullRow(tasks, ['s', id], { n, stamp: stampOf(n) })
const batch = (count: number) => accepted(Array.from({ length: count }, (_, n) => task(`t-${n}`)))

async function pass(ms: number): Promise<void> {
  jest.advanceTimersByTime(ms)
  await settle()
}

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

describe('a flush that failed', () => {
  test('is tried again by itself, later and later, for ever, until it works', async () => {
    const under = createBufferUnderTest()
    const { buffer, store } = under
    await buffer.accept(tasks, batch(3))
    buffer.flushSoon()
    await pass(1)
    const waits: number[] = []
    for (let attempt = 0; attempt < 12; attempt++) {
      store.pending[0]!.fail()
      await settle()
      let waitedMs = 0
      while (store.pending.length === 0) {
        await pass(5)
        waitedMs += 5
        expect(waitedMs).toBeLessThan(16_000)
      }
      waits.push(waitedMs)
    }
    for (const [n, waitedMs] of waits.entries()) {
      const ceiling = Math.min(15_000, 250 * 2 ** n)
      expect(waitedMs).toBeGreaterThanOrEqual(ceiling / 2)
      expect(waitedMs).toBeLessThanOrEqual(ceiling + 5)
    }
    expect(buffer.status().rows).toBe(3)
    store.open()
    await settle()
    expect(buffer.status().rows).toBe(0)
    expect(under.told).toMatchObject({ accepted: 3, stored: 3, merged: 0 })
    // What fails next is tried again soon: the waits have begun anew.
    store.close()
    await buffer.accept(tasks, batch(1))
    buffer.flushSoon()
    await pass(1)
    store.pending[0]!.fail()
    await settle()
    await pass(250)
    expect(store.pending.length).toBe(1)
  })

  test('says so once an attempt, and is not tried by every batch that comes meanwhile', async () => {
    const { buffer, store, logs } = createBufferUnderTest({ config: { max_buffer_size: 2 } })
    await buffer.accept(tasks, batch(2))
    await pass(1)
    store.pending[0]!.fail()
    await settle()
    for (let n = 0; n < 20; n++) {
      await buffer.accept(tasks, accepted([task(`more-${n}`)]))
      await pass(1)
    }
    expect(store.writes.length).toBe(1)
    expect(logs.filter(({ message }) => message === 'flush failed, rows are kept').length).toBe(1)
    buffer.stop()
  })

  test('is told as long as its rows are there, not when a delete has left nothing to store', async () => {
    const { buffer, store } = createBufferUnderTest()
    const failures = () => buffer.status().collections.flatMap(({ failure }) => failure ?? [])
    await buffer.accept(tasks, batch(2))
    buffer.flushSoon()
    await pass(1)
    store.pending[0]!.fail()
    await settle()
    expect(failures().length).toBe(1)
    await buffer.erase(tasks, 's', stampOf(99))
    expect(buffer.status().rows).toBe(0)
    expect(failures()).toEqual([])
    buffer.stop()
  })

  test('is tried at once when the backend is up again', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(1))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    const flush = buffer.flush()
    await settle()
    for (const one of [...store.pending]) one.fail()
    await flush
    buffer.retryNow()
    await settle()
    expect(store.pending.length).toBe(2)
    store.open()
    await settle()
    expect(buffer.status().rows).toBe(0)
    // The retry that was due is off: there is nothing left for it.
    await pass(60_000)
    expect(store.writes.length).toBe(4)
  })

  test('of one collection does not keep the other', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(1))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    const flush = buffer.flush()
    await settle()
    const of = (name: string) => store.pending.find(({ collection }) => collection === name)!
    of(tasks.name).fail()
    of(sessions.name).store()
    const reports = await flush
    expect(reports.get(sessions.name)).toEqual({ written: 1, refused: 0, failure: null })
    expect(reports.get(tasks.name)?.failure).toBeInstanceOf(BackendError)
    buffer.stop()
  })

  test('is tried no more once the buffer is stopped', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(1))
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.fail()
    await flush
    buffer.stop()
    await pass(120_000)
    expect(store.writes.length).toBe(1)
    expect(buffer.status().rows).toBe(1)
  })

  test('on request works at once, also while a retry is due', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(1))
    const first = buffer.flush([tasks])
    await settle()
    store.pending[0]!.fail()
    await first
    const second = buffer.flush([tasks])
    await settle()
    store.pending[0]!.store()
    expect((await second).get(tasks.name)).toMatchObject({ written: 1, failure: null })
    await pass(60_000)
    expect(store.writes.length).toBe(2)
  })
})

describe('rows that the store refuses', () => {
  test('go to the dead letters, with the reason, and block no other', async () => {
    const under = createBufferUnderTest()
    const { buffer, store, letters } = under
    await buffer.accept(tasks, batch(5))
    const flush = buffer.flush([tasks])
    await settle()
    const bad = store.pending[0]!.rows.slice(1, 3)
    store.pending[0]!.store([1, 2])
    expect((await flush).get(tasks.name)).toEqual({ written: 3, refused: 2, failure: null })
    expect(letters).toEqual(
      bad.map((row) => ({ collection: tasks.name, row, code: '1406', reason: 'refused' })),
    )
    expect(buffer.status().rows).toBe(0)
    expect(under.told).toMatchObject({ accepted: 5, stored: 3, dead_lettered: 2 })
    expect(under.imbalance()).toBe(0)
  })

  test('are remembered with their stamp, so that whoever waits is told', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a', 5)]))
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.store([0])
    await flush
    expect(buffer.refusalOf(tasks, ['s', 'a'], stampOf(5))).toBe('refused')
    expect(buffer.refusalOf(tasks, ['s', 'a'], stampOf(4))).toBeDefined()
    expect(buffer.refusalOf(tasks, ['s', 'a'], stampOf(6))).toBeUndefined()
    expect(buffer.refusalOf(tasks, ['s', 'b'], stampOf(5))).toBeUndefined()
    expect(buffer.refusalOf(sessions, ['s'], stampOf(5))).toBeUndefined()
  })

  test('are kept, with their whole chunk, while the dead letters cannot be written', async () => {
    const under = createBufferUnderTest()
    const { buffer, store, letters } = under
    under.refuseLetters(outage())
    await buffer.accept(tasks, batch(4))
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.store([2])
    const report = (await flush).get(tasks.name)!
    expect(report.failure).toBeInstanceOf(BackendError)
    expect(buffer.status().rows).toBe(4)
    expect(under.imbalance()).toBe(0)
    expect(letters).toEqual([])
    under.refuseLetters(null)
    buffer.retryNow()
    await settle()
    store.pending[0]!.store([2])
    await settle()
    expect(letters.length).toBe(1)
    expect(buffer.status().rows).toBe(0)
    expect(under.told).toMatchObject({ accepted: 4, stored: 3, dead_lettered: 1 })
    expect(under.imbalance()).toBe(0)
  })

  test('are named in the log, ten of a chunk at most', async () => {
    const { buffer, store, logs } = createBufferUnderTest()
    await buffer.accept(tasks, batch(30))
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.store(Array.from({ length: 30 }, (_, n) => n))
    await flush
    expect(logs.filter(({ level }) => level === 'error').length).toBe(10)
  })
})

describe('a drain', () => {
  /** Begins a drain, and tells how it ended once it has. */
  function begin(buffer: WriteBuffer, timeoutMs: number): { ended?: number | Error } {
    const outcome: { ended?: number | Error } = {}
    buffer.drain(timeoutMs).then(
      (rows) => {
        outcome.ended = rows
      },
      (error: Error) => {
        outcome.ended = error
      },
    )
    return outcome
  }

  async function passUntil(condition: () => boolean, limitMs: number): Promise<void> {
    for (let waitedMs = 0; !condition(); waitedMs += 50) {
      expect(waitedMs).toBeLessThan(limitMs)
      await pass(50)
    }
  }

  test('stores everything, and answers that nothing is left', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(5))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    store.open()
    expect(await buffer.drain(1000)).toBe(0)
    expect(store.stored.size).toBe(6)
    expect(await buffer.drain(1000)).toBe(0)
  })

  test('stores also what arrives while it runs', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(1))
    const drain = begin(buffer, 10_000)
    await settle()
    await buffer.accept(tasks, accepted([task('late')]))
    store.open()
    await passUntil(() => drain.ended !== undefined, 1000)
    expect(drain.ended).toBe(0)
    expect(store.stored.has('s/late')).toBe(true)
  })

  test('tries again while there is time, and stores what it can when the backend is back', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(3))
    const drain = begin(buffer, 20_000)
    for (let attempt = 0; attempt < 4; attempt++) {
      await passUntil(() => store.pending.length > 0, 3000)
      store.pending[0]!.fail()
      await settle()
    }
    store.open()
    await passUntil(() => drain.ended !== undefined, 3000)
    expect(drain.ended).toBe(0)
    buffer.stop()
  })

  test('ends at its deadline with the rows that are left, while the backend is down', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(3))
    const drain = begin(buffer, 5000)
    for (let waitedMs = 0; waitedMs < 5000; waitedMs += 20) {
      await settle()
      store.pending[0]?.fail()
      await settle()
      expect(drain.ended).toBeUndefined()
      await pass(20)
    }
    await pass(100)
    expect(drain.ended).toBe(3)
    buffer.stop()
  })

  test('ends at its deadline while a statement hangs', async () => {
    const { buffer } = createBufferUnderTest()
    await buffer.accept(tasks, batch(2))
    const drain = begin(buffer, 3000)
    await pass(2990)
    expect(drain.ended).toBeUndefined()
    await passUntil(() => drain.ended !== undefined, 200)
    expect(drain.ended).toBe(2)
  })

  test('goes on, and ends, when a flush breaks by a fault of ours', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, batch(2))
    const drain = begin(buffer, 5000)
    await settle()
    store.pending[0]!.fail(new TypeError('a fault of ours'))
    store.open()
    await passUntil(() => drain.ended !== undefined, 5000)
    expect(drain.ended).toBe(0)
  })
})
