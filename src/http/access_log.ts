/** One wide line a request, its id in and out, and its metrics. */
import type { Context, MiddlewareHandler } from 'hono'
import { routePath } from 'hono/route'
import { ANYONE, NOBODY } from '../auth/principal.ts'
import { messageOf } from '../lib/errors.ts'
import { uuidv7 } from '../lib/ids.ts'
import type { Logger } from '../lib/log.ts'
import type { AddressOf } from './client_address.ts'
import type { RequestEnv } from './context.ts'

export interface RequestEvents {
  /** `endpoint` is the route's pattern, never a path that holds an id. */
  onRequest(
    endpoint: string,
    method: string,
    status: number,
    durationSeconds: number,
    errorCode: string | null,
  ): void
}

interface AccessLogOptions {
  log: Logger
  events: RequestEvents
  addressOf: AddressOf
}

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/

/** A client can make up methods; a metric's labels are bounded. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** Paths that would fill the log with nothing: probes and scrapes are logged when they fail. */
const QUIET = new Set([
  '/health',
  '/health/live',
  '/health/ready',
  '/api/v1/system/health',
  '/api/v1/system/metrics',
])

export function accessLog({ log, events, addressOf }: AccessLogOptions): MiddlewareHandler<RequestEnv> {
  return async (c, next) => {
    const start = performance.now()
    const given = c.req.header('x-request-id')
    const requestId = given && REQUEST_ID.test(given) ? given : uuidv7()
    c.set('requestId', requestId)
    c.set('logFields', {})
    c.set('principal', NOBODY)
    // Now: once the client has hung up, nobody knows it any more.
    c.set('address', addressOf(c))
    c.header('X-Request-Id', requestId)
    await next()
    const durationMs = performance.now() - start
    const endpoint = patternOf(c)
    const { status } = c.res
    events.onRequest(
      endpoint,
      METHODS.has(c.req.method) ? c.req.method : '(other)',
      status,
      durationMs / 1000,
      c.get('errorCode') ?? null,
    )
    write(log, c, { endpoint, status, durationMs })
  }
}

/** The matched route's pattern in the spec's spelling; everything unknown is one label. */
function patternOf(c: Context<RequestEnv>): string {
  const path = routePath(c, -1)
  return path === '' || path.includes('*') ? '(none)' : path.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}')
}

function write(
  log: Logger,
  c: Context<RequestEnv>,
  of: { endpoint: string; status: number; durationMs: number },
): void {
  // A probe that is told "not yet" has its answer.
  if (QUIET.has(of.endpoint) && !c.get('errorCode')) return
  const { meta, ...fields } = c.get('logFields')
  const failure = c.get('failure')
  const address = c.get('address')
  const principal = c.get('principal')
  const line = {
    endpoint: of.endpoint,
    method: c.req.method,
    request_id: c.get('requestId'),
    ...(principal.subject !== null && { user_id: principal.subject }),
    ...fields,
    meta: {
      status: of.status,
      duration_ms: Math.round(of.durationMs * 100) / 100,
      ...(c.get('errorCode') && { error_code: c.get('errorCode') }),
      ...(address !== null && { address }),
      ...(principal !== ANYONE && { principal: principal.id }),
      ...meta,
      ...(failure !== undefined && { error: describe(failure) }),
    },
  }
  if (of.status === 500) log.error('request failed', line)
  else if (of.status > 500) log.warn('request failed', line)
  else log.info('request', line)
}

/** An error with its causes, in one text. */
function describe(failure: unknown): string {
  const parts: string[] = []
  for (let error = failure; error !== undefined && parts.length < 5; error = (error as Error).cause) {
    if (!(error instanceof Error)) {
      parts.push(String(error))
      break
    }
    const text = error instanceof SyntaxError ? messageOf(error) : String(error)
    parts.push(parts.length === 0 ? [text, ...callsOf(error)].join('\n') : text)
  }
  return parts.join('\ncaused by: ')
}

/** The lines of a stack that say where. */
function callsOf({ stack = '' }: Error): string[] {
  return stack.split('\n').filter((line) => /^\s+at /.test(line))
}
