/**
 * What is intact of a damaged journal goes into a fresh file, which takes its place when it is whole. The
 * damaged one is kept for the operator. A record proves itself by its checksum, so it is taken from wherever
 * it stands; one that is found twice is merged, as the law has it, and one too many is merely stored again.
 */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { heldBy, type JournalRecord } from '../../buffer/journal.ts'
import { merge, newestStamp } from '../../collections/row.ts'
import { ABSENT, laterOf, type Stamp } from '../../collections/stamp.ts'
import { atOnce } from '../../lib/turns.ts'
import { connect, createTables, type JournalFile, journalFile, type Scan, scan } from './journal_file.ts'
import { cellsOf, childrenOf, isInterior, openPages, type Pages } from './journal_pages.ts'
import { createRecordEncoder, decodeRecord } from './journal_record.ts'
import { type NumberedState, readStateLine, settle, stateLine } from './journal_state.ts'

const RECORDS_ROOT = 2
const STATE_ROOT = 3
const LEAF = 13
const PAGE_ROWS = 1000

export interface Salvaged extends Scan {
  state: NumberedState
  lostRows: number
  faults: string[]
}

interface SalvageOptions {
  path: string
  /** Gives up the lock, when the damaged file is away or can't be replaced. */
  release(): void
  mark: NumberedState | null
  /** Part of the kept file's name. */
  nowMs: number
}

/** Whole, and about to take the damaged one's place. */
const freshPath = (path: string) => `${path}-salvaged`
const unfinishedPath = (path: string) => `${path}-salvaging`
const keptPath = (path: string, nowMs: number) => `${path}.damaged-${new Date(nowMs).toISOString()}`

/** Throws where the fresh file can't be written; the damaged one and its log are as they were then. */
export function salvage({ path, release, mark, nowMs }: SalvageOptions): Salvaged {
  // Whoever closes a file gives up all locks of its process on it: these stay open until the swap is done.
  const pages = openPages(path)
  try {
    const salvaged = fill(unfinishedPath(path), (file) => {
      const state = newestState(pages)
      const strays = gather(pages, file, state)
      const found = atOnce(scan(file)) // within a transaction
      const settled = settle({ state, mark, readable: found.readable, strays })
      settled.state.commit++
      if (!state && !mark) settled.state.highWater = newestIn(file)
      file.putState(stateLine(settled.state))
      if (!state) settled.faults.push(`its counts can't be read${mark ? ': those of the mark are used' : ''}`)
      return { ...found, ...settled }
    })
    renameSync(unfinishedPath(path), freshPath(path))
    moveAway(path, keptPath(path, nowMs))
    release()
    takePlace(path)
    return salvaged
  } finally {
    pages.close()
  }
}

/** A salvage whose end was interrupted: the damaged file is away already, the fresh one is whole. */
export function finishSalvage(path: string, nowMs: number): void {
  if (existsSync(path) || !existsSync(freshPath(path))) return
  moveAway(path, keptPath(path, nowMs))
  takePlace(path)
}

function takePlace(path: string): void {
  renameSync(freshPath(path), path)
  syncFolder(path)
}

/** The file before its log: a log that is left alone is known by the file that is missing. */
function moveAway(path: string, kept: string): void {
  if (existsSync(path)) renameSync(path, kept)
  const log = `${path}-wal`
  if (existsSync(log)) {
    if (statSync(log).size > 0) renameSync(log, `${kept}-wal`)
    else rmSync(log) // the look at the file has made it
  }
  syncFolder(path)
}

function removeFiles(path: string): void {
  for (const suffix of ['', '-journal']) rmSync(path + suffix, { force: true })
}

function syncFolder(path: string): void {
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** Makes a fresh journal in one transaction; it is on the disk when this returns, and gone where it throws. */
function fill<T>(path: string, work: (file: JournalFile) => T): T {
  removeFiles(path)
  let close = () => {}
  try {
    const client = connect(path)
    close = () => client.close()
    createTables(client)
    const file = journalFile(client)
    close = file.close
    let result: T | undefined
    file.transaction(() => {
      result = work(file)
    })
    close()
    return result as T
  } catch (error) {
    close()
    removeFiles(path)
    throw error
  }
}

/** The newest state that any image of its page holds. */
function newestState(pages: Pages): NumberedState | null {
  let newest: NumberedState | null = null
  for (const image of pages.images(STATE_ROOT)) {
    for (const { content } of cellsOf(pages, image)) {
      const state = readStateLine(content.toString('utf8'))
      if (state && (!newest || state.commit > newest.commit)) newest = state
    }
  }
  return newest
}

/**
 * Puts into the fresh file every record that the tree leads to; where it leads astray, all that aren't free.
 * Answers, by collection, those of which nobody can tell whether they had been removed: the list of free pages
 * is damaged too.
 */
function gather(pages: Pages, into: JournalFile, state: NumberedState | null): ReadonlyMap<string, number> {
  const strays = new Map<string, number>()
  let doubtful = false
  const encoder = createRecordEncoder()
  let found = 0

  function take(image: Buffer): void {
    for (const { content } of cellsOf(pages, image)) {
      const record = decodeRecord(content)
      if (!record) continue
      const { id, collection } = record
      const known = into.get(id)
      if (!known) {
        into.put([id, content])
        found++
        if (doubtful) strays.set(collection, (strays.get(collection) ?? 0) + 1)
        continue
      }
      encoder.reset()
      into.put([id, encoder.encode(both(decodeRecord(known)!, record))])
    }
  }

  const seen = new Set<number>([1, STATE_ROOT])
  const open = [RECORDS_ROOT]
  let astray = false
  for (let page = open.pop(); page !== undefined; page = open.pop()) {
    seen.add(page)
    const images = pages.images(page)
    if (images.length === 0) astray = true
    // The last is taken first: reversed, so that ids come ascending, which fills the fresh file's pages.
    for (const child of new Set(images.filter(isInterior).flatMap(childrenOf).reverse())) {
      if (child < 1 || child > pages.last || seen.has(child)) astray = true
      else open.push(child)
      seen.add(child)
    }
    for (const image of images) {
      if (isInterior(image)) continue
      if (image[0] !== LEAF) astray = true
      take(image)
    }
  }

  const held = Object.values(state?.counts ?? {}).reduce((sum, counts) => sum + heldBy(counts), 0)
  if (!astray && found >= held) return strays
  const free = pages.free()
  doubtful = free === null
  for (let page = RECORDS_ROOT; page <= pages.last; page++) {
    if (seen.has(page) || free?.has(page)) continue
    for (const image of pages.images(page)) if (image[0] === LEAF) take(image)
  }
  return strays
}

/** Where no state tells what was given, no stamp may be given again that is in a record. */
function newestIn(file: JournalFile): Stamp {
  let newest = ABSENT
  let after = 0
  for (let page = file.page(after, PAGE_ROWS); page.length > 0; page = file.page(after, PAGE_ROWS)) {
    for (const [, body] of page) newest = laterOf(newest, newestStamp(decodeRecord(body)!.row))
    after = page.at(-1)![0]
  }
  return newest
}

/** Two contents of one record: the newer one was merged from the older. */
function both(a: JournalRecord, b: JournalRecord): JournalRecord {
  const isOne = a.collection === b.collection && a.row.key.join('\0') === b.row.key.join('\0')
  if (!isOne) return a // an id is one key's for ever: the other one is no record
  return {
    ...b,
    row: merge(a.row, b.row),
    acceptedAtMs: Math.min(a.acceptedAtMs, b.acceptedAtMs),
    replayed: a.replayed || b.replayed,
  }
}
