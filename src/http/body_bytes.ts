/** The bytes of a body, within a size and a time. */
import { AppError } from '../lib/errors.ts'
import { withDeadline } from '../lib/retry.ts'

/** A body that comes slower than this for as long as a client may take is cut off. */
const SLOWEST_BYTES_PER_SECOND = 16 * 1024
/** Up to this size a body is read at one go, at half the cost. As it is small, it takes no share of the memory. */
const AT_ONE_GO_BYTES = 2 ** 18

export interface ByteLimits {
  maxBytes: number
  /** Time in which a body must make progress. */
  timeoutMs: number
  /** Told of bytes before they are kept; throws where there is no room for them. */
  take(bytes: number): void
  /** Told of bytes that have come. */
  onBytes(bytes: number): void
  /** Aborted where the room is needed for others; its reason is the error to throw. */
  signal: AbortSignal
}

/** @throws AppError 400, 408, 413, 415, and what `take` throws. */
export async function readBytes(
  request: Request,
  encoding: string | undefined,
  limits: ByteLimits,
): Promise<Uint8Array> {
  const packing = encoding?.trim().toLowerCase() ?? 'identity'
  if (packing !== 'identity' && packing !== 'gzip') {
    throw new AppError('UNSUPPORTED_MEDIA_TYPE', {
      detail: `Content-Encoding ${encoding} is not supported; gzip is.`,
      headers: { 'Accept-Encoding': 'gzip' },
    })
  }
  const text = request.headers.get('content-length')
  const length = text === null ? null : Number(text)
  if (length !== null && length > limits.maxBytes) throw tooLarge(limits, packing)
  if (!request.body) return new Uint8Array()
  if (packing === 'gzip') {
    return readParts(request.body.pipeThrough(new DecompressionStream('gzip') as never), limits, packing)
  }
  if (length === null) return readParts(request.body, limits, packing)
  if (length > AT_ONE_GO_BYTES) limits.take(length)
  return length <= AT_ONE_GO_BYTES
    ? readAtOneGo(request, length, limits)
    : readLong(request.body, length, limits)
}

async function readAtOneGo(request: Request, length: number, { timeoutMs }: ByteLimits): Promise<Uint8Array> {
  const steps = Math.max(1, Math.ceil(length / stepBytes(timeoutMs)))
  try {
    return new Uint8Array(await withDeadline(request.arrayBuffer(), steps * timeoutMs, tooSlow))
  } catch (error) {
    throw problemOf(error)
  }
}

/** A body whose length is known goes to its place at once: joining its parts would hold it twice. */
async function readLong(
  body: ReadableStream<Uint8Array>,
  length: number,
  limits: ByteLimits,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let size = 0
  await readStream(body, limits, (part) => {
    bytes.set(part, size)
    size += part.byteLength
  })
  return bytes.subarray(0, size)
}

async function readParts(
  body: ReadableStream<Uint8Array>,
  limits: ByteLimits,
  packing: 'identity' | 'gzip',
): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  await readStream(body, limits, (part) => {
    size += part.byteLength
    if (size > limits.maxBytes) throw tooLarge(limits, packing)
    limits.take(part.byteLength)
    parts.push(part)
  })
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.byteLength
  }
  return bytes
}

/**
 * Reads a stream to its end. Its time begins anew with each step of bytes, not with each byte: a client that
 * sends a byte now and then would keep its body's memory for as long as it likes.
 */
async function readStream(
  body: ReadableStream<Uint8Array>,
  { timeoutMs, onBytes, signal }: ByteLimits,
  onPart: (part: Uint8Array) => void,
): Promise<void> {
  const reader = body.getReader()
  // Whoever cancels has a reason of his own to give: that it can't be done because the client is gone is none.
  const cancel = () => void reader.cancel().catch(() => undefined)
  let late = false
  const wait = () =>
    setTimeout(() => {
      late = true
      cancel()
    }, timeoutMs)
  let timer = wait()
  let since = 0
  signal.addEventListener('abort', cancel)
  try {
    while (true) {
      const { done, value } = await reader.read()
      if (late) throw tooSlow()
      signal.throwIfAborted()
      if (done) return
      onPart(value)
      onBytes(value.byteLength)
      since += value.byteLength
      if (since < stepBytes(timeoutMs)) continue
      since = 0
      clearTimeout(timer)
      timer = wait()
    }
  } catch (error) {
    cancel()
    throw late ? tooSlow() : problemOf(signal.aborted ? signal.reason : error)
  } finally {
    clearTimeout(timer)
  }
}

function stepBytes(timeoutMs: number): number {
  return (SLOWEST_BYTES_PER_SECOND * timeoutMs) / 1000
}

function tooLarge({ maxBytes }: ByteLimits, packing: string): AppError {
  return new AppError('PAYLOAD_TOO_LARGE', {
    detail: `The request body is larger than ${maxBytes} bytes${packing === 'gzip' ? ' unpacked' : ''}.`,
  })
}

/** The rest of the body would be taken for the next request, so the connection ends. */
function tooSlow(): AppError {
  return new AppError('REQUEST_TIMEOUT', {
    detail: 'The request body did not come in time.',
    headers: { Connection: 'close' },
  })
}

/** What else fails: a body that was cut off by its sender, or is not what its encoding says. */
function problemOf(error: unknown): AppError {
  if (error instanceof AppError) return error
  return new AppError('MALFORMED_REQUEST', {
    detail: 'The request body could not be unpacked or read.',
    cause: error,
  })
}
