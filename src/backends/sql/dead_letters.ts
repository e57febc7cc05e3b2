/** Dead letters: rows that the store refused for what they are, as JSON, with their stamps. */
import { sql as drizzle, type SQL } from 'drizzle-orm'
import type { Value } from '../../collections/definition.ts'
import { newestStamp, packStamps, unpackStamps } from '../../collections/row.ts'
import { uuidv7 } from '../../lib/ids.ts'
import { BackendError } from '../backend.ts'
import type { DeadLetter, DeadLetters, LetterFilter, StoredLetter } from '../coordination.ts'
import type { Dialect, SqlSession } from './codec.ts'
import { writeIsolating } from './isolate.ts'
import { type Statements, statement } from './statement.ts'

export type DeadLetterTexts = Record<'dead_letter_put' | 'dead_letter_delete_group', string>

interface DeadLettersOptions {
  dialect: Dialect
  session: SqlSession
  sql: Statements<DeadLetterTexts>
  texts: DeadLetterTexts
  /** What a statement may have, written out; none where that does not matter. */
  maxStatementBytes?(): number
}

const REASON_CHARS = 1024
/** A statement has to fit into a packet, and its parameters into what SQLite takes. */
const LETTERS_A_STATEMENT = 200
const CHARS_A_STATEMENT = 1024 * 1024
/** More than a letter has beside its record, written out, and a statement beside its letters. */
const CHARS_BESIDE = 4096
const COLUMNS =
  'id, collection, record_key, record, stamps, accepted_at, error_code, reason, failed_at, attempts'

export function createDeadLetters({
  dialect,
  session,
  sql,
  texts,
  maxStatementBytes,
}: DeadLettersOptions): DeadLetters {
  /** A server cuts the connection in the middle of what is too large, which looks like an outage. */
  function assertFits(rows: readonly LetterRow[]): void {
    if (!maxStatementBytes) return
    const bytes = rows.reduce((sum, { chars }) => sum + chars, CHARS_BESIDE)
    if (bytes > maxStatementBytes())
      throw new BackendError('too_large', 'LETTER_SIZE', 'larger than the store takes at once')
  }

  async function put(rows: readonly LetterRow[]): Promise<void> {
    assertFits(rows)
    await session.run(
      putMany(
        texts.dead_letter_put,
        rows.map(({ columns }) => columns),
      ),
    )
  }

  return {
    async putDeadLetters(letters) {
      const rows = letters.map((letter) => columnsOf(dialect, letter))
      // In the order of their keys, so that parallel statements don't deadlock; equal keys stay in theirs.
      rows.sort((a, b) => compare(a.collection, b.collection) || compare(a.recordKey, b.recordKey))
      const unfit: DeadLetter[] = []
      for (const chunk of chunks(rows)) {
        const { refused } = await writeIsolating(chunk, put)
        for (const { index } of refused) unfit.push(chunk[index]!.letter)
      }
      return unfit
    },
    async countDeadLetters(filter) {
      return Number((await session.all(countLetters(dialect, filter)))[0]?.[0])
    },
    async listDeadLetters(filter, page) {
      return (await session.all(selectLetters(dialect, filter, page))).map(decodeLetter)
    },
    async findDeadLetters(filter, page) {
      const found = await session.all(findLetters(dialect, filter, page))
      return found.map(([id, attempts, bytes]) => ({
        id: String(id),
        attempts: Number(attempts),
        bytes: Number(bytes),
      }))
    },
    async removeDeadLetters(letters) {
      let removed = 0
      for (const [attempts, same] of Map.groupBy(letters, (letter) => letter.attempts)) {
        const among = idIn(same.map(({ id }) => id))
        removed += await session.run(
          drizzle`DELETE FROM dead_letters WHERE ${among} AND attempts = ${attempts}`,
        )
      }
      return removed
    },
    async deleteDeadLetters(collection, group, stamp) {
      await session.run(sql.dead_letter_delete_group(collection, group, dialect.encodeStamp(stamp)))
    },
  }
}

interface LetterRow {
  letter: DeadLetter
  collection: string
  recordKey: string
  /** Written out, at most. */
  chars: number
  /** In the order of the statement's parameters. */
  columns: unknown[]
}

function columnsOf(dialect: Dialect, letter: DeadLetter): LetterRow {
  const { collection, row, code, reason } = letter
  const recordKey = JSON.stringify(row.key)
  const record = asciiJson(row.values.map((value) => (value === undefined ? [] : [value])))
  return {
    letter,
    collection,
    recordKey,
    chars: writtenChars(record) + CHARS_BESIDE,
    columns: [
      collection,
      recordKey,
      dialect.encodeStamp(newestStamp(row)),
      uuidv7(),
      row.key[0],
      asciiText(reason, REASON_CHARS),
      code,
      record,
      Buffer.from(packStamps(row), 'hex'),
      row.createdAtMs,
    ],
  }
}

