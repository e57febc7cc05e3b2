/** Opening a journal: its lock, a look at all of it, and a fresh file in the place of a damaged one. */
import { constants, type Database } from 'bun:sqlite'
import { accessSync, existsSync, constants as may, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { JournalError, type OpenedJournal } from '../../buffer/journal.ts'
import { messageOf } from '../../lib/errors.ts'
import {
  connect,
  createTables,
  faultOf,
  isBlank,
  type JournalFile,
  journalFile,
  newerVersion,
  type Scan,
  scan,
} from './journal_file.ts'
import { type Mark, openMark } from './journal_mark.ts'
import { finishSalvage, salvage } from './journal_salvage.ts'
import { type NumberedState, settle, stateLine } from './journal_state.ts'

/** `full`: a commit survives a power cut; `normal`: a kill. */
export type Durability = 'full' | 'normal'

/** A checkpoint of this many pages (2 MiB) stalls one commit in fifty or so for some milliseconds. */
const CHECKPOINT_PAGES = 500
/** What the log keeps on the disk after a commit that was larger. */
const LOG_LIMIT_BYTES = 4 * 1024 * 1024

/** SQLite's primary result codes that tell of the moment or the place, not of the file. */
const LOCKED = [5, 6, 15] // BUSY, LOCKED, PROTOCOL
const UNUSABLE = [3, 7, 13, 14] // PERM, NOMEM, FULL, CANTOPEN
export const FULL = 13

const EMPTIED = 'it is empty, and its log is not'

export const markPath = (path: string) => `${path}.mark`
export const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0

/** SQLite's primary result code; undefined where something else failed. */
export function codeOf(error: unknown): number | undefined {
  const { errno, code } = error as { errno?: unknown; code?: unknown }
  // Extended codes carry the primary one in their low byte.
  return typeof errno === 'number' && String(code).startsWith('SQLITE') ? errno & 0xff : undefined
}

export interface InUse extends OpenedJournal {
  state: NumberedState
  file: JournalFile
  mark: Mark
}

/** Yields wherever others may go first; SQLite's own check of the file is one piece. */
export function* openJournal(path: string, durability: Durability): Generator<void, InUse> {
  const nowMs = Date.now()
  let looked: Look | null = null
  let mark: Mark | null = null
  try {
    mkdirSync(dirname(path), { recursive: true })
    accessSync(dirname(path), may.W_OK)
    if (existsSync(path)) accessSync(path, may.R_OK | may.W_OK)
    finishSalvage(path, nowMs)
    looked = yield* look(path)
    mark = openMark(markPath(path)) // not before: somebody else may be writing it
    const { state, scan: found, file } = looked
    const isBehind = state !== null && mark.found !== null && mark.found.commit > state.commit
    if (looked.fault === null && !isBehind) {
      setUp(file!.client, durability)
      return { ...found!, ...balance(file!, mark, looked), file: file!, mark }
    }
    const salvaged = salvage({ path, release: looked.close, mark: mark.found, nowMs })
    if (looked.fault !== null) salvaged.faults.unshift(`the file is damaged: ${looked.fault}`)
    mark.write(stateLine(salvaged.state))
    const client = connect(path)
    looked.close = () => client.close()
    setUp(client, durability)
    return { ...salvaged, file: journalFile(client), mark }
  } catch (error) {
    mark?.close()
    looked?.close()
    throw openingError(path, error)
  }
}

/** What stands in an intact file is what its counts say, or is made so. */
function balance(file: JournalFile, mark: Mark, { state, scan: found, isNew }: Look) {
  const settled = settle({ state, mark: mark.found, readable: found!.readable })
  if (isNew && mark.found) settled.faults.unshift('there is no journal, and its mark says that there was')
  if (settled.faults.length > 0) {
    settled.state.commit++
    file.transaction(() => file.putState(stateLine(settled.state)))
  }
  if (mark.found?.commit !== settled.state.commit) mark.write(stateLine(settled.state))
  return settled
}

interface Look {
  /** With `scan`, null where the file is damaged. */
  file: JournalFile | null
  scan: Scan | null
  /** Null where it can't be read, or the file is new. */
  state: NumberedState | null
  isNew: boolean
  /** What is wrong with the file, in words; null where all is well. */
  fault: string | null
  /** Gives up the lock, and leaves file and log as they are. */
  close(): void
}

/** Takes the lock and checks everything. What is wrong with a file stays as it is, its log too. */
function* look(path: string): Generator<void, Look> {
  const damaged = { file: null, scan: null, state: null, isNew: false }
  // SQLite would delete the log of an empty file, and all that is in it.
  if (sizeOf(path) === 0 && sizeOf(`${path}-wal`) > 0) {
    return { ...damaged, fault: EMPTIED, close: () => {} }
  }
  let client: Database | null = null
  let file: JournalFile | null = null
  const close = () => {
    if (file) file.close()
    else client?.close()
    file = client = null
  }
  try {
    client = connect(path)
    client.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1) // a damaged log is read by salvage, and kept
    client.run('BEGIN EXCLUSIVE')
    client.run('COMMIT')
    const version = newerVersion(client)
    if (version !== null) {
      throw new JournalError(
        'unusable',
        `${path} has format version ${version}, which is newer than this program`,
      )
    }
    const isNew = isBlank(client)
    if (isNew && sizeOf(`${path}-wal`) > 0) return { ...damaged, fault: EMPTIED, close }
    if (isNew) createTables(client)
    const fault = faultOf(client)
    if (fault !== null) return { ...damaged, fault, close }
    file = journalFile(client)
    const found = yield* scan(file)
    const state = file.state()
    return {
      file,
      scan: found,
      state: isNew ? null : state,
      isNew,
      fault: found.fault ?? (state ? null : 'its counts are damaged'),
      close,
    }
  } catch (error) {
    const code = codeOf(error)
    if (code === undefined || LOCKED.includes(code) || UNUSABLE.includes(code)) {
      close()
      throw error
    }
    return { ...damaged, fault: messageOf(error), close }
  }
}

function setUp(client: Database, durability: Durability): void {
  client.run('PRAGMA journal_mode = WAL')
  client.run(`PRAGMA synchronous = ${durability === 'full' ? 'FULL' : 'NORMAL'}`)
  client.run(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
  client.run(`PRAGMA journal_size_limit = ${LOG_LIMIT_BYTES}`)
  client.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 0)
}

function openingError(path: string, error: unknown): JournalError {
  if (error instanceof JournalError) return error
  const code = codeOf(error)
  if (code !== undefined && LOCKED.includes(code)) {
    return new JournalError('locked', `${path} is held by another process`, error)
  }
  // Whatever else it is, a mistake of this program too: what a damaged file holds must not end the process.
  return new JournalError('unusable', `${path} can't be used: ${messageOf(error)}`, error)
}
