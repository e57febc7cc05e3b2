import { describe, expect, test } from 'bun:test'
import { compareRecord, createTally, describeDifference } from '../../tools/replay/differences.ts'
import { percentile, summariseLatency } from '../../tools/replay/latency.ts'
import { createProgress, progressLine } from '../../tools/replay/progress.ts'
import { type ReplayReport, reportText } from '../../tools/replay/report.ts'

describe('percentiles', () => {
  const hundred = Array.from({ length: 100 }, (_, n) => n + 1)
  test('are values that were measured, by nearest rank', () => {
    expect([0, 1, 50, 95, 99, 99.1, 100].map((percent) => percentile(hundred, percent))).toEqual([
      1, 1, 50, 95, 99, 100, 100,
    ])
    expect(percentile([7], 50)).toBe(7)
    expect(percentile([1, 2], 50)).toBe(1)
  })
  test('of nothing are 0', () => {
    expect(summariseLatency([])).toEqual({ count: 0, p50: 0, p95: 0, p99: 0, max: 0 })
  })
  test('are found in unsorted measurements, by number and not by text', () => {
    expect(summariseLatency([100, 9, 20.126])).toEqual({ count: 3, p50: 20.13, p95: 100, p99: 100, max: 100 })
  })
})

describe('a comparison', () => {
  const expected = {
    session_id: 's',
    task_id: 't',
    target_text: 'e\u0301',
    context: null,
    confidence: 0.95,
    start_time: '2025-09-30T10:00:00.000Z',
  }
  const compare = (stored: Record<string, unknown> | null) => {
    const tally = createTally()
    compareRecord(tally, { expected, stored, readFrom: 'list' })
    return tally
  }
  test('counts strings and other values, and finds nothing in an equal record with more fields', () => {
    expect(compare({ ...expected, more: 1 })).toEqual({
      tasks: 0,
      strings: 3,
      others: 3,
      differences: 0,
      first: [],
    })
  })
  test('takes the same instant in another form for equal', () => {
    expect(compare({ ...expected, start_time: '2025-09-30T12:00:00+02:00' }).differences).toBe(0)
  })
  const different: [title: string, change: Record<string, unknown>][] = [
    ['a text that only looks the same', { target_text: '\u00e9' }],
    ['a text with a space more', { target_text: 'e\u0301 ' }],
    ['an empty text for null', { context: '' }],
    ['an absent field', { context: undefined }],
    ['a number as text', { confidence: '0.95' }],
    ['a time without its milliseconds', { start_time: '2025-09-30T10:00:00.001Z' }],
    ['no time', { start_time: null }],
  ]
  test.each(different)('finds %s', (_, change) => {
    const { differences, first } = compare({ ...expected, ...change })
    expect(differences).toBe(1)
    expect(first[0]).toMatchObject({ session_id: 's', task_id: 't', field: Object.keys(change)[0] })
  })
  test('finds that there is no record', () => {
    expect(compare(null).first).toEqual([
      { session_id: 's', task_id: 't', read_from: 'list', field: null, detail: 'is missing' },
    ])
  })
  test('keeps the first ten differences and counts all', () => {
    const tally = createTally()
    for (let n = 0; n < 25; n++) compareRecord(tally, { expected, stored: null, readFrom: 'task' })
    expect([tally.differences, tally.first.length]).toEqual([25, 10])
  })
})

test('a difference is shown where it begins, with what does not show as escapes', () => {
  const before = 'x'.repeat(50)
  expect(describeDifference(`${before}e\u0301龙`, `${before}\u00e9龙`)).toBe(
    'at 50: expected "xxxxxxxxxxxxe\\u{301}龙", stored "xxxxxxxxxxxx\u00e9龙" (of 56 and 55 bytes)',
  )
  expect(describeDifference('a\u00a0b', 'a b')).toContain('"a\\u{a0}b", stored "a b"')
  expect(describeDifference('a', null)).toBe('expected "a", stored null')
  expect(describeDifference(null, undefined)).toBe('expected null, stored nothing')
})

