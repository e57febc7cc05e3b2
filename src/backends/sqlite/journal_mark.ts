/**
 * The mark: a small file beside the journal that says which commit was acknowledged last, with its state. A
 * write-ahead log that has lost its tail looks like one that never had it; the mark knows better. It is
 * written in place and not synced, so a power cut may take it: then it proves nothing, and nothing is wrong.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { type NumberedState, readStateLine } from './journal_state.ts'

const SCRATCH_BYTES = 4096

export interface Mark {
  /** What it said when it was opened; null where that can't be read. */
  found: NumberedState | null
  /** Remembers a commit by its line of state. */
  write(line: string): void
  close(): void
}

export function openMark(path: string): Mark {
  const fd = openSync(path, 'a+') // made if need be, and nothing of it lost
  closeSync(fd)
  const file = openSync(path, 'r+')
  let scratch = Buffer.allocUnsafe(SCRATCH_BYTES)
  return {
    // What follows the first line is left of longer ones.
    found: readStateLine(readFileSync(file, 'utf8').split('\n', 1)[0]!),
    write(line) {
      const most = line.length * 3 + 1
      if (most > scratch.length) scratch = Buffer.allocUnsafe(most * 2)
      const bytes = scratch.write(`${line}\n`)
      try {
        writeSync(file, scratch, 0, bytes, 0)
      } catch {
        // The commit is done, and stays so: an older mark knows of fewer commits, which proves less and nothing wrong.
      }
    },
    close() {
      closeSync(file)
    },
  }
}
