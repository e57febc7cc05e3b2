import { describe, expect, test } from 'bun:test'
import { fileURLToPath } from 'node:url'
import { parseRows, type ReplayRow, readRows } from '../../tools/replay/reader.ts'

const SAMPLE = fileURLToPath(new URL('../../tools/replay/sample.jsonl', import.meta.url))
const ROW: ReplayRow = { sheet: 'Dialogue', row: 0, context: null, source: 'Hello', target: '你好' }

/** The bytes in chunks of the given size, as a slow disk might hand them out. */
async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}

function rowsOf(content: string | Uint8Array, chunkBytes = 1024) {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  return Array.fromAsync(parseRows(inChunks(bytes, chunkBytes), 'game.jsonl'))
}

const lineOf = (row: unknown) => `${JSON.stringify(row)}\n`

test('rows come out the same however the bytes are cut', async () => {
  const rows = [ROW, { ...ROW, row: 1, source: '🐉 é e\u0301', context: 'seen\nfrom afar' }]
  const content = rows.map(lineOf).join('')
  for (const chunkBytes of [1, 2, 3, 7, 1000]) expect(await rowsOf(content, chunkBytes)).toEqual(rows)
})

test('only LF ends a line: other separators stand in strings', async () => {
  const row = { ...ROW, source: 'one\u2028two\u2029three\u0085four\u000bfive' }
  expect(await rowsOf(lineOf(row))).toEqual([row])
})

test('CRLF, empty lines, a byte order mark and a missing last newline are fine', async () => {
  const content = `\ufeff${JSON.stringify(ROW)}\r\n\r\n\n${JSON.stringify(ROW)}`
  expect(await rowsOf(content)).toEqual([ROW, ROW])
})

test('an absent context is null, and unknown fields are passed over', async () => {
  const { context: _, ...bare } = ROW
  expect(await rowsOf(lineOf({ ...bare, extra: 1 }))).toEqual([ROW])
})

test('an empty file has no rows', async () => {
  expect(await rowsOf('')).toEqual([])
})

describe('a text that can not be stored is skipped with its line and the reason', () => {
  const long = '字'.repeat(21_845)
  test('65,535 bytes are not too long, one more is', async () => {
    expect(await rowsOf(lineOf({ ...ROW, target: long }))).toHaveLength(1)
    const content = lineOf(ROW) + lineOf({ ...ROW, target: `${long}!` }) + lineOf(ROW)
    expect(await rowsOf(content)).toEqual([
      ROW,
      { line: 2, reason: 'target is longer than 65535 bytes' },
      ROW,
    ])
  })
  test('a context that is too long', async () => {
    const [found] = await rowsOf(lineOf({ ...ROW, context: `${long}!` }))
    expect(found).toEqual({ line: 1, reason: 'context is longer than 65535 bytes' })
  })
  test('half of a surrogate pair', async () => {
    const [found] = await rowsOf(lineOf({ ...ROW, source: 'a\ud83d' }))
    expect(found).toEqual({ line: 1, reason: 'source contains a lone surrogate' })
  })
  test('a sheet name of more than 255 characters', async () => {
    expect(await rowsOf(lineOf({ ...ROW, sheet: '🐉'.repeat(255) }))).toHaveLength(1)
    const [found] = await rowsOf(lineOf({ ...ROW, sheet: '🐉'.repeat(256) }))
    expect(found).toEqual({ line: 1, reason: 'sheet is longer than 255 characters' })
  })
})

describe('a line that is no row is an error that names it', () => {
  const wrong: [title: string, line: string, message: string][] = [
    ['broken JSON', '{"sheet":', 'is not valid JSON'],
    ['an array', '[1]', 'is not a JSON object'],
    ['null', 'null', 'is not a JSON object'],
    ['no sheet', lineOf({ ...ROW, sheet: undefined }), 'sheet must be a text'],
    ['a negative row', lineOf({ ...ROW, row: -1 }), 'row must be a whole number'],
    ['a row past 31 bits', lineOf({ ...ROW, row: 2 ** 31 }), 'row must be a whole number'],
    ['a number as context', lineOf({ ...ROW, context: 7 }), 'context must be a text or null'],
    ['no source', lineOf({ ...ROW, source: null }), 'source must be a text'],
    ['no target', lineOf({ ...ROW, target: undefined }), 'target must be a text'],
  ]
  test.each(wrong)('%s', async (_, line, message) => {
    await expect(rowsOf(`${lineOf(ROW)}\n${line}`)).rejects.toThrow(`game.jsonl:3: ${message}`)
  })
  test('bytes that are no UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from(lineOf(ROW)), Buffer.from([0x22, 0xff, 0x22])])
    await expect(rowsOf(bytes)).rejects.toThrow('game.jsonl:2: is not valid UTF-8')
  })
})

test('a file that is not there is an error that names it', async () => {
  await expect(Array.fromAsync(readRows('/no/such.jsonl'))).rejects.toThrow(
    "can't read /no/such.jsonl: ENOENT",
  )
})

test('the sample can be stored whole, over three sheets, and holds what game text holds', async () => {
  const found = await Array.fromAsync(readRows(SAMPLE))
  const rows = found.filter((row): row is ReplayRow => 'sheet' in row)
  expect(rows).toHaveLength(found.length)
  expect(new Set(rows.map(({ sheet }) => sheet)).size).toBe(3)
  const text = rows.map(({ source, target }) => source + target).join('')
  for (const kind of [
    /<b>/,
    /\{player_name\}/,
    /%s/,
    /\n/,
    /\t/,
    /🐉/u,
    /\u200d/,
    /\p{M}/u,
    /\u2028/,
    /\p{Script=Han}/u,
  ]) {
    expect(text).toMatch(kind)
  }
  expect(Math.max(...rows.map(({ source }) => source.length))).toBeGreaterThan(1000)
})
