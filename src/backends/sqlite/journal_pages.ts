/**
 * The pages of a damaged journal, read without SQLite, which refuses all that a damaged page leads to. The
 * layout is SQLite's published one (https://www.sqlite.org/fileformat2.html), and doesn't change.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { type Frame, readFrames } from './journal_log.ts'

export const PAGE_BYTES = 4096
const INTERIOR = 5
/** More of a cell than this is in overflow pages: usable size - 35. */
const MOST_LOCAL = PAGE_BYTES - 35
const LEAST_LOCAL = Math.floor(((PAGE_BYTES - 12) * 32) / 255) - 23
const OVERFLOW_BYTES = PAGE_BYTES - 4
/** Of a row: the largest that a request can write have some 5 MiB, so what says that it is larger is damaged. */
const MOST_ROW_BYTES = 16 * 1024 * 1024
/** In the file's header. */
const FIRST_TRUNK = 32
const FREE_PAGES = 36

/** A row of a table's tree: its number, and its last column. */
export interface Cell {
  rowid: number
  content: Buffer
}

export interface Pages {
  /** The highest page number. */
  last: number
  /**
   * What a page held, oldest first: what the last intact commit left, and behind it what stands in a damaged part
   * of the log. Empty where nothing can be read.
   */
  images(page: number): Buffer[]
  /** Pages that the file calls free: their rows were removed. Null where that list is damaged. */
  free(): Set<number> | null
  close(): void
}

/** Opens the file and its log for reading; either may be missing. */
export function openPages(path: string): Pages {
  const file = existsSync(path) ? openSync(path, 'r') : null
  const log = existsSync(`${path}-wal`) ? openSync(`${path}-wal`, 'r') : null
  const intact = new Map<number, Frame>()
  const doubtful = new Map<number, Frame>()
  let last = file === null ? 0 : Math.ceil(fstatSync(file).size / PAGE_BYTES)
  for (const frame of log === null ? [] : readFrames(log, PAGE_BYTES)) {
    if (frame.doubtful) {
      doubtful.set(frame.page, frame)
      continue
    }
    last = Math.max(last, frame.page)
    intact.set(frame.page, frame)
    doubtful.delete(frame.page)
  }

  function readAt(from: number, offset: number): Buffer[] {
    const page = Buffer.alloc(PAGE_BYTES) // what is cut off reads as zeros
    try {
      return readSync(from, page, 0, PAGE_BYTES, offset) === 0 ? [] : [page]
    } catch {
      return [] // a bad block: what is in it is lost, and will be counted
    }
  }

  function images(page: number): Buffer[] {
    const written = intact.get(page)
    const suspect = doubtful.get(page)
    return [
      ...(written
        ? readAt(log!, written.offset)
        : file === null
          ? []
          : readAt(file, (page - 1) * PAGE_BYTES)),
      ...(suspect ? readAt(log!, suspect.offset) : []),
    ]
  }

  return {
    last: lastWith(doubtful.keys(), last, last + doubtful.size),
    images,
    free() {
      const free = new Set<number>()
      const [first] = images(1)
      for (let trunk = first?.readUInt32BE(FIRST_TRUNK) ?? 0; trunk > 1 && !free.has(trunk); ) {
        free.add(trunk)
        const [page] = images(trunk)
        if (!page) break
        const leaves = Math.min(page.readUInt32BE(4), PAGE_BYTES / 4 - 2)
        for (let leaf = 0; leaf < leaves; leaf++) free.add(page.readUInt32BE(8 + leaf * 4))
        trunk = page.readUInt32BE(0)
      }
      return free.size === first?.readUInt32BE(FREE_PAGES) ? free : null
    },
    close() {
      if (file !== null) closeSync(file)
      if (log !== null) closeSync(log)
    },
  }
}

/** The greatest of the pages up to `most`, or `least`. */
function lastWith(pages: Iterable<number>, least: number, most: number): number {
  let last = least
  for (const page of pages) if (page <= most && page > last) last = page
  return last
}

export function isInterior(image: Buffer): boolean {
  return image[0] === INTERIOR
}

