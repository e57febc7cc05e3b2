/** JSON bodies: media type, encoding, size and text are settled here; the route's schema does the rest. */
import type { HonoRequest, MiddlewareHandler } from 'hono'
import { AppError } from '../lib/errors.ts'
import type { RequestEnv } from './context.ts'

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/** Reads the body as text, so that `c.req.json()` parses it. `maxBytes` counts unpacked bytes. */
export function jsonBody(options: { maxBytes: number; required: boolean }): MiddlewareHandler<RequestEnv> {
  return async (c, next) => {
    const type = c.req.header('content-type')
    const empty = c.req.raw.body === null || c.req.header('content-length') === '0'
    if (empty && !options.required) {
      setText(c.req, '{}')
      return next()
    }
    if (!type || !JSON_TYPE.test(type)) {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', {
        detail: type
          ? `Content-Type ${type} is not application/json.`
          : 'Content-Type: application/json is required.',
        headers: { Accept: 'application/json' },
      })
    }
    const bytes = await readBytes(c.req.raw, c.req.header('content-encoding'), options.maxBytes)
    try {
      setText(c.req, new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    } catch (error) {
      throw new AppError('MALFORMED_REQUEST', {
        detail: 'The request body is not valid UTF-8.',
        cause: error,
      })
    }
    return next()
  }
}

/** Makes `text` what `c.req.json()` and `c.req.text()` see. Hono's cache holds promises, whatever its type says. */
export function setText(request: HonoRequest, text: string): void {
  Object.assign(request.bodyCache, { text: Promise.resolve(text) })
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
  if (length !== null && packing === 'identity') return new Uint8Array(await request.arrayBuffer())
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
    throw new AppError('MALFORMED_REQUEST', {
      detail: 'The request body could not be unpacked or read.',
      cause: error,
    })
  }
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.byteLength
  }
  return bytes
}
