/**
 * The journal: where accepted rows are safe until they are stored. It holds one live record a key and at
 * most one more in flight, so it doesn't grow in an outage. Not every runtime has one: without it the buffer
 * is only as safe as its process.
 */
import type { Row } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'

export interface JournalRecord {
  /** Names the record, never the key; made by whoever owns the journal, ascending. */
  id: number
  collection: string
  row: Row
  /** When the oldest part of it was accepted, in milliseconds. */
  acceptedAtMs: number
  /** A dead letter that is tried again: it may be as old as it likes. */
  replayed: boolean
}

/** Where the rows of one collection went, ever since the journal began. */
export interface JournalCounts {
  accepted: number
  transferred_in: number
  stored: number
  merged: number
  voided: number
  dead_lettered: number
  transferred_out: number
  lost: number
}

/** What outlives a restart besides the records; written with every change, in the same transaction. */
export interface JournalState {
  counts: Readonly<Record<string, JournalCounts>>
  /** The greatest id ever given: none is used again, so that what is left of a removed record is nobody's. */
  lastId: number
  /** Every stamp given so far is at or below it. */
  highWater: Stamp
  /** Number leased in the table of instances; null before the first contact with the database. */
  instanceNumber: number | null
  /** How far the database's clock is ahead of this machine's; null before the first contact. */
  clockOffsetMs: number | null
}

export interface JournalChange {
  /** New records, or new contents of records that are there. */
  put: readonly JournalRecord[]
  remove: readonly number[]
  state: JournalState
}

export interface OpenedJournal {
  state: JournalState
  /** Records that can be read, and the greatest id that was ever given. */
  records: number
  lastId: number
  /** Rows that were acknowledged and can't be read any more: already counted as `lost` in `state`. */
  lostRows: number
  /** What was found damaged, in words for the operator; empty where all is well. */
  faults: readonly string[]
}

export interface Journal {
  /** Names the instance that it belongs to. */
  readonly instanceId: string
  /**
   * Takes the exclusive lock, and salvages what is intact where the file is damaged.
   * Throws JournalError: `locked` while another process has it, `unusable` where nothing can be written there.
   */
  open(): OpenedJournal
  /** The same, and lets the event loop turn: a large one takes a second to look through. */
  openInTurns(): Promise<OpenedJournal>
  /** All or nothing, and durable when it returns. Throws JournalError: `full` or `failed`; nothing has changed then. */
  commit(change: JournalChange): void
  /** Up to `limit` records with ids above `after`, ascending. */
  read(after: number, limit: number): JournalRecord[]
  /** Bytes on disk. */
  sizeBytes(): number
  /** Gives the room of removed records back to the disk. Throws JournalError; nothing has changed then. */
  shrink(): void
  close(): void
}

/** The journals of one DATA_DIR. */
export interface JournalStore {
  own: Journal
  /** Those of other instances; each is somebody's as long as its lock is held. */
  others(): Journal[]
}

export type JournalFailure = 'locked' | 'unusable' | 'full' | 'failed'

export class JournalError extends Error {
  readonly kind: JournalFailure

  constructor(kind: JournalFailure, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'JournalError'
    this.kind = kind
  }
}

export function emptyCounts(): JournalCounts {
  return {
    accepted: 0,
    transferred_in: 0,
    stored: 0,
    merged: 0,
    voided: 0,
    dead_lettered: 0,
    transferred_out: 0,
    lost: 0,
  }
}

/** Rows that the counts say are still held. */
export function heldBy(counts: JournalCounts): number {
  const { accepted, transferred_in, stored, merged, voided, dead_lettered, transferred_out, lost } = counts
  return accepted + transferred_in - stored - merged - voided - dead_lettered - transferred_out - lost
}
