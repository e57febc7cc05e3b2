/** Which pages of other origins may call this from a browser: none, unless they are configured. */
import type { MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { LIMIT_HEADERS } from './limit_headers.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
const REQUEST_HEADERS = [
  'X-API-Key',
  'Authorization',
  'Content-Type',
  'Content-Encoding',
  'If-Match',
  'If-None-Match',
  'Range',
  'X-Request-Id',
  'Last-Event-ID',
]
const ANSWER_HEADERS = [
  ...Object.keys(LIMIT_HEADERS),
  'Retry-After',
  'X-Request-Id',
  'ETag',
  'Location',
  'Content-Range',
  'Accept-Ranges',
  'WWW-Authenticate',
  'Allow',
]
/** How long a browser need not ask again. */
const MAX_AGE_SECONDS = 600

/** To stand before whatever asks for a credential: a browser's question about another origin has none. */
export function crossOrigin(origins: readonly string[]): MiddlewareHandler {
  if (origins.length === 0) return (_, next) => next()
  const anybody = origins.includes('*')
  const handle = cors({
    origin: anybody ? '*' : [...origins],
    allowMethods: METHODS,
    allowHeaders: REQUEST_HEADERS,
    exposeHeaders: ANSWER_HEADERS,
    maxAge: MAX_AGE_SECONDS,
  })
  return async (c, next) => {
    const fromPage = c.req.header('origin') !== undefined
    const asks = c.req.header('access-control-request-method') !== undefined
    // Any other OPTIONS is a method like any other, which nothing here offers.
    if (fromPage && (asks || c.req.method !== 'OPTIONS')) return handle(c, next)
    await next()
    // A cache must not give a page what nobody's page has asked for.
    if (!anybody) c.res.headers.append('Vary', 'Origin')
  }
}