describe('the report', () => {
  const latency = { count: 4, p50: 1, p95: 2, p99: 3, max: 4 }
  const report: ReplayReport = {
    file: 'f',
    url: 'u',
    replay_id: 'r',
    sessions: 2,
    rows_sent: 10,
    rows_skipped: 0,
    skipped: [],
    send_duration_ms: 500,
    rows_per_second: 20,
    write_latency_ms: latency,
    read_latency_ms: latency,
    retries: 1,
    flush_duration_ms: 3,
    tasks_compared: 10,
    strings_compared: 60,
    other_values_compared: 40,
    differences: 0,
    first_differences: [],
  }
  test('says rows, speed, latencies, retries and the verdict', () => {
    const text = reportText(report)
    for (const part of [
      '10 rows in 2 sessions',
      '20 rows/s for 0.50 s',
      'p50 1 ms, p95 2 ms, p99 3 ms, max 4 ms (4 requests)',
      'retries    1\n',
      '60 strings compared, 0 differences\n',
    ]) {
      expect(text).toContain(part)
    }
    expect(text).not.toContain('skipped')
  })
  test('names the first skipped rows and differences and counts the others', () => {
    const difference = {
      session_id: 's',
      task_id: 't',
      read_from: 'list',
      field: 'context',
      detail: 'd',
    } as const
    const text = reportText({
      ...report,
      rows_skipped: 3,
      skipped: [{ line: 8, reason: 'too long' }],
      differences: 2,
      first_differences: [difference],
    })
    expect(text).toContain(
      "3 rows that can't be stored\n           line 8: too long\n           and 2 more\n",
    )
    expect(text).toContain('2 differences\n')
    expect(text).toContain('s t (read from list) context d\n           and 1 more\n')
  })
})

describe('progress', () => {
  function recorded(isTerminal: boolean) {
    const written: string[] = []
    const clock = { nowMs: 0 }
    const write = (text: string) => void written.push(text)
    return { written, clock, progress: createProgress({ write, isTerminal, nowMs: () => clock.nowMs }) }
  }
  test('shows share, count, speed and the time left', () => {
    const line = progressLine({ label: 'sending', total: 200, done: 50, elapsedMs: 2000 })
    expect(line).toBe(`sending    ${'█'.repeat(7)}${'░'.repeat(23)} 25 % 50/200 25/s 6 s left`)
    expect(progressLine({ label: 'x', total: 2, done: 2, elapsedMs: 0 })).toEndWith('100 % 2/2 0/s')
  })
  test('is a bar that is drawn over on a terminal, at most ten times a second', () => {
    const { written, clock, progress } = recorded(true)
    progress.begin('sending', 1000)
    for (clock.nowMs = 1; clock.nowMs <= 1000; clock.nowMs++) progress.add(1)
    progress.end()
    expect(written.length).toBeWithin(10, 14)
    expect(written.slice(0, -1).every((text) => text.startsWith('\r') && !text.includes('\n'))).toBe(true)
    expect(written.at(-1)).toBe('\n')
  })
  test('is whole lines now and then elsewhere, the last one always', () => {
    const { written, clock, progress } = recorded(false)
    progress.begin('sending', 12)
    for (let n = 1; n <= 12; n++) {
      clock.nowMs = n * 1000
      progress.add(1)
    }
    progress.end()
    expect(written.map((text) => /(\d+\/12) .*\n$/.exec(text)?.[1])).toEqual(['5/12', '10/12', '12/12'])
  })
  test('keeps a note apart from the bar', () => {
    const { written, progress } = recorded(true)
    progress.begin('sending', 2)
    progress.note('busy')
    expect(written[1]).toBe('\r\u001b[Kbusy\n')
    expect(written[2]).toContain('sending')
  })
})
