import { describe, expect, test } from 'bun:test'
import { createCapacity } from '../../src/buffer/capacity.ts'
import { AppError } from '../../src/lib/errors.ts'

const rows = (count: number, bytes = 1) => Array.from({ length: count }, () => ({ bytes }))

function setUp({ max_rows = 100, max_bytes = 1_000_000 } = {}) {
  const held = { rows: 0, bytes: 0 }
  let full = 0
  const capacity = createCapacity({
    config: { max_rows, max_bytes },
    held: () => ({ ...held }),
    onFull: () => void full++,
  })
  /** The code and Retry-After of a refusal; null where there is room. */
  const refusal = (count: number, bytes = 1): [code: string, retryAfter: string | undefined] | null => {
    try {
      capacity.reserve(rows(count, bytes))()
      return null
    } catch (error) {
      if (!(error instanceof AppError)) throw error
      return [error.code, error.headers['Retry-After']]
    }
  }
  return { held, capacity, refusal, timesFull: () => full }
}

describe('the hard limit', () => {
  test('refuses from the limit on until 80 % of it are left, and then takes up to the limit again', () => {
    const { held, capacity, refusal, timesFull } = setUp()
    held.rows = 99
    expect(refusal(1)).toBeNull()
    expect([capacity.full(), timesFull()]).toEqual([false, 0])
    expect(refusal(2)?.[0]).toBe('BUFFER_FULL')
    expect([capacity.full(), timesFull()]).toEqual([true, 1])
    for (const left of [99, 90, 81]) {
      held.rows = left
      expect(refusal(1)?.[0], `${left} rows`).toBe('BUFFER_FULL')
    }
    held.rows = 80
    expect(refusal(20)).toBeNull()
    expect(capacity.full()).toBe(false)
    held.rows = 95
    expect(refusal(5)).toBeNull()
  })

  test('of bytes likewise', () => {
    const { held, refusal } = setUp({ max_bytes: 1000 })
    held.rows = 1
    held.bytes = 900
    expect(refusal(1, 100)).toBeNull()
    expect(refusal(1, 101)?.[0]).toBe('BUFFER_FULL')
    held.bytes = 801
    expect(refusal(1, 1)?.[0]).toBe('BUFFER_FULL')
    held.bytes = 800
    expect(refusal(1, 200)).toBeNull()
  })

  test('is over as soon as it has drained, though nobody has asked since', () => {
    const { held, capacity, refusal } = setUp()
    held.rows = 100
    refusal(1)
    held.rows = 81
    expect(capacity.full()).toBe(true)
    held.rows = 80
    expect(capacity.full()).toBe(false)
  })

  test('counts what requests of the same turn have reserved, and gives it back once', () => {
    const { held, capacity, refusal } = setUp()
    held.rows = 50
    const first = capacity.reserve(rows(30))
    const second = capacity.reserve(rows(20))
    expect(capacity.room()).toBe(0)
    expect(refusal(1)?.[0]).toBe('BUFFER_FULL')
    first()
    first()
    // 70 are left, though the flag was up.
    expect(capacity.room()).toBe(10)
    expect(refusal(30)).toBeNull()
    expect(refusal(31)?.[0]).toBe('BUFFER_FULL')
    second()
    expect(capacity.room()).toBe(30)
  })

  test('counts reserved bytes too', () => {
    const { capacity, refusal } = setUp({ max_bytes: 1000 })
    const release = capacity.reserve(rows(2, 450))
    expect(refusal(1, 101)?.[0]).toBe('BUFFER_FULL')
    release()
    expect(refusal(1, 1000)).toBeNull()
  })

  test('refuses for good, and without being full, what it could never hold', () => {
    const { capacity, refusal } = setUp({ max_bytes: 1000 })
    expect(refusal(101)).toEqual(['PAYLOAD_TOO_LARGE', undefined])
    expect(refusal(2, 501)).toEqual(['PAYLOAD_TOO_LARGE', undefined])
    expect(capacity.full()).toBe(false)
    expect(refusal(100)).toBeNull()
  })

  test('leaves room below its lower mark, never less than none', () => {
    const { held, capacity } = setUp()
    expect(capacity.room()).toBe(80)
    held.rows = 79
    expect(capacity.room()).toBe(1)
    held.rows = 100
    expect(capacity.room()).toBe(0)
  })
})

describe('Retry-After', () => {
  test('is 5 s while no flush has told how fast it goes', () => {
    const { held, refusal } = setUp()
    held.rows = 100
    expect(refusal(1)).toEqual(['BUFFER_FULL', '5'])
  })

  test('is the time until rows are taken again at the rate of recent flushes of all collections', () => {
    const { held, capacity, refusal } = setUp({ max_rows: 10_000 })
    held.rows = 10_000
    capacity.observe('tasks', 150, 1000)
    capacity.observe('sessions', 50, 1000)
    expect(refusal(1)?.[1]).toBe('10') // 2000 rows at 200 a second
    held.rows = 9000
    expect(refusal(1)?.[1]).toBe('5')
  })

  test('follows the newest flush, and not at once; one that stored nothing tells nothing', () => {
    const { capacity } = setUp()
    capacity.observe('tasks', 100, 1000)
    capacity.observe('tasks', 0, 60_000)
    expect(capacity.drainRate('tasks')).toBe(100)
    capacity.observe('tasks', 200, 1000)
    expect(capacity.drainRate('tasks')).toBeCloseTo(130)
    expect(capacity.drainRate('sessions')).toBe(0)
  })

  test('is one second at least, and a minute at most', () => {
    const { held, capacity, refusal } = setUp()
    held.rows = 100
    capacity.observe('tasks', 1, 1_000_000)
    expect(refusal(1)?.[1]).toBe('60')
    for (let n = 0; n < 50; n++) capacity.observe('tasks', 1_000_000, 1)
    expect(refusal(1)?.[1]).toBe('1')
  })

  test('of bytes that are too many is that of the rows that have them', () => {
    const { held, capacity, refusal } = setUp({ max_rows: 10_000, max_bytes: 1000 })
    capacity.observe('tasks', 1, 1000)
    held.rows = 100
    held.bytes = 1000
    expect(refusal(1)?.[1]).toBe('20') // 200 bytes too many, of 10 a row
  })
})
