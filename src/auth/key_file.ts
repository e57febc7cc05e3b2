/** The file of API keys: read at the start, and again whenever it changes. */
import { readFileSync, type Stats, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import type { Logger } from '../lib/log.ts'
import { type KeyEntry, MAX_FILE_BYTES, parseKeyFile, shownFaults } from './key_line.ts'

export interface KeyFile {
  /** Whether it was there once. */
  expected(): boolean
  /** Looks whether it has changed; what looks the same twice is taken. */
  look(): Promise<void>
  start(): void
  stop(): void
}

interface KeyFileOptions {
  path: string
  /** The configuration names it, so it has to be there. */
  named: boolean
  /** Hashes of keys that are configured elsewhere. */
  taken: Iterable<string>
  log: Logger
  onKeys(entries: KeyEntry[]): void
}

/** Twice that is the longest before a change is seen, and seen to be whole. */
const LOOK_EVERY_MS = 400
const WRITABLE_BY_OTHERS = 0o022

type Look = { text: string; mode: number } | { failure: string }

/**
 * Looks once, before anybody comes in. A file that is faulty or gone later leaves the keys of before, and
 * never lets in anybody else.
 * @throws KeyFileError where a file that is named can't be read: there are no keys of before.
 */
export async function openKeyFile(options: KeyFileOptions): Promise<KeyFile> {
  const { path, named, log, onKeys } = options
  const taken = [...options.taken]
  let everThere = false
  /** What was seen last and acted upon; what is seen now, and may be half of something. */
  let settled = ''
  let unsettled = ''
  let timer: ReturnType<typeof setInterval> | null = null
  let looking = false

  function take({ text, mode }: { text: string; mode: number }): void {
    const { keys, faults } = parseKeyFile(text, taken)
    if (faults.length > 0) {
      log.error('API keys not taken, those of before stay', {
        meta: { file: path, faults: shownFaults(faults) },
      })
      return
    }
    const entries = keys.map(({ entry }) => entry)
    const revoked = entries.filter(({ revokedAtMs }) => revokedAtMs !== null).length
    onKeys(entries)
    log.info('API keys taken', { meta: { file: path, keys: entries.length - revoked, revoked } })
    if (mode & WRITABLE_BY_OTHERS) {
      log.warn('others may write the file of API keys, and so make some', { meta: { file: path } })
    }
  }

  function actUpon(seen: Look): void {
    if ('text' in seen) take(seen)
    else if (everThere) {
      const note = named
        ? {}
        : { note: 'A start without it asks nobody for a key: name it in API_KEYS_FILE.' }
      const meta = { file: path, error: seen.failure, ...note }
      log.error('API keys not read, those of before stay', { meta })
    }
  }

  async function see({ first }: { first: boolean }): Promise<void> {
    const seen = await lookAt(path)
    if (first && named && 'failure' in seen) throw new KeyFileError(seen.failure)
    everThere ||= 'text' in seen || !isAbsent(seen.failure)
    const mark = 'text' in seen ? `${seen.mode} ${seen.text}` : seen.failure
    // Whoever writes in place is done once two looks see the same.
    if (mark !== settled && (first || mark === unsettled)) {
      settled = mark
      actUpon(seen)
    }
    unsettled = mark
  }

  const look = () => see({ first: false })
  await see({ first: true })
  return {
    expected: () => everThere,
    look,

    start() {
      timer ??= setInterval(() => {
        // A file system that hangs is asked once.
        if (looking) return
        looking = true
        look().finally(() => {
          looking = false
        })
      }, LOOK_EVERY_MS)
      timer.unref?.()
    },

    stop() {
      if (timer) clearInterval(timer)
      timer = null
    },
  }
}

/**
 * Reads it whole each time: it is small, and size, time and inode together still miss a change where the
 * file system's clock is coarse. Answers failures by their codes: until a file was read, its path may be a
 * key in the wrong place.
 */
async function lookAt(path: string): Promise<Look> {
  try {
    const found = await stat(path)
    const failure = unfit(found)
    if (failure !== null) return { failure }
    return { text: await readFile(path, 'utf8'), mode: found.mode & 0o777 }
  } catch (error) {
    return { failure: failureOf(error) }
  }
}

/**
 * Its text, by the same rules, where nobody comes in yet.
 * @throws what `failureOf` reads.
 */
export function readKeyFile(path: string): string {
  const failure = unfit(statSync(path))
  if (failure !== null) throw new KeyFileError(failure)
  return readFileSync(path, 'utf8')
}

/** A file of keys that was not read; `code` says why, as those of the system do. Its path is not repeated. */
export class KeyFileError extends Error {
  override name = 'KeyFileError'
  readonly code: string

  constructor(code: string) {
    super(`file of API keys: expected ${unreadable(code)}`)
    this.code = code
  }
}

/** Why it is not to be opened: a pipe or a device may have no end. */
function unfit(found: Stats): string | null {
  if (!found.isFile()) return 'not a file'
  return found.size > MAX_FILE_BYTES ? `more than ${MAX_FILE_BYTES} bytes` : null
}

/** Why a file was not read, without its path. */
export function failureOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unreadable'
}

/** What is expected of a file that was not read. */
export function unreadable(failure: string): string {
  return `a file that can be read (${failure})`
}

/** True for the codes of a file, or folder, that is not there. */
export function isAbsent(code: string): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR'
}
