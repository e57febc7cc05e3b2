import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import fc from 'fast-check'
import { createBackoff, withDeadline } from '../../src/lib/retry.ts'

describe('the waits between attempts', () => {
  test('double up to a ceiling, with jitter in their upper half', () => {
    const fractions = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
    fc.assert(
      fc.property(fc.array(fractions, { minLength: 1, maxLength: 50 }), (jitter) => {
        let n = 0
        const backoff = createBackoff({ baseMs: 100, maxMs: 10_000, random: () => jitter[n]! })
        for (; n < jitter.length; n++) {
          const ceiling = Math.min(10_000, 100 * 2 ** n)
          const waitMs = backoff.nextMs()
          expect(Number.isInteger(waitMs)).toBe(true)
          expect(waitMs).toBeGreaterThanOrEqual(ceiling / 2)
          expect(waitMs).toBeLessThanOrEqual(ceiling)
        }
      }),
    )
  })

  test('begin anew after a success', () => {
    const backoff = createBackoff({ baseMs: 100, maxMs: 10_000, random: () => 0 })
    expect([backoff.nextMs(), backoff.nextMs(), backoff.nextMs()]).toEqual([50, 100, 200])
    backoff.reset()
    expect(backoff.nextMs()).toBe(50)
  })

  test('never end, and never overflow', () => {
    const backoff = createBackoff({ baseMs: 1, maxMs: 1000 })
    for (let n = 0; n < 5000; n++) expect(backoff.nextMs()).toBeLessThanOrEqual(1000)
  })
})

describe('a deadline', () => {
  beforeEach(() => void jest.useFakeTimers())
  afterEach(() => void jest.useRealTimers())
  const late = () => new RangeError('too late')

  test('lets through what is in time, be it an answer or a failure', async () => {
    expect(await withDeadline(Promise.resolve(7), 100, late)).toBe(7)
    const failure = new TypeError('its own')
    expect(await withDeadline(Promise.reject(failure), 100, late).catch((error) => error)).toBe(failure)
    expect(jest.getTimerCount()).toBe(0)
  })

  test('rejects what is not, and the late end of it hurts nobody', async () => {
    const { promise, reject } = Promise.withResolvers<number>()
    const bounded = withDeadline(promise, 100, late).catch((error) => error)
    jest.advanceTimersByTime(99)
    jest.advanceTimersByTime(1)
    expect(await bounded).toBeInstanceOf(RangeError)
    reject(new Error('later'))
    await Promise.resolve()
    expect(jest.getTimerCount()).toBe(0)
  })
})
