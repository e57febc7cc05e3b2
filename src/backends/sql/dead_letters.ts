/** Dead letters: rows that the store refused for what they are, as JSON, with their stamps. */
import { newestStamp, packStamps } from '../../collections/row.ts'
import { uuidv7 } from '../../lib/ids.ts'
import type { DeadLetters } from '../coordination.ts'
import type { Dialect, SqlSession } from './codec.ts'
import type { Statements } from './statement.ts'

export type DeadLetterTexts = Record<'dead_letter_put' | 'dead_letter_delete_group', string>

interface DeadLettersOptions {
  dialect: Dialect
  session: SqlSession
  sql: Statements<DeadLetterTexts>
}

const REASON_CHARS = 1024

export function createDeadLetters({ dialect, session, sql }: DeadLettersOptions): DeadLetters {
  return {
    async putDeadLetters(letters) {
      for (const { collection, row, code, reason } of letters) {
        await session.run(
          sql.dead_letter_put(
            collection,
            JSON.stringify(row.key),
            dialect.encodeStamp(newestStamp(row)),
            uuidv7(),
            row.key[0],
            asciiText(reason, REASON_CHARS),
            code,
            asciiJson(row.values.map((value) => (value === undefined ? [] : [value]))),
            Uint8Array.from(packStamps(row).match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
            row.createdAtMs,
          ),
        )
      }
    },
    async countDeadLetters(collection, group) {
      return Number((await session.all(sql.dead_letter_count_group(collection, group)))[0]?.[0])
    },
    async deleteDeadLetters(collection, group, stamp) {
      await session.run(sql.dead_letter_delete_group(collection, group, dialect.encodeStamp(stamp)))
    },

  }
}

/** JSON in ASCII alone, so that a store which refused the text itself takes its letter. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** A text in printable ASCII, the rest of it escaped; cut at a character. */
function asciiText(text: string, max: number): string {
  let ascii = ''
  for (const char of text) {
    const written = /[\x20-\x7e]/.test(char) ? char : asciiJson(char).slice(1, -1)
    if (ascii.length + written.length > max) break
    ascii += written
  }
  return ascii
}
