/**
 * The contract of a backend. Capability = presence: a facet or method that isn't there is not offered,
 * and the router refuses at start what a collection would miss. Backends only transport: the door has
 * validated, the law has merged. Errors of a vendor are translated here, by number, and go no further: they
 * carry the statement with its values.
 */
import type { Collection, Value } from '../collections/definition.ts'
import type { FlatRecord, Row } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'
import { type Secret, secret } from '../lib/secret.ts'
import type { Coordination } from './coordination.ts'

export interface Backend {
  readonly name: string
  readonly type: string
  records?: RecordStore
  blobs?: BlobStore
  coordination?: Coordination
  /**
   * Makes the store ready for use (connect, migrate) and may be called again until it succeeds.
   * Throws BackendError of kind `outage` when the store can't be reached.
   */
  prepare(options: { migrate: boolean }): Promise<void>
  /** Asks the store; never throws. */
  health(): Promise<HealthStatus>
  /** Connections in use and at most, where there is a pool. */
  pool?(): { active: number; idle: number; waiting: number; max: number }
  close(): Promise<void>
}

export interface HealthStatus {
  healthy: boolean
  latencyMs: number
  detail?: string
}

/**
 * What became of an operation that failed.
 * outage: the store is down, slow, read-only or full; the same call may work later.
 * conflict: deadlock, lock wait, certification; the same call may work at once, in smaller pieces.
 * too_large: the statement was too large, its halves may not be.
 * refused: the store refuses the data for what it is.
 * unknown: a number nobody listed.
 */
export type FailureKind = 'outage' | 'conflict' | 'too_large' | 'refused' | 'unknown'

interface BackendErrorOptions {
  /** The vendor's own words, where they may quote a row. Default: the message. */
  words?: string
  cause?: BackendError
}

/** The message is fit for a log: nothing of a row or a statement stands in it. */
export class BackendError extends Error {
  readonly kind: FailureKind
  /** The vendor's number or word. */
  readonly code: string
  /** What the vendor said, for those whose row it was. */
  readonly words: Secret

  constructor(kind: FailureKind, code: string, message: string, options: BackendErrorOptions = {}) {
    super(message, { cause: options.cause })
    this.name = 'BackendError'
    this.kind = kind
    this.code = code
    this.words = secret(options.words ?? message)
  }
}

/** A condition of a query; all of a list hold together. */
export type Filter =
  | { op: 'eq' | 'lt' | 'lte' | 'gt' | 'gte'; field: string; value: Value }
  | { op: 'in'; field: string; values: readonly Value[] }
  /** Every required field is there. */
  | { op: 'complete' }
  | { op: 'incomplete' }
  /** Neither the row nor its parent is hidden (`hiddenBy`). */
  | { op: 'visible' }
  | { op: 'hidden' }
  /** No row of the parent collection has this group as its key. */
  | { op: 'orphan' }
  /** Any of the collection's search fields contains the text, without regard to case: of ASCII at least, of other letters where the store can. */
  | { op: 'text'; value: string }

export interface Query {
  filters: readonly Filter[]
  /** One of the collection's sorts; ties are broken by the key. */
  sort: string
  descending: boolean
  limit: number
  offset?: number
  /** Sort value (none for `key`), then the key, of the row to go on after. */
  after?: readonly Value[]
  /** Fields to read; the key and the row's times always come along. */
  fields?: readonly string[]
}

export interface RecordReader {
  read(collection: Collection, key: readonly string[]): Promise<Row | null>
  /** Those of the keys that are stored, in any order. */
  readMany(collection: Collection, keys: readonly (readonly string[])[]): Promise<Row[]>
  query(collection: Collection, query: Query): Promise<FlatRecord[]>
  /** Counts up to `limit` rows. */
  count(collection: Collection, filters: readonly Filter[], options?: { limit?: number }): Promise<number>
  countBy(collection: Collection, filters: readonly Filter[], field: string): Promise<Map<Value, number>>
  /** The same for each of several groups. */
  countByGroup(
    collection: Collection,
    groups: readonly string[],
    filters: readonly Filter[],
    field: string,
  ): Promise<Map<string, Map<Value, number>>>
  /** Every row in key order, in pages of constant memory. */
  scan(
    collection: Collection,
    filters: readonly Filter[],
    fields?: readonly string[],
  ): AsyncIterable<FlatRecord[]>
}

/** Index is the row's position in the call. */
export interface RefusedRow {
  index: number
  code: string
  /** In the vendor's words, which may quote the row: not for a log. */
  reason: string
}

export interface RecordStore extends RecordReader {
  /** Largest number of bytes that one `write` should carry. */
  readonly maxWriteBytes: number
  /** Upserts by the law of merge, idempotent; reports the rows refused for what they are, throws the rest. */
  write(collection: Collection, rows: readonly Row[]): Promise<{ refused: RefusedRow[] }>
  delete(collection: Collection, key: readonly string[]): Promise<boolean>
  /**
   * A write of nothing at `stamp` to every field of a group's rows: deletes up to `limit` rows that have no
   * newer field, and clears what is older in the others. Done when it answers fewer than `limit`.
   */
  erase(collection: Collection, group: string, stamp: Stamp, limit: number): Promise<number>
  /** Deletes up to `limit` rows that meet the filters; answers how many. */
  purge(collection: Collection, filters: readonly Filter[], limit: number): Promise<number>
  /** The distinct groups after `after`, in order. */
  groups(collection: Collection, after: string, limit: number): Promise<string[]>
  /** The newest stamp of any field of a group's rows; 0 where there are none. */
  newestStamp(collection: Collection, group: string): Promise<Stamp>
  /** A rough number of rows, at no cost. */
  estimate(collection: Collection, filters: readonly Filter[]): Promise<number>
  /** Bytes that the whole store occupies. */
  sizeBytes(): Promise<number>
  /** A reader for which time stands still; must be closed. */
  snapshot(options: { timeoutMs: number }): Promise<Snapshot>
}

export interface Snapshot extends RecordReader {
  close(): Promise<void>
}

export interface BlobRange {
  start: number
  /** Inclusive. */
  end: number
}

/** Bytes by key, immutable once written. */
export interface BlobStore {
  put(
    collection: Collection,
    key: string,
    body: ReadableStream<Uint8Array>,
    options: { contentType: string },
  ): Promise<{ size: number; etag: string }>
  get(collection: Collection, key: string, range?: BlobRange): Promise<ReadableStream<Uint8Array> | null>
  head(collection: Collection, key: string): Promise<{ size: number; etag: string } | null>
  delete(collection: Collection, key: string): Promise<boolean>
  list(
    collection: Collection,
    prefix: string,
    after?: string,
  ): AsyncIterable<{ key: string; size: number; modifiedAtMs: number }>
  presign?(
    collection: Collection,
    key: string,
    options: { method: 'GET' | 'PUT'; expiresInSeconds: number },
  ): Promise<string>
}
