/**
 * The write-ahead log of a damaged journal, read past its damage. SQLite stops at the first frame whose
 * checksum is wrong; the frames behind it are still there (https://www.sqlite.org/fileformat2.html#walformat).
 */
import { fstatSync, readSync } from 'node:fs'

const HEADER_BYTES = 32
const FRAME_HEADER_BYTES = 24
const BIG_ENDIAN_SUMS = 0x377f0683
const SALT_BYTES = 8

/** Where a page's content stands in the log. */
export interface Frame {
  page: number
  /** Of the content, from the start of the file. */
  offset: number
  /** Its checksum is wrong, or no commit that is intact follows: what it holds must prove itself. */
  doubtful: boolean
}

/** The frames that the log held when it was written last, in their order. */
export function readFrames(file: number, pageBytes: number): Frame[] {
  const size = fstatSync(file).size
  const header = Buffer.alloc(HEADER_BYTES)
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + pageBytes)
  if (readSync(file, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return []
  const littleEndian = header.readUInt32BE(0) !== BIG_ENDIAN_SUMS
  const headerHolds = sumOf(header.subarray(0, 24), [0, 0], littleEndian).every(
    (sum, i) => sum === header.readUInt32BE(24 + i * 4),
  )
  let salts: Buffer | null = headerHolds ? Buffer.from(header.subarray(16, 24)) : null
  let seed: Sum = [header.readUInt32BE(24), header.readUInt32BE(28)]
  const frames: Frame[] = []
  let committed = 0
  let current = true
  for (let at = HEADER_BYTES; at + frame.length <= size; at += frame.length) {
    if (readSync(file, frame, 0, frame.length, at) < frame.length) break
    // Where the header is damaged, the first frame knows the salts too.
    salts ??= Buffer.from(frame.subarray(8, 8 + SALT_BYTES))
    const sum = sumOf(
      frame.subarray(FRAME_HEADER_BYTES),
      sumOf(frame.subarray(0, 8), seed, littleEndian),
      littleEndian,
    )
    const stored: Sum = [frame.readUInt32BE(16), frame.readUInt32BE(20)]
    const holds = sum[0] === stored[0] && sum[1] === stored[1]
    // Each checksum goes on from the one before it: behind a damaged frame, from the one that it has written down.
    seed = stored
    // Frames of an older round of the log follow those of this one; their salts are others, which no checksum covers.
    current = salts.equals(frame.subarray(8, 8 + SALT_BYTES)) || (current && holds)
    if (!current) continue
    frames.push({ page: frame.readUInt32BE(0), offset: at + FRAME_HEADER_BYTES, doubtful: !holds })
    if (holds && frame.readUInt32BE(4) !== 0) committed = frames.length
  }
  for (const behind of frames.slice(committed)) behind.doubtful = true
  return frames
}

type Sum = [number, number]

function sumOf(bytes: Buffer, [first, second]: Sum, littleEndian: boolean): Sum {
  let a = first
  let b = second
  for (let at = 0; at + 8 <= bytes.length; at += 8) {
    a = (a + (littleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)) + b) >>> 0
    b = (b + (littleEndian ? bytes.readUInt32LE(at + 4) : bytes.readUInt32BE(at + 4)) + a) >>> 0
  }
  return [a, b]
}
