/** Reads the input file, line by line. */
import { createReadStream } from 'node:fs'
import { ReplayError } from './failure.ts'

/** A string of the game and its translation. */
export interface ReplayRow {
  sheet: string
  /** Index in the sheet, from 0. */
  row: number
  context: string | null
  source: string
  target: string
}

/** A row that the service can't store. */
export interface SkippedRow {
  /** From 1. */
  line: number
  reason: string
}

const MAX_TEXT_BYTES = 65_535
const MAX_SHEET_CHARACTERS = 255
const MAX_ROW = 2_147_483_647

/** Every row of the file, its texts not held any longer than the caller does. Throws ReplayError. */
export async function* readRows(file: string): AsyncGenerator<ReplayRow | SkippedRow> {
  try {
    yield* parseRows(createReadStream(file), file)
  } catch (error) {
    if (error instanceof ReplayError) throw error
    throw new ReplayError(`can't read ${file}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    })
  }
}

/**
 * Rows of a stream of UTF-8; empty lines are passed over. `name` stands in errors: a line that is no row
 * throws a ReplayError that names it.
 */
export async function* parseRows(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<ReplayRow | SkippedRow> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let line = 0
  for await (const bytes of splitLines(chunks)) {
    line++
    const fail = (reason: string) => new ReplayError(`${name}:${line}: ${reason}`)
    let text: string
    try {
      text = decoder.decode(bytes)
    } catch {
      throw fail('is not valid UTF-8')
    }
    if (text.trim() === '') continue
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw fail('is not valid JSON')
    }
    const row = toRow(value)
    if (typeof row === 'string') throw fail(row)
    const reason = whyNotStorable(row)
    yield reason === null ? row : { line, reason }
  }
}

/** Lines as bytes, split at LF alone: node:readline also splits at U+2028, which may stand in a JSON string. */
async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let begun: Uint8Array[] = []
  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      yield joined(begun, chunk.subarray(from, end))
      begun = []
      from = end + 1
    }
    if (from < chunk.length) begun.push(chunk.subarray(from))
  }
  if (begun.length > 0) yield Buffer.concat(begun)
}

function joined(begun: readonly Uint8Array[], rest: Uint8Array): Uint8Array {
  return begun.length === 0 ? rest : Buffer.concat([...begun, rest])
}

/** The row, or what is wrong with it. */
function toRow(value: unknown): ReplayRow | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is not a JSON object'
  const { sheet, row, context = null, source, target } = value as Record<string, unknown>
  if (typeof sheet !== 'string') return 'sheet must be a text'
  if (typeof row !== 'number' || !Number.isInteger(row) || row < 0 || row > MAX_ROW) {
    return `row must be a whole number from 0 to ${MAX_ROW}`
  }
  if (context !== null && typeof context !== 'string') return 'context must be a text or null'
  if (typeof source !== 'string') return 'source must be a text'
  if (typeof target !== 'string') return 'target must be a text'
  return { sheet, row, context, source, target }
}

function whyNotStorable(row: ReplayRow): string | null {
  const { sheet, source, target, context } = row
  if (!sheet.isWellFormed()) return 'sheet contains a lone surrogate'
  if ([...sheet].length > MAX_SHEET_CHARACTERS)
    return `sheet is longer than ${MAX_SHEET_CHARACTERS} characters`
  for (const [name, text] of Object.entries({ source, target, context: context ?? '' })) {
    if (!text.isWellFormed()) return `${name} contains a lone surrogate`
    if (Buffer.byteLength(text) > MAX_TEXT_BYTES) return `${name} is longer than ${MAX_TEXT_BYTES} bytes`
  }
  return null
}
