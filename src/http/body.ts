/** JSON bodies: media type, encoding, size, time and text are settled here; the route's schema does the rest. */
import type { HonoRequest } from 'hono'
import { AppError } from '../lib/errors.ts'
import { readBytes } from './body_bytes.ts'
import { holdsMoreValues } from './json_values.ts'

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/** A thousand for each item of a batch. Parsing takes up to a microsecond a value, and nothing else runs then. */
const MAX_VALUES = 2 ** 20
const RETRY_AFTER_SECONDS = 1
/** Where room is short, a body that has come so slowly for so long gives up its own: 2 Mbit a second. */
const SLOW_BYTES_PER_MS = 256
const GRACE_MS = 1000

export interface BodyLimits {
  /** Of one body, unpacked. */
  maxBytes: number
  /** Of all bodies that are being read, unpacked. */
  maxTotalBytes: number
  /** Time in which a client must make progress. */
  timeoutMs: number
}

export interface BodyReader {
  /** Reads and parses a JSON body; where it may be absent and is, `{}`. @throws AppError 400, 408, 413, 415, 503. */
  readJson(request: HonoRequest, options: { required: boolean }): Promise<unknown>
}

interface Share {
  take(bytes: number): void
  onBytes(bytes: number): void
  /** Aborted when it is cut. */
  signal: AbortSignal
  /** Whether its body comes too slowly to keep room that others need. */
  isSlow(): boolean
  cut(): void
  giveBack(): void
}

export function createBodyReader({ maxBytes, maxTotalBytes, timeoutMs }: BodyLimits): BodyReader {
  let heldBytes = 0
  const shares = new Set<Share>()

  /** One body's share of the memory that all bodies have together. */
  function openShare(): Share {
    const startedAtMs = performance.now()
    const aborter = new AbortController()
    let ownBytes = 0
    let receivedBytes = 0
    const share: Share = {
      signal: aborter.signal,
      take(bytes) {
        shares.add(share)
        if (heldBytes + bytes > maxTotalBytes) cutSlow()
        if (heldBytes + bytes > maxTotalBytes) throw busy()
        heldBytes += bytes
        ownBytes += bytes
      },
      onBytes(bytes) {
        receivedBytes += bytes
      },
      isSlow() {
        const ageMs = performance.now() - startedAtMs
        return ageMs > GRACE_MS && receivedBytes / ageMs < SLOW_BYTES_PER_MS
      },
      cut() {
        share.giveBack()
        aborter.abort(busy())
      },
      giveBack() {
        shares.delete(share)
        heldBytes -= ownBytes
        ownBytes = 0
      },
    }
    return share
  }

  /** Room that was asked for and is not used must not keep others out: four heads would be enough for that. */
  function cutSlow(): void {
    for (const share of shares) if (share.isSlow()) share.cut()
  }

  return {
    async readJson(request, { required }) {
      const empty = request.raw.body === null || request.header('content-length') === '0'
      if (empty && !required) return {}
      const type = request.header('content-type')
      const share = openShare()
      const read = () =>
        readBytes(request.raw, request.header('content-encoding'), {
          // What all bodies may hold is what one may hold.
          maxBytes: Math.min(maxBytes, maxTotalBytes),
          timeoutMs,
          take: share.take,
          onBytes: share.onBytes,
          signal: share.signal,
        })
      try {
        // A chunked body can turn out to be none.
        if (!type && !required && (await read()).byteLength === 0) return {}
        if (!type || !JSON_TYPE.test(type)) throw unsupported(type)
        return parse(await read())
      } finally {
        share.giveBack()
      }
    },
  }
}

function parse(bytes: Uint8Array): unknown {
  if (holdsMoreValues(bytes, MAX_VALUES)) {
    throw new AppError('PAYLOAD_TOO_LARGE', {
      detail: `The request body holds more than ${MAX_VALUES} values.`,
    })
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new AppError('MALFORMED_REQUEST', { detail: 'The request body is not valid UTF-8.', cause: error })
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new AppError('MALFORMED_REQUEST', { detail: 'The request body is not valid JSON.', cause: error })
  }
}

function unsupported(type: string | undefined): AppError {
  return new AppError('UNSUPPORTED_MEDIA_TYPE', {
    detail: type
      ? `Content-Type ${type} is not application/json.`
      : 'Content-Type: application/json is required.',
    headers: { Accept: 'application/json' },
  })
}

function busy(): AppError {
  return new AppError('BUSY', {
    detail: 'The bodies of other requests take up all the memory there is for them.',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  })
}
