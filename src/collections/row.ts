/**
 * The law of merge. A row is what has been written to a record: a value and a stamp for each field
 * that was. Coalescing in the buffer, the upsert in SQL, the read overlay and every replay are this
 * one operation, so order, repetition and which instance do not matter.
 */
import type { Collection, Value } from './definition.ts'
import { ABSENT, laterOf, STAMP_BYTES, type Stamp, stampHex, stampMs } from './stamp.ts'

export interface Row {
  /** Values of the key's fields, in their order. */
  key: readonly string[]
  /** By slot; undefined = absent, null = cleared. */
  values: readonly (Value | undefined)[]
  /** One stamp for every field that is there (most rows), or one a slot. */
  stamps: Stamp | readonly Stamp[]
  /** Milliseconds of the earliest acceptance. */
  createdAtMs: number
}

export function stampAt(row: Row, slot: number): Stamp {
  if (typeof row.stamps !== 'bigint') return row.stamps[slot] ?? ABSENT
  return row.values[slot] === undefined ? ABSENT : row.stamps
}

/** The newest stamp of any field. */
export function newestStamp(row: Row): Stamp {
  if (typeof row.stamps === 'bigint') return row.stamps
  let newest = ABSENT
  for (const stamp of row.stamps) if (stamp > newest) newest = stamp
  return newest
}

/** When the newest field was accepted, in milliseconds. */
export function updatedAtMs(row: Row): number {
  return stampMs(newestStamp(row))
}

/**
 * Takes, field by field, the higher stamp; the earlier creation. Commutative, associative, idempotent
 * (two fields of one stamp hold one value: a request has one stamp, and one row a key).
 */
export function merge(a: Row, b: Row): Row {
  if (typeof a.stamps === 'bigint' && typeof b.stamps === 'bigint' && a.stamps !== b.stamps) {
    const whole = a.stamps < b.stamps ? covered(a, b) : covered(b, a)
    if (whole) return whole
  }
  const size = Math.max(a.values.length, b.values.length)
  const values = new Array<Value | undefined>(size)
  const stamps = new Array<Stamp>(size)
  let common: Stamp | null = null
  let uniform = true
  for (let slot = 0; slot < size; slot++) {
    const stampA = stampAt(a, slot)
    const stampB = stampAt(b, slot)
    const winner = stampB > stampA ? b : a
    const stamp = laterOf(stampA, stampB)
    values[slot] = winner.values[slot]
    stamps[slot] = stamp
    if (stamp === ABSENT) continue
    if (common === null) common = stamp
    else if (common !== stamp) uniform = false
  }
  return {
    key: a.key,
    values,
    stamps: uniform && common !== null ? common : stamps,
    createdAtMs: Math.min(a.createdAtMs, b.createdAtMs),
  }
}

/** The merge where the newer row has every field of the older one, which most writes have; null elsewhere. */
function covered(older: Row, newer: Row): Row | null {
  for (let slot = 0; slot < older.values.length; slot++) {
    if (newer.values[slot] === undefined && older.values[slot] !== undefined) return null
  }
  return { ...newer, createdAtMs: Math.min(older.createdAtMs, newer.createdAtMs) }
}

/**
 * What a delete of everything up to `stamp` leaves of a row; null where nothing of it is newer. To the law a
 * delete is a write of nothing to every field, so what is not newer is cleared at that stamp.
 */
export function erasedUpTo(row: Row, stamp: Stamp): Row | null {
  if (newestStamp(row) <= stamp) return null
  const newer = row.values.map((_, slot) => stampAt(row, slot) > stamp)
  return {
    key: row.key,
    values: row.values.map((value, slot) => (newer[slot] ? value : null)),
    stamps: row.values.map((_, slot) => (newer[slot] ? stampAt(row, slot) : stamp)),
    createdAtMs: Math.max(row.createdAtMs, stampMs(stamp)),
  }
}

