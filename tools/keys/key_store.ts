/** The file itself: one writer at a time, and every reader sees it whole. */
import { Database } from 'bun:sqlite'
import {
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { failureOf, readKeyFile } from '../../src/auth/key_file.ts'
import { asOwner, isRoot } from './as_owner.ts'
import { KeysError } from './failure.ts'

const LOCK_WAIT_MS = 15_000
const NEW_FILE_MODE = 0o600
/** What others may do is never more than reading. */
const KEPT_MODE = 0o644

/** The text of the file; null where there is none. */
export function readText(path: string): string | null {
  try {
    return readKeyFile(path)
  } catch (error) {
    const failure = failureOf(error)
    if (failure === 'ENOENT') return null
    throw new KeysError(`${shownPath(path)} can't be read (${failure})`)
  }
}

/**
 * Replaces the text by what `change` makes of it, which is null where there is no file, and answers what
 * `change` answers beside it. What `change` throws leaves the file as it is.
 */
export function changeText<T>(path: string, change: (text: string | null) => { text: string; result: T }): T {
  try {
    mkdirSync(dirname(path), { recursive: true })
    // A link stays a link.
    return asOwner(path, (target) => {
      const before = statOf(target)
      if (before && !isRoot() && before.uid !== process.geteuid?.()) throw foreign(path)
      return locked(target, () => {
        const { text, result } = change(readText(target))
        replace(target, text)
        return result
      })
    })
  } catch (error) {
    if (error instanceof KeysError) throw error
    throw new KeysError(`${shownPath(path)} can't be written (${failureOf(error)})`)
  }
}

function foreign(path: string): KeysError {
  const rest = process.getuid?.() === 0 ? ' than its folder, or the link to it' : ': run this as that one'
  return new KeysError(`${path} belongs to another user${rest}`)
}

/** A path that leads to nothing may be a key in the wrong place. */
function shownPath(path: string): string {
  return existsSync(path) ? path : 'the file of API keys (API_KEYS_FILE, or api_keys in DATA_DIR)'
}

/**
 * The lock of an SQLite database that stays empty: the kernel lets go of it however its holder ends, so
 * there is no stale one, and nobody has to judge whether another process lives.
 */
function locked<T>(path: string, work: () => T): T {
  const lockPath = `${path}.lock`
  makeLock(lockPath, ownerOf(path))
  const lock = new Database(lockPath, { readwrite: true })
  try {
    lock.run(`PRAGMA busy_timeout = ${LOCK_WAIT_MS}`)
    lock.run('BEGIN EXCLUSIVE')
    return work()
  } finally {
    lock.close()
  }
}

/** Others may have put something else there, for root to give away. */
function makeLock(path: string, owner: Stats): void {
  const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants
  const file = openSync(path, O_CREAT | O_NOFOLLOW | O_RDWR, NEW_FILE_MODE)
  try {
    const found = fstatSync(file)
    if (!found.isFile() || found.nlink > 1) throw new KeysError(`${path} is not a file of its own: remove it`)
    adopt(file, owner)
  } finally {
    closeSync(file)
  }
}

function replace(path: string, text: string): void {
  const owner = ownerOf(path)
  const before = statOf(path)
  // One writer at a time: what has this name already was left by one that was killed.
  const draft = `${path}.new`
  rmSync(draft, { force: true })
  const mode = before ? before.mode & KEPT_MODE : NEW_FILE_MODE
  const file = openSync(draft, 'wx', mode)
  try {
    adopt(file, owner)
    writeFileSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(draft, path)
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** Whose it is to be: the service's, which has to read it, also where root makes it. */
function ownerOf(path: string): Stats {
  return statOf(path) ?? statSync(dirname(path))
}

function adopt(file: number, { uid, gid }: Stats): void {
  if (isRoot()) fchownSync(file, uid, gid)
}

function statOf(path: string): Stats | null {
  return statSync(path, { throwIfNoEntry: false }) ?? null
}
