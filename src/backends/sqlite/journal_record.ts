/**
 * A record of the journal as bytes: four of checksum (CRC-32, little-endian), then one JSON array in UTF-8.
 * The checksum covers the id too, so a body under another id is known to be damaged.
 */

import type { JournalRecord } from '../../buffer/journal.ts'
import type { Value } from '../../collections/definition.ts'
import { ABSENT, type Stamp } from '../../collections/stamp.ts'

export const CHECKSUM_BYTES = 4
const SCRATCH_BYTES = 64 * 1024
/** What a character of a text may take in UTF-8, lone surrogates being escaped by JSON. */
const MOST_BYTES_A_CHARACTER = 3
/** The start of a body: enough for its id and the name of its collection. */
const HEAD_BYTES = 96
const HEAD = /^\[(\d+),"([\w.-]{1,64})",/

type Cell = Value | undefined | boolean | string[]

/** The requests of a commit have few stamps: the last one written is remembered. */
let lastStamp = { stamp: ABSENT, hex: '0' }

function hexOf(stamp: Stamp): string {
  if (stamp !== lastStamp.stamp) lastStamp = { stamp, hex: stamp.toString(16) }
  return lastStamp.hex
}

/** What JSON has a word for is itself; absent is `false`, and the numbers that it has none for are named. */
function cellOf(value: Value | undefined): Cell {
  if (value === undefined) return false
  if (typeof value === 'number' && (Object.is(value, -0) || !Number.isFinite(value))) {
    return [Object.is(value, -0) ? '-0' : String(value)]
  }
  return value
}

function valueFrom(cell: Cell): Value | undefined {
  if (cell === false) return undefined
  return Array.isArray(cell) ? Number(cell[0]) : (cell as Value)
}

function textOf({ id, collection, row, acceptedAtMs, replayed }: JournalRecord): string {
  const { key, values, stamps, createdAtMs } = row
  const packed =
    typeof stamps === 'bigint' ? hexOf(stamps) : Array.from(stamps, (stamp) => (stamp ?? ABSENT).toString(16))
  const cells: unknown[] = [id, collection, acceptedAtMs, replayed, createdAtMs, packed, key.length]
  for (const part of key) cells.push(part)
  // By index: a hole is absent too.
  for (let slot = 0; slot < values.length; slot++) cells.push(cellOf(values[slot]))
  return JSON.stringify(cells)
}

/** Makes bodies in one piece of memory that is used again: they stand until `reset`. */
export function createRecordEncoder() {
  let scratch = Buffer.allocUnsafe(SCRATCH_BYTES)
  let used = 0
  return {
    reset() {
      used = 0
      if (scratch.length > SCRATCH_BYTES) scratch = Buffer.allocUnsafe(SCRATCH_BYTES)
    },
    encode(record: JournalRecord): Uint8Array {
      const text = textOf(record)
      const room = CHECKSUM_BYTES + text.length * MOST_BYTES_A_CHARACTER
      if (used + room > scratch.length) {
        // Bodies that were made before keep the memory that they stand in.
        scratch = Buffer.allocUnsafe(Math.max(SCRATCH_BYTES, room))
        used = 0
      }
      const end = used + CHECKSUM_BYTES + scratch.write(text, used + CHECKSUM_BYTES)
      const body = scratch.subarray(used, end)
      body.writeUInt32LE(Bun.hash.crc32(scratch.subarray(used + CHECKSUM_BYTES, end)))
      used = end
      return body
    },
  }
}

/** The same memory, with a Buffer's methods. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Whether the bytes are what was written. */
function isIntact(body: Buffer): boolean {
  return (
    body.length > CHECKSUM_BYTES && Bun.hash.crc32(body.subarray(CHECKSUM_BYTES)) === body.readUInt32LE(0)
  )
}

/** The id and the collection of an intact body, without reading the rest; null where it is damaged. */
export function headOf(bytes: Uint8Array): { id: number; collection: string } | null {
  const body = bufferOf(bytes)
  if (!isIntact(body)) return null
  const head = HEAD.exec(body.toString('latin1', CHECKSUM_BYTES, Math.min(body.length, HEAD_BYTES)))
  return head ? { id: Number(head[1]), collection: head[2]! } : decodeRecord(bytes)
}

/** The record of a body; null where it is damaged. */
export function decodeRecord(bytes: Uint8Array): JournalRecord | null {
  const body = bufferOf(bytes)
  if (!isIntact(body)) return null
  try {
    return recordOf(body.toString('utf8', CHECKSUM_BYTES))
  } catch {
    return null // its checksum holds, and yet it is no record: that is damage like any other
  }
}

function recordOf(text: string): JournalRecord {
  const cells = JSON.parse(text)
  const [id, collection, acceptedAtMs, replayed, createdAtMs, packed, keyParts] = cells
  const first = 7 + keyParts
  const values = new Array<Value | undefined>(cells.length - first)
  for (let slot = 0; slot < values.length; slot++) values[slot] = valueFrom(cells[first + slot])
  const stamps = Array.isArray(packed) ? packed.map((hex) => BigInt(`0x${hex}`)) : BigInt(`0x${packed}`)
  return {
    id,
    collection,
    row: { key: cells.slice(7, first), values, stamps, createdAtMs },
    acceptedAtMs,
    replayed,
  }
}
