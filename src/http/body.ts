/** JSON bodies: media type, encoding, size and text are settled here; the route's schema does the rest. */
import type { HonoRequest } from 'hono'
import { AppError } from '../lib/errors.ts'

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/** Reads and parses a JSON body; where it may be absent and is, `{}`. `maxBytes` counts unpacked bytes. */
export async function readJson(
  request: HonoRequest,
  options: { maxBytes: number; required: boolean },
): Promise<unknown> {
  const empty = request.raw.body === null || request.header('content-length') === '0'
  if (empty && !options.required) return {}
  const type = request.header('content-type')
  const read = () => readBytes(request.raw, request.header('content-encoding'), options.maxBytes)
  // A chunked body can turn out to be none.
  if (!type && !options.required && (await read()).byteLength === 0) return {}
  if (!type || !JSON_TYPE.test(type)) {
    throw new AppError('UNSUPPORTED_MEDIA_TYPE', {
      detail: type
        ? `Content-Type ${type} is not application/json.`
        : 'Content-Type: application/json is required.',
      headers: { Accept: 'application/json' },
    })
  }
  return parse(await read())
}

function parse(bytes: Uint8Array): unknown {
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

async function readBytes(
  request: Request,
  encoding: string | undefined,
  maxBytes: number,
): Promise<Uint8Array> {
  const packing = encoding?.trim().toLowerCase() ?? 'identity'
  if (packing !== 'identity' && packing !== 'gzip') {
    throw new AppError('UNSUPPORTED_MEDIA_TYPE', {
      detail: `Content-Encoding ${encoding} is not supported; gzip is.`,
      headers: { 'Accept-Encoding': 'gzip' },
    })
  }
  const tooLarge = () =>
    new AppError('PAYLOAD_TOO_LARGE', {
      detail: `The request body is larger than ${maxBytes} bytes${packing === 'gzip' ? ' unpacked' : ''}.`,
    })
  const length = request.headers.get('content-length')
  if (length !== null && Number(length) > maxBytes) throw tooLarge()
  if (length !== null && packing === 'identity') {
    try {
      return new Uint8Array(await request.arrayBuffer())
    } catch (error) {
      throw unreadable(error)
    }
  }
  if (!request.body) return new Uint8Array()

  const unpacked =
    packing === 'gzip' ? request.body.pipeThrough(new DecompressionStream('gzip') as never) : request.body
  const parts: Uint8Array[] = []
  let size = 0
  try {
    for await (const part of unpacked as ReadableStream<Uint8Array>) {
      size += part.byteLength
      if (size > maxBytes) throw tooLarge()
      parts.push(part)
    }
  } catch (error) {
    if (error instanceof AppError) throw error
    throw unreadable(error)
  }
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.byteLength
  }
  return bytes
}

/** Cut off by its sender, or not what its encoding says. */
function unreadable(cause: unknown): AppError {
  return new AppError('MALFORMED_REQUEST', {
    detail: 'The request body could not be unpacked or read.',
    cause,
  })
}
