import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import type { AcceptedRow, WriteBuffer } from '../../src/buffer/write_buffer.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { AppError } from '../../src/lib/errors.ts'
import { accepted, createBufferUnderTest, settle } from '../support/contract_gates.ts'
import { fullRow, rowWith, stampOf } from '../support/contract_rows.ts'

const rows = (count: number, from = 0) =>
  Array.from({ length: count }, (_, n) => fullRow(tasks, ['s', `t-${from + n}`], { n }))

/** Time goes on, and with it all that was due. */
async function pass(ms: number): Promise<void> {
  jest.advanceTimersByTime(ms)
  await settle()
}

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

describe('a flush begins by itself', () => {
  test('at so many rows of one collection, after the answer, and not before', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { max_buffer_size: 10 } })
    await buffer.accept(tasks, accepted(rows(9)))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    await pass(1000)
    expect(store.writes.length).toBe(0)
    await buffer.accept(tasks, accepted(rows(1, 9)))
    expect(store.writes.length).toBe(0)
    await pass(1)
    expect(store.writes.map(({ length }) => length)).toEqual([10])
    expect(store.pending[0]!.collection).toBe(tasks.name)
  })

  test('at so many bytes of one collection', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { flush_bytes: 1000 } })
    await buffer.accept(tasks, accepted(rows(2), 499))
    await pass(1000)
    expect(store.writes.length).toBe(0)
    await buffer.accept(tasks, accepted(rows(1, 2), 2))
    await pass(1)
    expect(store.writes.map(({ length }) => length)).toEqual([3])
  })

  test('every so many seconds, for all collections, once the timer is started', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { flush_interval: 30 } })
    await buffer.accept(tasks, accepted(rows(1)))
    await buffer.accept(sessions, accepted([fullRow(sessions, ['s'])]))
    await pass(60_000)
    expect(store.writes.length).toBe(0)
    buffer.start()
    buffer.start()
    await pass(29_999)
    expect(store.writes.length).toBe(0)
    await pass(1)
    expect(store.writes.length).toBe(2)
    store.open()
    await settle()
    await buffer.accept(tasks, accepted(rows(1)))
    await pass(30_000)
    expect(store.writes.length).toBe(3)
    buffer.stop()
    await buffer.accept(tasks, accepted(rows(1)))
    await pass(60_000)
    expect(store.writes.length).toBe(3)
  })

  test('when it is asked for soon', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted(rows(1)))
    buffer.flushSoon()
    expect(store.writes.length).toBe(0)
    await pass(1)
    expect(store.writes.length).toBe(1)
  })

  test('once, however much arrives while it runs; what arrived goes with the next', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { max_buffer_size: 5, max_batch_rows: 100 } })
    for (let n = 0; n < 50; n += 5) {
      await buffer.accept(tasks, accepted(rows(5, n)))
      await pass(1)
    }
    expect(store.writes.map(({ length }) => length)).toEqual([5])
    store.pending[0]!.store()
    await settle()
    expect(store.mostAtOnce()).toBe(1)
    store.open()
    await settle()
    expect(store.stored.size).toBe(50)
    expect(buffer.status().rows).toBe(0)
  })

  test('for the rows that merged no more than for those that are there', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { max_buffer_size: 3 } })
    for (let n = 0; n < 20; n++) await buffer.accept(tasks, accepted(rows(2)))
    await pass(1000)
    expect(store.writes.length).toBe(0)
  })
})

