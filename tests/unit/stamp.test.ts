import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { createStampSource } from '../../src/buffer/stamp_source.ts'
import {
  ABSENT,
  laterOf,
  MAX_INSTANCE_NUMBER,
  makeStamp,
  STAMP_BYTES,
  stampHex,
  stampMs,
} from '../../src/collections/stamp.ts'
import { uuidv7 } from '../../src/lib/ids.ts'

const MAX_MS = 2 ** 42 - 1
const MAX_COUNTER = 4095
const parts = fc.tuple(fc.nat(MAX_MS), fc.nat(MAX_COUNTER), fc.nat(MAX_INSTANCE_NUMBER))

describe('a stamp', () => {
  test('is ordered by time, then counter, then instance, as a number and as bytes', () => {
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const [x, y] = [makeStamp(...a), makeStamp(...b)]
        const order = a[0] - b[0] || a[1] - b[1] || a[2] - b[2]
        expect(x < y).toBe(order < 0)
        expect(x === y).toBe(order === 0)
        expect(stampHex(x) < stampHex(y)).toBe(order < 0)
        expect(laterOf(x, y)).toBe(order < 0 ? y : x)
      }),
    )
  })

  test('gives its milliseconds back, and takes 8 bytes', () => {
    fc.assert(
      fc.property(parts, (part) => {
        const stamp = makeStamp(...part)
        expect(stampMs(stamp)).toBe(part[0])
        expect(stampHex(stamp).length).toBe(STAMP_BYTES * 2)
        expect(BigInt(`0x${stampHex(stamp)}`)).toBe(stamp)
        expect(stamp < 2n ** 64n).toBe(true)
      }),
    )
  })

  test('is never the absent one, once time has begun', () => {
    expect(makeStamp(0, 0, 0)).toBe(ABSENT)
    expect(makeStamp(0, 0, 1) > ABSENT).toBe(true)
    expect(stampHex(ABSENT)).toBe('0'.repeat(16))
  })

  test('has room for the year 2109', () => {
    expect(stampMs(makeStamp(Date.UTC(2109, 0, 1), 0, 0))).toBe(Date.UTC(2109, 0, 1))
  })
})

