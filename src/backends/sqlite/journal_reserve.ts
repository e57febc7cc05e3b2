/**
 * Room on the disk that is kept for the day when there is no other: letting go of stored records takes some
 * before it gives any back.
 */
import { existsSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

export interface Reserve {
  /** Gives the room up. */
  release(): void
  /** Takes it again, where there is room; without it the journal works as well, until its disk is full. */
  restore(): void
}

/** More than the log holds between two checkpoints. */
const RESERVE_BYTES = 4 * 1024 * 1024

export function createReserve(journalPath: string): Reserve {
  const path = `${journalPath}.reserve`
  return {
    release: () => rmSync(path, { force: true }),
    restore() {
      if (existsSync(path)) return
      try {
        const { bavail, bsize } = statfsSync(dirname(journalPath))
        if (bavail * bsize < 2 * RESERVE_BYTES) return // the journal itself needs what is left
        writeFileSync(path, Buffer.alloc(RESERVE_BYTES))
      } catch {
        rmSync(path, { force: true }) // half of it is of no use, and others need the room
      }
    },
  }
}
