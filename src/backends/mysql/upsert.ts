/** The bulk upsert: one text-protocol INSERT of many rows, a third of what a query builder costs the event loop. */
import mysql from 'mysql2/promise'
import type { Collection } from '../../collections/definition.ts'
import { packStamps, type Row, updatedAtMs } from '../../collections/row.ts'
import { inTurns } from '../../lib/turns.ts'
import { mergeAssignments, upsertColumns } from '../sql/guard.ts'
import { mysqlDialect, toDateTime } from './dialect.ts'

/** Writes out the statement for some rows; takes its time, in short turns of the event loop. */
export type WriteUpsert = (rows: readonly Row[]) => Promise<string>

/** About a millisecond's work. */
const ROWS_A_TURN = 200

export function upsertOf(collection: Collection): WriteUpsert {
  const names = upsertColumns(collection)
  const columns = names.map(mysqlDialect.quote).join(', ')
  const encoders = collection.slots.map((name) => collection.typeOf(name) === 'timestamp')
  // Rows of a request share their times: the last one formatted serves most of them.
  let lastMs = Number.NaN
  let lastText = ''
  const dateTime = (ms: number) => {
    if (ms !== lastMs) {
      lastText = toDateTime(ms)
      lastMs = ms
    }
    return lastText
  }
  const head = `INSERT INTO ${mysqlDialect.quote(collection.name)} (${columns}) VALUES `
  const tail = ` ON DUPLICATE KEY UPDATE ${mergeAssignments(mysqlDialect, collection)}`

  function bind(row: Row): mysql.SqlValue[] {
    const bound: mysql.SqlValue[] = [...row.key]
    for (let slot = 0; slot < encoders.length; slot++) {
      const value = row.values[slot] ?? null
      bound.push(encoders[slot] && value !== null ? toDateTime(value as number) : value)
    }
    bound.push(dateTime(row.createdAtMs), dateTime(updatedAtMs(row)), mysql.raw(`X'${packStamps(row)}'`))
    return bound
  }

  return async (rows) => {
    const parts: string[] = []
    await inTurns(rows, ROWS_A_TURN, (slice) => {
      parts.push(mysql.format('?', [slice.map(bind)]))
    })
    return head + parts.join(', ') + tail
  }
}