/** What is stored and what is held of a row together, without what a delete voids; null where nothing is left. */
export function overlay(
  stored: Row | null | undefined,
  held: Row | undefined,
  deleted: Stamp | undefined,
): Row | null {
  const row = stored && held ? merge(stored, held) : (held ?? stored ?? null)
  return row && deleted !== undefined ? erasedUpTo(row, deleted) : row
}

/** A row of before fields were added, with all of today's slots: those that it did not know are absent. */
export function withSlots(row: Row, collection: Collection): Row {
  if (row.values.length === collection.slots.length) return row
  return { ...row, values: Array.from(collection.slots, (_, slot) => row.values[slot]) }
}

/** What a row costs in memory besides its texts. */
const ROW_OVERHEAD_BYTES = 320

/** An upper bound of the memory of a row: two bytes a character. */
export function memoryOf(row: Row): number {
  let bytes = ROW_OVERHEAD_BYTES
  for (const part of row.key) bytes += part.length * 2
  for (const value of row.values) if (typeof value === 'string') bytes += value.length * 2
  return bytes
}

const NONE_HEX = '0'.repeat(STAMP_BYTES * 2)

/** What `packStamps` wrote last: the rows of a request have one stamp, and mostly the same fields. */
let lastPacked = { stamp: ABSENT, fields: 0, hex: '' }

/** The row's stamps as they are stored: 8 bytes a slot, in hex. */
export function packStamps(row: Row): string {
  const { values, stamps } = row
  if (typeof stamps !== 'bigint') return values.map((_, slot) => stampHex(stamps[slot] ?? ABSENT)).join('')
  let fields = 1 // a bit a slot, behind a leading one
  for (let slot = 0; slot < values.length; slot++) fields = fields * 2 + (values[slot] === undefined ? 0 : 1)
  if (lastPacked.stamp !== stamps || lastPacked.fields !== fields) {
    const one = stampHex(stamps)
    const hex = Array.from(values, (value) => (value === undefined ? NONE_HEX : one)).join('')
    lastPacked = { stamp: stamps, fields, hex }
  }
  return lastPacked.hex
}

/** Reads stored stamps; slots that an older version did not know are absent. */
export function unpackStamps(bytes: Uint8Array, slots: number): Stamp[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: slots }, (_, slot) =>
    (slot + 1) * STAMP_BYTES <= bytes.byteLength ? view.getBigUint64(slot * STAMP_BYTES) : ABSENT,
  )
}

/** Whether every required field has a value: only then is the row shown. */
export function isComplete(collection: Collection, row: Row): boolean {
  return collection.required.every((field) => (row.values[collection.slotOf(field)] ?? null) !== null)
}

/** A row as a flat record: key, fields (null where absent), created_at, updated_at. */
export type FlatRecord = Record<string, Value>

export function flatten(collection: Collection, row: Row): FlatRecord {
  const record: FlatRecord = {}
  for (const [i, name] of collection.key.entries()) record[name] = row.key[i]!
  for (const [slot, name] of collection.slots.entries()) record[name] = row.values[slot] ?? null
  record.created_at = row.createdAtMs
  record.updated_at = updatedAtMs(row)
  return record
}

/**
 * A row from the fields that a request wrote, under the stamp it was accepted with. Texts that `previous`
 * has too (session, batch, sheet, status …) are held once, which halves what a buffered row weighs.
 */
export function rowOf(
  collection: Collection,
  record: Readonly<Record<string, Value | undefined>>,
  stamp: Stamp,
  previous?: Row,
): Row {
  const { slots, key } = collection
  const values = new Array<Value | undefined>(slots.length)
  for (let slot = 0; slot < values.length; slot++)
    values[slot] = shared(record[slots[slot]!], previous?.values[slot])
  return {
    key: key.map((name, i) => shared(record[name] as string, previous?.key[i])),
    values,
    stamps: stamp,
    createdAtMs: stampMs(stamp),
  }
}

/** Equal texts are one text to the eye, and two to the memory. */
function shared<T>(value: T, previous: T | undefined): T {
  return previous !== undefined && value === previous ? previous : value
}