describe('the stamps of one instance', () => {
  const sourceAt = (nowMs: number, instance = 7) => {
    const clock = { nowMs }
    const source = createStampSource({ clock: { nowMs: () => clock.nowMs }, instanceNumber: () => instance })
    return { clock, source }
  }

  test('grow, whatever the clock does and whatever is observed', () => {
    const action = fc.oneof(
      fc.constant('next' as const),
      fc.record({ clockMs: fc.integer({ min: -5000, max: 5000 }) }),
      fc.record({
        seenMs: fc.oneof(fc.constant(0), fc.integer({ min: -5000, max: 5000 })),
        counter: fc.oneof(fc.nat(3), fc.nat(MAX_COUNTER)),
      }),
    )
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const { clock, source } = sourceAt(1_000_000)
        let last = ABSENT
        for (const one of actions) {
          if (one === 'next') {
            const stamp = source.next()
            expect(stamp > last).toBe(true)
            last = stamp
          } else if ('clockMs' in one) clock.nowMs += one.clockMs
          else {
            const seen = makeStamp(Math.max(0, clock.nowMs + one.seenMs), one.counter, MAX_INSTANCE_NUMBER)
            source.observe(seen)
            last = laterOf(last, seen)
          }
        }
      }),
    )
  })

  test('carry the time and the number of the instance', () => {
    const { source } = sourceAt(123_456, 42)
    const stamp = source.next()
    expect(stampMs(stamp)).toBe(123_456)
    expect(stamp & 0x3ffn).toBe(42n)
  })

  test('go into the next millisecond when one has no more of them', () => {
    const { source } = sourceAt(1000)
    const stamps = Array.from({ length: 10_000 }, () => source.next())
    expect(new Set(stamps).size).toBe(10_000)
    expect(stamps.every((stamp, i) => i === 0 || stamp > stamps[i - 1]!)).toBe(true)
    expect(stampMs(stamps.at(-1)!)).toBe(1002)
  })

  test('go on from a stamp of the same millisecond, and not back to one', () => {
    const { source } = sourceAt(1000)
    for (let n = 0; n < 10; n++) source.next()
    source.observe(makeStamp(1000, 3, 9))
    expect(source.next()).toBe(makeStamp(1000, 10, 7))
    source.observe(makeStamp(1000, 20, 9))
    expect(source.next()).toBe(makeStamp(1000, 21, 7))
    source.observe(makeStamp(1000, MAX_COUNTER, 9))
    expect(source.next()).toBe(makeStamp(1001, 0, 7))
  })

  test('do not follow a stamp that is more than a minute ahead', () => {
    const { clock, source } = sourceAt(1_000_000)
    source.observe(makeStamp(clock.nowMs + 60_000, 5, 1))
    expect(stampMs(source.next())).toBe(clock.nowMs + 60_000)
    source.observe(makeStamp(clock.nowMs + 60_001, 5, 1))
    expect(stampMs(source.next())).toBe(clock.nowMs + 60_000)
    source.observe(makeStamp(MAX_MS, MAX_COUNTER, 1))
    expect(stampMs(source.next())).toBe(clock.nowMs + 60_000)
  })

  test('go on above the high-water mark of a life before, whatever the clock says now', () => {
    const marks = fc.tuple(
      fc.nat(2_000_000),
      fc.oneof(fc.nat(3), fc.nat(MAX_COUNTER)),
      fc.nat(MAX_INSTANCE_NUMBER),
    )
    fc.assert(
      fc.property(marks, fc.nat(2_000_000), fc.nat(20), (mark, nowMs, taken) => {
        const { source } = sourceAt(nowMs, 0)
        for (let n = 0; n < taken; n++) source.next()
        source.resume(makeStamp(...mark))
        expect(source.next() > makeStamp(...mark)).toBe(true)
      }),
    )
    // Also one that is further ahead than what is met in a row may be.
    const { source } = sourceAt(1000)
    source.resume(makeStamp(10_000_000, 5, 3))
    expect(source.next()).toBe(makeStamp(10_000_000, 6, 7))
  })

  test('are at or below the last one, which a later life goes on from', () => {
    const { clock, source } = sourceAt(1_000_000, MAX_INSTANCE_NUMBER)
    expect(source.last()).toBe(makeStamp(0, 0, MAX_INSTANCE_NUMBER))
    const given = Array.from({ length: 5000 }, () => source.next())
    expect(source.last() >= given.at(-1)!).toBe(true)
    source.observe(makeStamp(clock.nowMs + 5000, 9, 4))
    expect(source.last() >= makeStamp(clock.nowMs + 5000, 9, 4)).toBe(true)
    const next = sourceAt(1, 0).source
    next.resume(source.last())
    expect(next.next() > source.last()).toBe(true)
  })

  test('of two instances are never the same', () => {
    const [one, two] = [sourceAt(5000, 1).source, sourceAt(5000, 2).source]
    const stamps = Array.from({ length: 100 }, () => [one.next(), two.next()]).flat()
    expect(new Set(stamps).size).toBe(200)
  })

  test('are not given before the instance has its number', () => {
    const source = createStampSource({
      clock: { nowMs: () => 1 },
      instanceNumber: () => {
        throw new TypeError('no number yet')
      },
    })
    expect(() => source.next()).toThrow('no number yet')
  })
})

describe('an id', () => {
  test('is a UUID of version 7 that sorts by the time it was made', () => {
    const ids = [0, 1, 255, 256, 1_759_219_200_000, MAX_MS].map((ms) => uuidv7(ms))
    expect(ids).toEqual(ids.toSorted())
    for (const id of ids)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(uuidv7(0x0123_4567_89ab)).toStartWith('01234567-89ab-7')
    expect(new Set(Array.from({ length: 1000 }, () => uuidv7(1))).size).toBe(1000)
  })
})
