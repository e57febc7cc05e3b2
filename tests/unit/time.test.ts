import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { endOf, formatTime, MAX_TIME_MS, MIN_TIME_MS, parseTime } from '../../src/lib/time.ts'

const at = (text: string) => parseTime(text)?.ms

describe('a time', () => {
  const noon = Date.UTC(2025, 8, 30, 12)
  const same: [text: string, ms: number][] = [
    ['2025-09-30T12:00:00Z', noon],
    ['2025-09-30t12:00:00z', noon],
    ['2025-09-30 12:00:00', noon],
    ['2025-09-30T12:00', noon],
    ['2025-09-30T12:00:00', noon],
    ['2025-09-30T12:00:00 Z', noon],
    ['2025-09-30T12:00:00+00:00', noon],
    ['2025-09-30T12:00:00-00:00', noon],
    ['2025-09-30T20:00:00+08:00', noon],
    ['2025-09-30T20:00:00+0800', noon],
    ['2025-09-30T20:00:00 08:00', noon],
    ['2025-09-30T17:30:00+05:30', noon],
    ['2025-09-30T02:15:00-09:45', noon],
    ['2025-10-01T00:00:00+12:00', noon],
    ['2025-09-30T12:00:00.1Z', noon + 100],
    ['2025-09-30T12:00:00,12Z', noon + 120],
    ['2025-09-30T12:00:00.123456789Z', noon + 123],
    ['2025-09-30T12:00:00.999999999999Z', noon + 999],
    ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29)],
    ['2000-02-29', Date.UTC(2000, 1, 29)],
    ['1969-12-31T23:59:59.999Z', -1],
    ['0001-01-01T00:00:00Z', MIN_TIME_MS],
    ['0001-01-01T00:00:00-23:59', MIN_TIME_MS + 86_340_000],
    ['2025-09-30T12:00:00.1239999999999999999Z', noon + 123],
    ['0099-06-15T00:00:00Z', Date.parse('0099-06-15T00:00:00Z')],
    ['9999-12-31T23:59:59.999Z', MAX_TIME_MS],
  ]
  test.each(same)('%s is read', (text, ms) => expect(at(text)).toBe(ms))

  test.each([
    '',
    'now',
    '2025',
    '2025-09',
    '2025-9-3',
    '2025-13-01',
    '2025-00-01',
    '2025-09-31',
    '2025-02-29',
    '1900-02-29',
    '2025-09-00',
    '2025-09-30T24:00:00Z',
    '2025-09-30T12:60:00Z',
    '2025-09-30T12:00:60Z',
    '2025-09-30T12Z',
    '2025-09-30T12:00:00.Z',
    '2025-09-30T12:00:00+24:00',
    '2025-09-30T12:00:00+01:60',
    '2025-09-30T12:00:00+1',
    '2025-09-30T12:00:00UTC',
    '2025-09-30T12:00:00Z\n',
    ' 2025-09-30',
    '2025-09-30 ',
    '+002025-09-30',
    '-0001-01-01',
    '10000-01-01',
    '0000-12-31T23:59:59Z',
    '0001-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59.999-00:01',
    '２０２５-09-30',
    '1759219200',
  ])('%j is none', (text) => expect(parseTime(text)).toBeNull())

  test('without hours stands for its whole day', () => {
    const day = parseTime('2025-09-30')!
    expect(day).toEqual({ ms: Date.UTC(2025, 8, 30), dateOnly: true })
    expect(endOf(day)).toBe(Date.UTC(2025, 9, 1) - 1)
    const midnight = parseTime('2025-09-30T00:00:00')!
    expect(midnight.dateOnly).toBe(false)
    expect(endOf(midnight)).toBe(midnight.ms)
  })

  test('goes out as it came in, in UTC with milliseconds', () => {
    fc.assert(
      fc.property(fc.integer({ min: MIN_TIME_MS, max: MAX_TIME_MS }), (ms) => {
        const text = formatTime(ms)
        expect(text).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        expect(parseTime(text)).toEqual({ ms, dateOnly: false })
      }),
    )
  })

  test('of any offset is the moment that JavaScript reads too', () => {
    const offset = fc.tuple(fc.constantFrom('+', '-'), fc.nat(23), fc.nat(59))
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4e12 }), offset, (ms, [sign, hours, minutes]) => {
        const two = (n: number) => String(n).padStart(2, '0')
        const text = new Date(ms).toISOString().replace('Z', `${sign}${two(hours)}:${two(minutes)}`)
        expect(at(text)).toBe(Date.parse(text))
      }),
    )
  })

  test('is read from no other text, and no text throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const found = parseTime(text)
        if (found) expect(text).toMatch(/^\d{4}-\d\d-\d\d/)
      }),
    )
  })
})
