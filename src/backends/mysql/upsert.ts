/** The bulk upsert: one text-protocol INSERT of nested arrays, a third of what a query builder costs the event loop. */
import mysql from 'mysql2/promise'
import type { Collection } from '../../collections/definition.ts'
import { packStamps, type Row, updatedAtMs } from '../../collections/row.ts'
import { mergeAssignments, upsertColumns } from '../sql/guard.ts'
import { mysqlDialect, toDateTime } from './dialect.ts'

export interface UpsertStatement {
  /** Ends in `VALUES ? …`: the driver writes the rows in. */
  text: string
  bind(row: Row): unknown[]
}

export function upsertStatement(collection: Collection): UpsertStatement {
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
  return {
    text: `INSERT INTO ${mysqlDialect.quote(collection.name)} (${columns}) VALUES ? ON DUPLICATE KEY UPDATE ${mergeAssignments(mysqlDialect, collection)}`,
    bind(row) {
      const bound: unknown[] = [...row.key]
      for (let slot = 0; slot < encoders.length; slot++) {
        const value = row.values[slot] ?? null
        bound.push(encoders[slot] && value !== null ? toDateTime(value as number) : value)
      }
      bound.push(dateTime(row.createdAtMs), dateTime(updatedAtMs(row)), mysql.raw(`X'${packStamps(row)}'`))
      return bound
    },
  }
}
