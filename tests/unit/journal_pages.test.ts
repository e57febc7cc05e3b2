/** Pages of a damaged journal, made by hand: what they say of themselves is believed as little as it must be. */
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { cellsOf, openPages, PAGE_BYTES } from '../../src/backends/sqlite/journal_pages.ts'
import { type JournalFolder, journalFolder } from '../support/journals.ts'

const LEAF = 2
const OVERFLOW = 3
/** What a leaf of a table keeps of a row that goes on in other pages: the least that it may. */
const LOCAL = 489

let place: JournalFolder
beforeEach(() => {
  place = journalFolder()
})
afterEach(() => place.drop())

function varint(value: number): number[] {
  const bytes = [value & 0x7f]
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128))
    bytes.unshift((rest & 0x7f) | 0x80)
  return bytes
}

const numbered = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** A leaf with one cell: row 1, whose last column is a blob of so many bytes that goes on in page 3. */
function leaf(blobBytes: number): Buffer {
  const header = [0, ...varint(blobBytes * 2 + 12)]
  header.unshift(header.length + 1)
  const page = Buffer.alloc(PAGE_BYTES)
  page[0] = 13
  page.writeUInt16BE(1, 3)
  page.writeUInt16BE(100, 8)
  const cell = Buffer.concat([
    Buffer.from([...varint(header.length + blobBytes), 1]),
    Buffer.concat([Buffer.from(header), Buffer.alloc(LOCAL)], LOCAL),
    numbered(OVERFLOW),
  ])
  cell.copy(page, 100)
  return page
}

const overflow = (next: number, fill: string) =>
  Buffer.concat([numbered(next), Buffer.alloc(PAGE_BYTES - 4, fill)])

function rowsOfLeaf(): string[] {
  const pages = openPages(place.path)
  try {
    return pages
      .images(LEAF)
      .flatMap((image) =>
        Array.from(
          cellsOf(pages, image),
          ({ content }) => `${content.length} ${content.toString('latin1').at(-1)}`,
        ),
      )
  } finally {
    pages.close()
  }
}

/** The size of a blob whose row keeps the least in its leaf, and fills so many other pages. */
function blobOf(pages: number): number {
  const header = 2 + varint(pages * PAGE_BYTES * 2).length
  return LOCAL + pages * (PAGE_BYTES - 4) - header
}

test('a row that goes on in another page is tried as the file has it, and then as a damaged log has it', () => {
  const blob = blobOf(1)
  writeFileSync(place.path, Buffer.concat([Buffer.alloc(PAGE_BYTES), leaf(blob), overflow(0, 'a')]))
  expect(rowsOfLeaf()).toEqual([`${blob} a`])
  const frame = Buffer.concat([numbered(OVERFLOW), Buffer.alloc(20), overflow(0, 'b')])
  writeFileSync(`${place.path}-wal`, Buffer.concat([Buffer.alloc(32), frame]))
  expect(rowsOfLeaf()).toEqual([`${blob} a`, `${blob} b`])
})

test('a row that goes on in itself, or is larger than any, is none', () => {
  function write(pages: number, next: (page: number) => number): number {
    const file = Buffer.alloc((OVERFLOW + pages) * PAGE_BYTES)
    leaf(blobOf(pages)).copy(file, PAGE_BYTES)
    for (let page = OVERFLOW; page < OVERFLOW + pages; page++)
      overflow(next(page), 'a').copy(file, (page - 1) * PAGE_BYTES)
    writeFileSync(place.path, file)
    return blobOf(pages)
  }
  const blob = write(50, (page) => page + 1)
  expect(rowsOfLeaf()).toEqual([`${blob} a`])
  write(50, () => OVERFLOW)
  expect(rowsOfLeaf()).toEqual([])
  write(5000, (page) => page + 1)
  expect(rowsOfLeaf()).toEqual([])
})
