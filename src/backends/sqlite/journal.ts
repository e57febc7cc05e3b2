/** The journal in SQLite: one file an instance, in WAL mode, under a lock that ends with its process. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Journal,
  type JournalChange,
  JournalError,
  type JournalRecord,
  type JournalStore,
  type OpenedJournal,
} from '../../buffer/journal.ts'
import { messageOf } from '../../lib/errors.ts'
import { atOnce, turnByTurn } from '../../lib/turns.ts'
import { type JournalFile, ROWS_A_PUT } from './journal_file.ts'
import type { Mark } from './journal_mark.ts'
import { codeOf, type Durability, FULL, markPath, openJournal, sizeOf } from './journal_open.ts'
import { createRecordEncoder, decodeRecord } from './journal_record.ts'
import { createReserve } from './journal_reserve.ts'
import { stateLine } from './journal_state.ts'

export interface JournalOptions {
  folder: string
  instanceId: string
  durability: Durability
}

const NAME = /^([A-Za-z0-9._-]{1,64})\.journal$/
/** The journals of a folder, which is made when the own one is opened; nothing is opened before. */
const IDS_A_PIECE = 500
const SMALLER_PIECE = 8

export function openJournals({ folder, instanceId, durability }: JournalOptions): JournalStore {
  const journalOf = (id: string) =>
    createJournal({ path: join(folder, `${id}.journal`), instanceId: id, durability })
  return {
    own: journalOf(instanceId),
    others() {
      if (!existsSync(folder)) return []
      return readdirSync(folder)
        .map((name) => NAME.exec(name)?.[1])
        .filter((id) => id !== undefined && id !== instanceId)
        .map((id) => journalOf(id!))
    },
  }
}

interface Opened {
  file: JournalFile
  mark: Mark
  /** Number of the last commit. */
  commit: number
}

function createJournal({
  path,
  instanceId,
  durability,
}: Omit<JournalOptions, 'folder'> & { path: string }): Journal {
  const encoder = createRecordEncoder()
  const reserve = createReserve(path)
  let opened: Opened | null = null
  let isOpening = false

  function* opening(): Generator<void, OpenedJournal> {
    if (opened || isOpening) throw new JournalError('locked', `${path} is open already`)
    isOpening = true
    try {
      const { file, mark, state, records, lastId, lostRows, faults } = yield* openJournal(path, durability)
      const { commit, ...known } = state
      opened = { file, mark, commit }
      reserve.restore()
      return { state: known, records, lastId: Math.max(lastId, known.lastId), lostRows, faults }
    } finally {
      isOpening = false
    }
  }

  function using(): Opened {
    if (!opened) throw new JournalError('failed', `${path} is not open`)
    return opened
  }

  function putAll(file: JournalFile, records: readonly JournalRecord[]): void {
    for (let from = 0; from < records.length; from += ROWS_A_PUT) {
      encoder.reset()
      const cells: (number | Uint8Array)[] = []
      for (const record of records.slice(from, from + ROWS_A_PUT))
        cells.push(record.id, encoder.encode(record))
      file.put(cells)
    }
  }

  /**
   * A disk that the journal itself has filled: letting go of much takes room in the log first. A little of it
   * at a time needs little, and less where records are large, since what is freed is overwritten; each piece has
   * the state of the whole, and what a crash leaves is stored once more.
   */
  function removeInPieces(
    file: JournalFile,
    ids: readonly number[],
    write: (removed: readonly number[]) => void,
  ): void {
    reserve.release()
    try {
      for (let from = 0, size = IDS_A_PIECE; from < ids.length; ) {
        file.checkpoint()
        try {
          write(ids.slice(from, from + size))
          from += size
        } catch (error) {
          if (size === 1 || codeOf(error) !== FULL) throw error
          size = Math.ceil(size / SMALLER_PIECE)
        }
      }
      file.checkpoint()
    } catch (error) {
      throw failureOf(error, path)
    } finally {
      reserve.restore()
    }
  }

  return {
    instanceId,

    open: () => atOnce(opening()),
    openInTurns: () => turnByTurn(opening()),

    commit({ put, remove, state }: JournalChange) {
      const { file, mark, commit } = using()
      const line = stateLine({ ...state, commit: commit + 1 })
      const write = (removed: readonly number[]) =>
        file.transaction(() => {
          putAll(file, put)
          for (const [first, last] of runsOf(removed)) file.removeRun(first, last)
          file.putState(line)
        })
      try {
        write(remove)
      } catch (error) {
        const failure = failureOf(error, path)
        if (failure.kind !== 'full' || put.length > 0 || remove.length === 0) throw failure
        removeInPieces(file, remove, write)
      }
      using().commit++
      mark.write(line)
    },

    read(after, limit) {
      const { file } = using()
      const records: JournalRecord[] = []
      let last = after
      // A page whose records were all damaged since the file was opened isn't the end: those stay, and are counted
      // as lost by the next `open`, which looks at every one.
      while (records.length === 0) {
        const rows = pageOf(file, last, limit)
        if (rows.length === 0) break
        last = rows.at(-1)![0]
        for (const [id, body] of rows) {
          const record = decodeRecord(body)
          if (record?.id === id) records.push(record)
        }
      }
      return records
    },

    shrink() {
      try {
        using().file.vacuum()
      } catch (error) {
        throw failureOf(error, path)
      }
    },

    sizeBytes: () => sizeOf(path) + sizeOf(`${path}-wal`) + sizeOf(markPath(path)),

    close() {
      if (opened) reserve.release()
      opened?.file.close()
      opened?.mark.close()
      opened = null
    },
  }

  function pageOf(file: JournalFile, after: number, limit: number) {
    try {
      return file.page(after, limit)
    } catch (error) {
      throw failureOf(error, path)
    }
  }
}

function failureOf(error: unknown, path: string): JournalError {
  if (error instanceof JournalError) return error
  return new JournalError(codeOf(error) === FULL ? 'full' : 'failed', `${path}: ${messageOf(error)}`, error)
}

/** Ids as runs without gaps: most of them are stored in the order in which they came. */
function runsOf(ids: readonly number[]): [first: number, last: number][] {
  const runs: [number, number][] = []
  for (const id of ids.toSorted((a, b) => a - b)) {
    const run = runs.at(-1)
    if (run && id <= run[1] + 1) run[1] = id
    else runs.push([id, id])
  }
  return runs
}