/** Offsets of a page's cells, those that can't be right left out. */
function* cellOffsets(image: Buffer, pointers: number): Iterable<number> {
  const cells = Math.min(image.readUInt16BE(3), (PAGE_BYTES - pointers) / 2)
  for (let cell = 0; cell < cells; cell++) {
    const offset = image.readUInt16BE(pointers + cell * 2)
    if (offset >= pointers && offset + 4 <= PAGE_BYTES) yield offset
  }
}

/** The pages that an interior page leads to. */
export function childrenOf(image: Buffer): number[] {
  return [
    ...Array.from(cellOffsets(image, 12), (offset) => image.readUInt32BE(offset)),
    image.readUInt32BE(8),
  ]
}

/** The rows of a leaf whose shape can be read; whether their content is what was written is for the reader to check. */
export function* cellsOf(pages: Pages, image: Buffer): Iterable<Cell> {
  for (const offset of cellOffsets(image, 8)) {
    const size = varint(image, offset)
    const rowid = varint(image, size.end)
    for (const content of payloads(pages, image, { at: rowid.end, size: size.value })) {
      const row = lastColumn(content)
      if (row) yield { rowid: rowid.value, content: row }
    }
  }
}

function varint(bytes: Buffer, start: number): { value: number; end: number } {
  let value = 0
  // Eight bytes are more than any number here: a ninth would be damage.
  for (let at = start; at < Math.min(start + 8, bytes.length); at++) {
    const byte = bytes[at]!
    value = value * 128 + (byte & 0x7f)
    if (byte < 0x80) return { value, end: at + 1 }
  }
  return { value: Number.POSITIVE_INFINITY, end: start + 1 }
}

/** What a row may be: by the intact images of the pages that it goes on in, then by the doubtful ones. */
function* payloads(
  pages: Pages,
  image: Buffer,
  { at, size }: { at: number; size: number },
): Iterable<Buffer> {
  if (size > Math.min(MOST_ROW_BYTES, pages.last * PAGE_BYTES)) return
  if (size <= MOST_LOCAL) {
    if (at + size <= PAGE_BYTES) yield image.subarray(at, at + size)
    return
  }
  const rest = LEAST_LOCAL + ((size - LEAST_LOCAL) % OVERFLOW_BYTES)
  const local = rest <= MOST_LOCAL ? rest : LEAST_LOCAL
  if (at + local + 4 > PAGE_BYTES) return
  const start = image.subarray(at, at + local)
  const first = image.readUInt32BE(at + local)
  const intact = chain(pages, { first, bytes: size - local, which: 0 })
  if (intact) yield Buffer.concat([start, ...intact.parts])
  if (intact?.isOnly) return
  const doubtful = chain(pages, { first, bytes: size - local, which: -1 })
  if (doubtful) yield Buffer.concat([start, ...doubtful.parts])
}

interface Chain {
  first: number
  bytes: number
  /** Of the images of a page, from the end where it is negative. */
  which: 0 | -1
}

/** The parts in overflow pages, and whether no page of them has another image; null where they lead astray. */
function chain(pages: Pages, { first, bytes, which }: Chain): { parts: Buffer[]; isOnly: boolean } | null {
  const parts: Buffer[] = []
  const seen = new Set<number>()
  let isOnly = true
  let next = first
  for (let left = bytes; left > 0; left -= OVERFLOW_BYTES) {
    const images = next >= 1 && next <= pages.last && !seen.has(next) ? pages.images(next) : []
    const page = images.at(which)
    if (!page) return null
    seen.add(next)
    if (images.length > 1) isOnly = false
    parts.push(page.subarray(4, 4 + Math.min(left, OVERFLOW_BYTES)))
    next = page.readUInt32BE(0)
  }
  return { parts, isOnly }
}

/** The bytes of a record's last column, which is a text or a blob in both tables. */
function lastColumn(record: Buffer): Buffer | null {
  const header = varint(record, 0)
  let type = { value: 0, end: header.end }
  while (type.end < header.value && type.end < record.length) type = varint(record, type.end)
  const bytes = Math.floor((type.value - 12) / 2)
  return bytes > 0 && bytes <= record.length - header.value ? record.subarray(record.length - bytes) : null
}
