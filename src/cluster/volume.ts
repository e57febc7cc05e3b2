/**
 * A name for the DATA_DIR, kept in it: a process that starts on the same one is the same instance, restarted, and
 * needs not wait until its predecessor counts as dead.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'

const FILE = 'volume_id'
const ID = /^[0-9a-f-]{36}$/

/** The name of a folder, made where there is none; one of this start's own where nothing can be kept there. */
export function volumeIdOf(folder: string, log: Logger): string {
  const fresh = crypto.randomUUID()
  const path = join(folder, FILE)
  try {
    const known = existsSync(path) ? readFileSync(path, 'utf8').trim() : ''
    if (ID.test(known)) return known
    mkdirSync(folder, { recursive: true })
    // Whole or not at all: a crash in between leaves no empty name.
    writeFileSync(`${path}.new`, `${fresh}\n`)
    renameSync(`${path}.new`, path)
  } catch (error) {
    log.warn('DATA_DIR can hold no name of its own: after a kill, a restart waits for some seconds', {
      meta: { error: messageOf(error) },
    })
  }
  return fresh
}
