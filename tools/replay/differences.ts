/** Finds and describes what is not stored as it was sent. */
import { isDeepStrictEqual } from 'node:util'

/** The session's detail, its list of tasks, or a task's detail. */
export type ReadFrom = 'session' | 'list' | 'task'

/** A field that is not as expected, or with `field` null a whole record that is missing or too much. */
export interface Difference {
  session_id: string
  task_id: string | null
  /** The answer that it was found in. */
  read_from: ReadFrom
  field: string | null
  /** Says where the two differ. */
  detail: string
}

/** What has been compared so far. */
export interface Tally {
  tasks: number
  strings: number
  /** Everything else: numbers, times, nulls, objects. */
  others: number
  differences: number
  /** The first few. */
  first: Difference[]
}

const SHOWN_DIFFERENCES = 10
const TIMES: readonly string[] = ['start_time', 'end_time']

export function createTally(): Tally {
  return { tasks: 0, strings: 0, others: 0, differences: 0, first: [] }
}

export function addDifference(tally: Tally, difference: Difference): void {
  tally.differences++
  if (tally.first.length < SHOWN_DIFFERENCES) tally.first.push(difference)
}

interface Comparison {
  expected: Record<string, unknown>
  /** null where there is no such record. */
  stored: Record<string, unknown> | null
  readFrom: ReadFrom
}

/** Compares every expected field; fields that only `stored` has don't matter. No record is one difference. */
export function compareRecord(tally: Tally, { expected, stored, readFrom }: Comparison): void {
  const at = { ...keyOf(expected), read_from: readFrom }
  if (stored === null) {
    addDifference(tally, { ...at, field: null, detail: 'is missing' })
    return
  }
  for (const [field, value] of Object.entries(expected)) {
    const isTime = TIMES.includes(field)
    if (typeof value === 'string' && !isTime) tally.strings++
    else tally.others++
    if (isTime ? isSameInstant(value, stored[field]) : isDeepStrictEqual(value, stored[field])) continue
    addDifference(tally, { ...at, field, detail: describeDifference(value, stored[field]) })
  }
}

function keyOf(expected: Record<string, unknown>): { session_id: string; task_id: string | null } {
  const { session_id: sessionId, task_id: taskId } = expected
  return { session_id: String(sessionId), task_id: typeof taskId === 'string' ? taskId : null }
}

/** The service may write the same instant in another form. */
function isSameInstant(expected: unknown, stored: unknown): boolean {
  return typeof stored === 'string' && Date.parse(String(expected)) === Date.parse(stored)
}

const SHOWN_UNITS = 24

/** Both values; of texts the part where they begin to differ, what does not show as escapes. */
export function describeDifference(expected: unknown, stored: unknown): string {
  if (typeof expected !== 'string' || typeof stored !== 'string') {
    return `expected ${shown(expected)}, stored ${shown(stored)}`
  }
  let at = 0
  while (at < expected.length && expected[at] === stored[at]) at++
  const from = Math.max(0, at - SHOWN_UNITS / 2)
  const part = (text: string) => shown(text.slice(from, from + SHOWN_UNITS))
  const lengths = `of ${Buffer.byteLength(expected)} and ${Buffer.byteLength(stored)} bytes`
  return `at ${at}: expected ${part(expected)}, stored ${part(stored)} (${lengths})`
}

/** Marks, controls and spaces other than U+0020: two texts that look alike may differ in these. */
const UNSEEN = /[\p{M}\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.replace(UNSEEN, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)
}
