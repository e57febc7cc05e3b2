/** Journals in folders of their own, and what to write into them. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openJournals } from '../../src/backends/sqlite/journal.ts'
import {
  emptyCounts,
  type Journal,
  type JournalCounts,
  type JournalRecord,
  type JournalState,
} from '../../src/buffer/journal.ts'
import { stampOf, T0 } from './contract_rows.ts'

export const INSTANCE = 'instance-1'
export const COLLECTION = 'translation_tasks'

export interface JournalFolder {
  folder: string
  /** Of the instance's journal. */
  path: string
  journal(options?: { instanceId?: string; durability?: 'full' | 'normal' }): Journal
  /** Names of the files that are there. */
  files(): string[]
  drop(): void
}

export function journalFolder(): JournalFolder {
  const folder = mkdtempSync(join(tmpdir(), 'persistence-journal-'))
  return {
    folder,
    path: join(folder, `${INSTANCE}.journal`),
    journal: ({ instanceId = INSTANCE, durability = 'normal' } = {}) =>
      openJournals({ folder, instanceId, durability }).own,
    files: () => readdirSync(folder).toSorted(),
    drop: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** A record as tasks make it; `text` is some field of it. */
export function journalRecord(id: number, text = `text of ${id}, 文字`): JournalRecord {
  return {
    id,
    collection: COLLECTION,
    row: {
      key: ['session_1', `task_${id}`],
      values: ['batch_1', text, id, undefined, null, id / 8],
      stamps: stampOf(id),
      createdAtMs: T0 + id,
    },
    acceptedAtMs: T0 + id,
    replayed: false,
  }
}

export function journalRecords(from: number, count: number): JournalRecord[] {
  return Array.from({ length: count }, (_, i) => journalRecord(from + i))
}

export function journalState(counts: Partial<JournalCounts> = {}): JournalState {
  return {
    counts: { [COLLECTION]: { ...emptyCounts(), ...counts } },
    lastId: 0,
    highWater: stampOf(1_000_000),
    instanceNumber: 7,
    clockOffsetMs: -12.5,
  }
}

/** Accepts records `from`, … in commits of `size` each. */
export function acceptRecords(
  journal: Journal,
  { from = 1, count, size = 100 }: { from?: number; count: number; size?: number },
): void {
  for (let first = from; first < from + count; first += size) {
    const put = journalRecords(first, Math.min(size, from + count - first))
    journal.commit({ put, remove: [], state: journalState({ accepted: first + put.length - 1 }) })
  }
}

/** Everything that is in it, read in pages. */
export function readAll(journal: Journal, page = 1000): JournalRecord[] {
  const all: JournalRecord[] = []
  for (;;) {
    const records = journal.read(all.at(-1)?.id ?? 0, page)
    if (records.length === 0) return all
    all.push(...records)
  }
}
