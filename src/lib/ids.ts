/** A UUIDv7 (RFC 9562): 48 bits of milliseconds, then random bits, so ids sort by the time they were made. */
export function uuidv7(nowMs: number = Date.now()): string {
  const time = nowMs.toString(16).padStart(12, '0')
  // The random bits and the variant are those of a UUIDv4; only its first 48 bits and the version differ.
  return `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`
}
