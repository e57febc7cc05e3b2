/** The bulk upsert: one text-protocol INSERT of many rows, a third of what a query builder costs the event loop. */
import mysql from 'mysql2/promise'
import type { Collection, Value } from '../../collections/definition.ts'
import { packStamps, type Row, updatedAtMs } from '../../collections/row.ts'
import { inTurns } from '../../lib/turns.ts'
import { mergeAssignments, upsertColumns } from '../sql/guard.ts'
import { mysqlDialect, toDateTime } from './dialect.ts'

/** Writes out the statement for some rows; takes its time, in short turns of the event loop. */
export type WriteUpsert = (rows: readonly Row[]) => Promise<string>

/** About a millisecond's work. */
const ROWS_A_TURN = 200

/** Quotes, backslashes and what stands below the space, which the driver escapes: most texts hold none of it. */
const SPECIAL = /["'\\]|[^ -\uffff]/
const quote = (text: string): string => (SPECIAL.test(text) ? mysql.escape(text) : `'${text}'`)

/** Times of rows that are kept written out. */
const MAX_TIMES = 1000

export function upsertOf(collection: Collection): WriteUpsert {
  const names = upsertColumns(collection)
  const columns = names.map(mysqlDialect.quote).join(', ')
  const isTime = names.map(
    (name) => collection.slots.includes(name) && collection.typeOf(name) === 'timestamp',
  )
  const head = `INSERT INTO ${mysqlDialect.quote(collection.name)} (${columns}) VALUES `
  const tail = ` ON DUPLICATE KEY UPDATE ${mergeAssignments(mysqlDialect, collection)}`
  // Rows of a request share their times.
  const times = new Map<number, string>()

  function dateTime(ms: number): string {
    let known = times.get(ms)
    if (known === undefined) {
      if (times.size >= MAX_TIMES) times.clear()
      known = `'${toDateTime(ms)}'`
      times.set(ms, known)
    }
    return known
  }

  /** What was written last in each place: rows of a request share most of their values. */
  const last = names.map(() => ({ value: null as Value, text: 'NULL' }))

  function valueText(place: number, value: Value): string {
    const known = last[place]!
    if (known.value === value) return known.text
    const time = isTime[place] && typeof value === 'number'
    const text = typeof value === 'string' ? quote(value) : time ? dateTime(value) : `${value ?? 'NULL'}`
    last[place] = { value, text }
    return text
  }

  /** In pieces that are joined once for many rows: a row of its own would be copied thrice. */
  function writeRow(row: Row, pieces: string[]): void {
    let place = 0
    let before = pieces.length === 0 ? '(' : ',('
    for (const part of row.key) {
      pieces.push(before, valueText(place++, part))
      before = ','
    }
    for (let slot = 0; slot < collection.slots.length; slot++)
      pieces.push(',', valueText(place++, row.values[slot] ?? null))
    pieces.push(',', dateTime(row.createdAtMs), ',', dateTime(updatedAtMs(row)), ",X'", packStamps(row), "')")
  }

  return async (rows) => {
    const parts: string[] = []
    await inTurns(rows, ROWS_A_TURN, (slice) => {
      const pieces: string[] = []
      for (const row of slice) writeRow(row, pieces)
      parts.push(pieces.join(''))
    })
    return head + parts.join(',') + tail
  }
}
