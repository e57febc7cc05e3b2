/** What several instances agree on, through the database and by its clock: the contract's facet of that name. */
import type { Collection } from '../collections/definition.ts'
import type { Row } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'

/** A row that its store refused for what it is. Keyed by (collection, key, newest stamp). */
export interface DeadLetter {
  collection: string
  row: Row
  code: string
  reason: string
}

export interface StoredLetter extends DeadLetter {
  /** UUIDv7; stays the same when the row is refused again. */
  id: string
  failedAtMs: number
  attempts: number
}

/** A letter without its row. */
export interface FoundLetter {
  id: string
  /** How often it was refused: tells whether that happened again. */
  attempts: number
  /** Bytes of its row as it is stored. */
  bytes: number
}

/** All that are given hold together. */
export interface LetterFilter {
  ids?: readonly string[]
  collection?: string
  /** The session's id, for what belongs to one. */
  group?: string
  /** A text that the reason contains. */
  reason?: string
  /** Only letters that failed at this time of the database's clock, or before. */
  failedUntilMs?: number
}

export interface Tombstone {
  collection: string
  group: string
  stamp: Stamp
}

export interface InstanceSign {
  instanceId: string
  version: string
  state: 'live' | 'draining'
  bufferedRows: number
}

/** A process that lives under an INSTANCE_ID. There should be one; two would give the same stamps. */
export interface InstanceHolder {
  instanceId: string
  /** The DATA_DIR that it is on. */
  volume: string
  /** Made anew at each start. */
  token: string
}

export interface InstanceRecord {
  instanceId: string
  version: string
  /** What it said of itself last; `gone`: it signed off with nothing left. */
  state: 'live' | 'draining' | 'gone'
  bufferedRows: number
  startedAtMs: number
  /** Last sign of life, by the database's clock. */
  seenAtMs: number
  /** Number of the newest request to store everything that it holds, and of the newest one done. */
  flushWanted: number
  flushDone: number
  /** Rows that it has written for requests since it started, by collection: sums, which only grow. */
  flushReport: Readonly<Record<string, number>>
}

export interface RestoreRecord {
  sessionId: string
  tasksCount: number
  instanceId: string
  restoredAtMs: number
  ok: boolean
}

export interface Coordination extends Clockwork, Instances, Tombstones, DeadLetters {
  /** Small facts shared by all instances, as JSON text. */
  getFact(name: string): Promise<string | null>
  putFact(name: string, json: string): Promise<void>
  /** Adds to a fact that is a whole number, also where many do so at once; one that isn't there is 0. */
  addFact(name: string, by: number): Promise<void>
  /** The newest restores, shared by all instances. */
  putRestore(restore: RestoreRecord): Promise<void>
  listRestores(limit: number): Promise<RestoreRecord[]>
  countRestores(): Promise<{ total: number; succeeded: number }>
}

export interface Clockwork {
  /** The database's clock, in milliseconds. */
  now(): Promise<number>
  /**
   * Takes or renews the lease of that name for `owner`; null while another holds it.
   * `fence` grows each time the holder changes.
   */
  takeLease(name: string, owner: string, ttlMs: number): Promise<{ fence: number } | null>
  releaseLease(name: string, owner: string): Promise<void>
}

export interface Instances {
  /** Registers the instance and leases it a number (0 to 1023) that no other live one has. */
  registerInstance(instance: InstanceSign): Promise<number>
  /** The sign of life; false where the instance is not registered (any more). */
  touchInstance(instance: InstanceSign): Promise<boolean>
  /**
   * Makes this process the one that speaks for its instance, or renews that for `ttlMs`; false while another one
   * does. One that has just started takes over from its own volume at once: it is the same instance, restarted.
   */
  holdInstance(holder: InstanceHolder, options: { ttlMs: number; hasStarted: boolean }): Promise<boolean>
  /** Another process may speak for the instance from now on. */
  releaseInstance(holder: InstanceHolder): Promise<void>
  signOffInstance(instanceId: string): Promise<void>
  /** Every instance that is registered, and the time by the clock that `seenAtMs` is of. */
  listInstances(): Promise<{ nowMs: number; instances: InstanceRecord[] }>
  /** Asks every other instance to store what it holds: raises their `flushWanted`. */
  requestFlush(byInstanceId: string): Promise<void>
  /** The newest request to this instance; 0 where there was none. */
  flushWanted(instanceId: string): Promise<number>
  /** Everything that was held when `wanted` was read is stored; `written` are the sums of `flushReport`. */
  reportFlush(instanceId: string, wanted: number, written: Readonly<Record<string, number>>): Promise<void>
  /** An instance that was not seen since counts as gone; false where it was seen. */
  forgetInstance(instanceId: string, seenUntilMs: number): Promise<boolean>
}

export interface Tombstones {
  /** A delete of everything of a group up to a stamp begins. */
  putTombstone(collection: string, group: string, stamp: Stamp): Promise<void>
  /**
   * The same, if the group's row is still the one that was examined, in one transaction. `seen` are its
   * stored stamps as `stampsOf` read them; null where there was no row. Answers whether it was put.
   */
  putTombstoneIfUnchanged(
    collection: Collection,
    group: string,
    stamp: Stamp,
    seen: Uint8Array | null,
  ): Promise<boolean>
  /** The stamps of a group's own row as they are stored; null where there is none. */
  stampsOf(collection: Collection, group: string): Promise<Uint8Array | null>
  finishTombstone(collection: string, group: string, stamp: Stamp): Promise<void>
  isBeingErased(collection: string, group: string): Promise<boolean>
  /** The greatest delete of each of the groups that had one. */
  tombstonesOf(collection: string, groups: readonly string[]): Promise<Map<string, Stamp>>
  /** Those older than `ageMs` whose delete goes on, or was interrupted; the oldest first. */
  unfinishedTombstones(ageMs: number, limit: number): Promise<Tombstone[]>
  /** Finished ones older than `ageMs` that were not applied once more yet, the oldest first. */
  unrepeatedTombstones(ageMs: number, limit: number): Promise<Tombstone[]>
  markRepeated(tombstone: Tombstone): Promise<void>
  /** Removes up to `limit` finished ones older than `ageMs`; answers how many. */
  purgeTombstones(ageMs: number, limit: number): Promise<number>
}

export interface DeadLetters {
  /**
   * One that is there already counts an attempt more. Answers those that the store can't take: they are too large
   * for it, and kept nowhere.
   */
  putDeadLetters(letters: readonly DeadLetter[]): Promise<DeadLetter[]>
  countDeadLetters(filter: LetterFilter): Promise<number>
  /** The newest id first; with `before`, those below that id. */
  listDeadLetters(
    filter: LetterFilter,
    page: { limit: number; offset?: number; before?: string },
  ): Promise<StoredLetter[]>
  /** In ascending order of ids from above `after` on ('' = from the first), without their rows. */
  findDeadLetters(filter: LetterFilter, page: { limit: number; after: string }): Promise<FoundLetter[]>
  /**
   * Removes letters, but none that was refused again since it was found: its row is nowhere else.
   * Answers how many were removed.
   */
  removeDeadLetters(letters: readonly Pick<FoundLetter, 'id' | 'attempts'>[]): Promise<number>
  /** Removes the letters of a group up to a stamp. */
  deleteDeadLetters(collection: string, group: string, stamp: Stamp): Promise<void>
}
