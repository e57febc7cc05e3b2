/** Times of the outside world: what comes in, and how they go out. Milliseconds since the epoch inside. */

const PATTERN =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?\s?([Zz]|[+\- ]\d{2}:?\d{2})?)?$/

/** What RFC 3339 can write and every backend can store; the calendars differ about the year 0. */
export const MIN_TIME_MS = Date.parse('0001-01-01T00:00:00.000Z')
export const MAX_TIME_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999)
const DAY_MS = 86_400_000
const CALENDAR_CYCLE_MS = 146_097 * DAY_MS

/**
 * A date, or a time with any offset and any fraction; without an offset it is UTC. A `+` that a query
 * string turned into a space is read as one. Null where it is no time, or outside the years 1 to 9999 in UTC.
 * `dateOnly` tells that it stands for a whole day.
 */
export function parseTime(text: string): { ms: number; dateOnly: boolean } | null {
  const match = PATTERN.exec(text)
  if (!match) return null
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])]
  const [hour, minute, second] = [Number(match[4] ?? 0), Number(match[5] ?? 0), Number(match[6] ?? 0)]
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return null
  if (hour > 23 || minute > 59 || second > 59) return null
  const offset = offsetMs(match[8])
  if (offset === null) return null
  const fraction = match[7] === undefined ? 0 : Number(match[7].slice(0, 3).padEnd(3, '0'))
  // The calendar repeats after 400 years, and Date.UTC takes years below 100 for the 20th century.
  const ms = Date.UTC(year + 400, month - 1, day, hour, minute, second, fraction) - CALENDAR_CYCLE_MS - offset
  return ms >= MIN_TIME_MS && ms <= MAX_TIME_MS ? { ms, dateOnly: match[4] === undefined } : null
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

function offsetMs(text: string | undefined): number | null {
  if (text === undefined || text === 'Z' || text === 'z') return 0
  const hours = Number(text.slice(1, 3))
  const minutes = Number(text.slice(-2))
  if (hours > 23 || minutes > 59) return null
  return (text[0] === '-' ? -1 : 1) * (hours * 60 + minutes) * 60_000
}

/** The last millisecond of what `parseTime` read: a date's end includes the whole day. */
export function endOf(time: { ms: number; dateOnly: boolean }): number {
  return time.dateOnly ? time.ms + DAY_MS - 1 : time.ms
}

/** RFC 3339 in UTC with milliseconds. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString()
}
