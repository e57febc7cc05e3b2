/** What the torture writes: the records' fields, how they are read, and values that say who wrote them. */
import type { Random } from './random.ts'

export type CollectionName = 'sessions' | 'tasks'
/** As they travel in JSON. */
export type Fields = Record<string, unknown>

/** One item of a request. */
export interface WrittenItem {
  collection: CollectionName
  /** `[session_id]`, or `[session_id, task_id]`. */
  key: string[]
  fields: Fields
}

/** One row as the service showed it. */
export type ReadRow = WrittenItem

interface FieldKind {
  required: boolean
  /** What is read where nothing was ever written, or null was. */
  empty: unknown
  make(mark: Mark): unknown
}

/** Who writes, and the how-manieth request it is. */
export interface Mark {
  client: string
  write: number
  random: Random
}

/** Pieces of text that have been mangled by somebody somewhere. */
// biome-ignore format: one after the other
const PIECES = [
  '你好，冒险者！', '🐉', '👩‍👩‍👧', '𝒳𝔂', 'e\u0301', 'é', '"quoted"', "O'Brien; --", '\\n', '\n', '\t', '%s',
  'ß', 'ﬁ', '\u200d', '\ufeff', '漢字', 'Привет', 'مرحبا', '\u0000', ' ', '  ', 'NULL', '{"a":1}', '🏳️‍🌈', 'ÿ',
]
const LONG_TEXT_CHANCE = 0.002
const LONG_TEXT_REPEATS = 300
const NULL_CHANCE = 0.15

const piecesOf = ({ random }: Mark, most: number, allowed: readonly string[] = PIECES) =>
  Array.from({ length: random.int(0, most) }, () => random.pick(allowed)).join('')
const markOf = ({ client, write }: Mark) => `${client}#${write}`

const text = (most: number): FieldKind['make'] => {
  return (mark) => `${markOf(mark)} ${piecesOf(mark, most)}`
}
const longText: FieldKind['make'] = (mark) => {
  const repeats = mark.random.chance(LONG_TEXT_CHANCE) ? LONG_TEXT_REPEATS : 1
  return `${markOf(mark)} ${piecesOf(mark, 6).repeat(repeats)}`
}
/** No control character, and no white space at an end. */
const identifier: FieldKind['make'] = (mark) =>
  `${markOf(mark)}.${piecesOf(mark, 3, ['批', '🐉', 'é', 'e\u0301', '%', "'"])}.`
const number: FieldKind['make'] = ({ write, random }) => write * 1000 + random.int(0, 999)
const time: FieldKind['make'] = ({ write, random }) =>
  new Date(1.7e12 + write * 1000 + random.int(0, 999)).toISOString()
const share: FieldKind['make'] = ({ random }) => random.int(0, 10_000) / 10_000
const object: FieldKind['make'] = (mark) => ({
  by: markOf(mark),
  [`键 ${mark.random.int(0, 9)}`]: piecesOf(mark, 4),
  nested: { list: [mark.random.int(0, 9), null, piecesOf(mark, 2)] },
})
const oneOf =
  (...words: string[]): FieldKind['make'] =>
  ({ random }) =>
    random.pick(words)

const required = (make: FieldKind['make']): FieldKind => ({ required: true, empty: undefined, make })
const optional = (make: FieldKind['make'], empty: unknown = null): FieldKind => ({
  required: false,
  empty,
  make,
})

/** Every field that a client can write. */
export const FIELDS: Record<CollectionName, Record<string, FieldKind>> = {
  sessions: {
    filename: required(text(6)),
    file_path: required(text(6)),
    // One that ends flushes at once, which is to happen now and then.
    status: required(oneOf('pending', 'processing', 'processing', 'processing', 'completed')),
    llm_provider: required(text(1)),
    game_info: optional(object),
    metadata: optional(object),
  },
  tasks: {
    batch_id: required(identifier),
    sheet_name: required(text(4)),
    row_index: required(number),
    column_name: required(text(4)),
    source_text: required(longText),
    status: required(oneOf('pending', 'processing', 'completed', 'failed')),
    target_text: optional(longText),
    context: optional(longText),
    confidence: optional(share),
    error_message: optional(longText),
    retry_count: optional(number, 0),
    start_time: optional(time),
    end_time: optional(time),
    duration_ms: optional(number),
  },
}

/** Fields for a whole item: the required ones and some of the others. */
export function wholeFields(collection: CollectionName, mark: Mark): Fields {
  return made(collection, mark, (kind) => kind.required || mark.random.chance(0.4))
}

/** Fields for a sparse item: any of them, at least one. */
export function sparseFields(collection: CollectionName, mark: Mark): Fields {
  const names = Object.keys(FIELDS[collection])
  const one = mark.random.pick(names)
  return made(collection, mark, (_, name) => name === one || mark.random.chance(0.2))
}

function made(
  collection: CollectionName,
  mark: Mark,
  wanted: (kind: FieldKind, name: string) => boolean,
): Fields {
  const fields: Fields = {}
  for (const [name, kind] of Object.entries(FIELDS[collection])) {
    if (!wanted(kind, name)) continue
    fields[name] = !kind.required && mark.random.chance(NULL_CHANCE) ? null : kind.make(mark)
  }
  return fields
}

/** One text for one value: members in order, so that equal objects are equal texts. */
export function canonical(value: unknown): string {
  const text = JSON.stringify(value, (_, inner) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
  return text ?? 'nothing'
}

/** How a value that was sent is read: null shows as the field's empty value. */
export function shownAs(collection: CollectionName, field: string, value: unknown): string {
  return canonical(value ?? FIELDS[collection][field]?.empty)
}