describe('past the hard limit', () => {
  async function refusalOf(buffer: WriteBuffer, batch: readonly AcceptedRow[]): Promise<AppError | null> {
    try {
      await buffer.accept(tasks, batch)
      return null
    } catch (error) {
      if (error instanceof AppError) return error
      throw error
    }
  }

  test('of rows a batch is refused whole, and nothing of it is held', async () => {
    const under = createBufferUnderTest({ config: { max_rows: 100 } })
    expect(await refusalOf(under.buffer, accepted(rows(100)))).toBeNull()
    const refusal = await refusalOf(under.buffer, accepted(rows(2, 100)))
    expect(refusal).toMatchObject({ code: 'BUFFER_FULL' })
    expect(Number(refusal!.headers['Retry-After'])).toBeGreaterThanOrEqual(1)
    expect(Number(refusal!.headers['Retry-After'])).toBeLessThanOrEqual(60)
    expect(under.buffer.status()).toMatchObject({ rows: 100, capacityRows: 100, full: true })
    expect(under.told.accepted).toBe(100)
    expect(under.imbalance()).toBe(0)
  })

  test('of bytes likewise', async () => {
    const { buffer } = createBufferUnderTest({ config: { max_bytes: 1000, flush_bytes: 1000 } })
    expect(await refusalOf(buffer, accepted(rows(2), 400))).toBeNull()
    expect(await refusalOf(buffer, accepted(rows(1, 2), 201))).not.toBeNull()
    expect(buffer.status()).toMatchObject({ rows: 2, bytes: 800 })
  })

  test('it counts what a flush under way has not stored yet, and all collections together', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { max_rows: 100 } })
    await buffer.accept(tasks, accepted(rows(90)))
    const flush = buffer.flush([tasks])
    await settle()
    await buffer.accept(
      sessions,
      accepted(Array.from({ length: 10 }, (_, n) => fullRow(sessions, [`s-${n}`]))),
    )
    expect(await refusalOf(buffer, accepted(rows(1, 90)))).not.toBeNull()
    store.open()
    await flush
    expect(await refusalOf(buffer, accepted(rows(1, 90)))).toBeNull()
  })

  test('rows are taken again only below 80 % of it', async () => {
    const { buffer, store } = createBufferUnderTest({
      config: { max_rows: 100, max_buffer_size: 10, min_batch_rows: 10, max_batch_rows: 10 },
    })
    await buffer.accept(tasks, accepted(rows(100)))
    expect(await refusalOf(buffer, accepted(rows(1, 100)))).not.toBeNull()
    const flush = buffer.flush([tasks])
    await settle()
    store.pending[0]!.store()
    await settle()
    expect(buffer.status().rows).toBe(90)
    expect(await refusalOf(buffer, accepted(rows(1, 100)))).not.toBeNull()
    store.pending[0]!.store()
    await settle()
    store.pending[0]!.store()
    await settle()
    expect(buffer.status().rows).toBe(70)
    expect(await refusalOf(buffer, accepted(rows(1, 100)))).toBeNull()
    expect(buffer.status().full).toBe(false)
    // And from then on up to the limit itself.
    expect(await refusalOf(buffer, accepted(rows(29, 101)))).toBeNull()
    expect(buffer.status().rows).toBe(100)
    store.open()
    await flush
  })

  test('a batch of more than 80 % of it is taken again once there is room for all of it', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { max_rows: 100 } })
    await buffer.accept(tasks, accepted(rows(100)))
    expect(await refusalOf(buffer, accepted(rows(90, 100)))).not.toBeNull()
    store.open()
    await buffer.flush()
    expect(buffer.status().rows).toBe(0)
    expect(await refusalOf(buffer, accepted(rows(90, 100)))).toBeNull()
  })

  test('the time to come back is measured: what is too much, at the rate of the last flushes', async () => {
    const { buffer, store } = createBufferUnderTest({ config: { max_rows: 1000 } })
    await buffer.accept(tasks, accepted(rows(1000)))
    const unknown = await refusalOf(buffer, accepted(rows(1, 1000)))
    expect(Number(unknown!.headers['Retry-After'])).toBe(5)
    const flush = buffer.flush([tasks])
    await settle()
    // 1000 rows in 50 s are 20 a second.
    jest.advanceTimersByTime(50_000)
    store.pending[0]!.store()
    await settle()
    await flush
    await buffer.accept(tasks, accepted(rows(1000)).slice(0, 800))
    await buffer.accept(tasks, accepted(rows(200, 800)))
    const measured = await refusalOf(buffer, accepted(rows(1, 1000)))
    // 200 rows above 80 %.
    expect(Number(measured!.headers['Retry-After'])).toBe(10)
  })
})

describe('bytes', () => {
  test('are those of the rows that are held, whatever becomes of them', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted(rows(10), 100))
    expect(buffer.status().bytes).toBe(1000)
    const flush = buffer.flush([tasks])
    await settle()
    await buffer.accept(tasks, accepted(rows(5, 20), 100))
    expect(buffer.status().bytes).toBe(1500)
    store.pending[0]!.fail()
    await flush
    expect(buffer.status().bytes).toBe(1500)
    store.open()
    await buffer.flush()
    expect(buffer.status().bytes).toBe(0)
    buffer.stop()
  })

  test('of a row that grew by merging are never less than its fields need', async () => {
    const { buffer } = createBufferUnderTest()
    const text = 'x'.repeat(1000)
    const fields = ['source_text', 'target_text', 'context', 'error_message']
    for (const [n, name] of fields.entries()) {
      await buffer.accept(tasks, accepted([rowWith(tasks, ['s', 'a'], { [name]: text }, stampOf(n))], 2000))
    }
    expect(buffer.status().rows).toBe(1)
    expect(buffer.status().bytes).toBeGreaterThanOrEqual(fields.length * 2 * text.length)
  })

  test('of a row that is written over and over do not grow', async () => {
    const { buffer } = createBufferUnderTest()
    for (let n = 0; n < 100; n++) {
      const row = rowWith(tasks, ['s', 'a'], { source_text: 'x'.repeat(1000) }, stampOf(n))
      await buffer.accept(tasks, accepted([row], 2320))
    }
    expect(buffer.status().bytes).toBeLessThan(10_000)
  })
})

describe('the age of the oldest row', () => {
  const oldest = (buffer: WriteBuffer) => buffer.status().collections[1]!.oldestAtMs

  test('is that of what is not stored yet', async () => {
    const { buffer, store, clock } = createBufferUnderTest()
    const start = clock.nowMs
    expect(oldest(buffer)).toBeNull()
    await buffer.accept(tasks, accepted(rows(1)))
    clock.nowMs += 1000
    await buffer.accept(tasks, accepted(rows(1, 1)))
    expect(oldest(buffer)).toBe(start)
    const flush = buffer.flush([tasks])
    await settle()
    clock.nowMs += 1000
    await buffer.accept(tasks, accepted(rows(1, 2)))
    expect(oldest(buffer)).toBe(start)
    store.pending[0]!.store()
    await flush
    expect(oldest(buffer)).toBe(start + 2000)
    store.open()
    await buffer.flush()
    expect(oldest(buffer)).toBeNull()
  })

  test('survives a flush that failed, and a row that was merged', async () => {
    const { buffer, store, clock } = createBufferUnderTest()
    const start = clock.nowMs
    await buffer.accept(tasks, accepted(rows(1)))
    const flush = buffer.flush([tasks])
    await settle()
    clock.nowMs += 5000
    await buffer.accept(tasks, accepted(rows(1)))
    store.pending[0]!.fail()
    await flush
    expect(oldest(buffer)).toBe(start)
    buffer.stop()
  })

  test('is none when a delete has voided everything', async () => {
    const { buffer } = createBufferUnderTest()
    await buffer.accept(tasks, accepted(rows(3)))
    await buffer.erase(tasks, 's', stampOf(100))
    expect(buffer.status().rows).toBe(0)
    expect(oldest(buffer)).toBeNull()
  })
})