/** The driver puts a backslash before each of these. */
function writtenChars(text: string): number {
  let chars = text.length
  for (let i = 0; i < text.length; i++) if (ESCAPED.has(text.charCodeAt(i))) chars++
  return chars
}

const ESCAPED = new Set([...`"'\\`].map((char) => char.charCodeAt(0)))

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

function* chunks(rows: readonly LetterRow[]): Iterable<LetterRow[]> {
  let chunk: LetterRow[] = []
  let chars = 0
  for (const row of rows) {
    const full = chunk.length === LETTERS_A_STATEMENT || chars + row.chars > CHARS_A_STATEMENT
    if (full && chunk.length > 0) {
      yield chunk
      chunk = []
      chars = 0
    }
    chunk.push(row)
    chars += row.chars
  }
  if (chunk.length > 0) yield chunk
}

/** The statement for one letter, with its values once a letter. */
function putMany(text: string, rows: readonly unknown[][]): SQL {
  const many = text.replace(/^VALUES (.*)$/m, (_, tuple) => `VALUES ${rows.map(() => tuple).join(', ')}`)
  return statement(many)(...rows.flat())
}

function idIn(ids: readonly string[]): SQL {
  if (ids.length === 0) return drizzle.raw('1 = 0')
  return drizzle`id IN (${drizzle.join(
    ids.map((id) => drizzle`${id}`),
    drizzle.raw(', '),
  )})`
}

function conditions(dialect: Dialect, filter: LetterFilter, position: readonly SQL[] = []): SQL {
  const { ids, collection, group, reason, failedUntilMs } = filter
  const all = [...position]
  if (ids !== undefined) all.push(idIn(ids))
  if (collection !== undefined) all.push(drizzle`collection = ${collection}`)
  if (group !== undefined) all.push(drizzle`group_key = ${group}`)
  // A reason is stored in ASCII, so what is looked for is written alike.
  if (reason !== undefined) all.push(dialect.contains(drizzle.raw('reason'), asciiText(reason)))
  if (failedUntilMs !== undefined) all.push(drizzle`failed_at <= ${failedUntilMs}`)
  return all.length > 0 ? drizzle.join(all, drizzle.raw(' AND ')) : drizzle.raw('1 = 1')
}

export function countLetters(dialect: Dialect, filter: LetterFilter): SQL {
  return drizzle`SELECT COUNT(*) FROM dead_letters WHERE ${conditions(dialect, filter)}`
}

export function selectLetters(
  dialect: Dialect,
  filter: LetterFilter,
  { limit, offset = 0, before }: { limit: number; offset?: number; before?: string },
): SQL {
  const where = conditions(dialect, filter, before === undefined ? [] : [drizzle`id < ${before}`])
  return drizzle`SELECT ${drizzle.raw(COLUMNS)} FROM dead_letters WHERE ${where} ORDER BY id DESC LIMIT ${limit} OFFSET ${offset}`
}

export function findLetters(
  dialect: Dialect,
  filter: LetterFilter,
  { limit, after }: { limit: number; after: string },
): SQL {
  const where = conditions(dialect, filter, [drizzle`id > ${after}`])
  return drizzle`SELECT id, attempts, LENGTH(record) FROM dead_letters WHERE ${where} ORDER BY id LIMIT ${limit}`
}

/** `raw` has the columns of `COLUMNS`. */
function decodeLetter(raw: readonly unknown[]): StoredLetter {
  const [id, collection, recordKey, record, stamps, acceptedAt, code, reason, failedAt, attempts] = raw
  const values = (JSON.parse(String(record)) as Value[][]).map((value) => value[0])
  return {
    id: String(id),
    collection: String(collection),
    row: {
      key: JSON.parse(String(recordKey)),
      values,
      stamps: unpackStamps(stamps as Uint8Array, values.length),
      createdAtMs: Number(acceptedAt),
    },
    code: String(code),
    reason: String(reason),
    failedAtMs: Number(failedAt),
    attempts: Number(attempts),
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
function asciiText(text: string, max = Number.POSITIVE_INFINITY): string {
  let ascii = ''
  for (const char of text) {
    const written = /[\x20-\x7e]/.test(char) ? char : asciiJson(char).slice(1, -1)
    if (ascii.length + written.length > max) break
    ascii += written
  }
  return ascii
}
