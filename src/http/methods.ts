/** 404 or 405: what is at a path that no route of this method has. */
import type { Context } from 'hono'
import { AppError } from '../lib/errors.ts'
import type { RequestEnv } from './context.ts'
import type { Router } from './endpoint.ts'

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** The error for a request that matched no route of `app`. */
export function unmatched(app: Router, c: Context<RequestEnv>): AppError {
  const routed = new Set(app.routes.filter(({ method }) => method !== 'ALL').map(({ handler }) => handler))
  const allowed = METHODS.filter((method) => app.router.match(method, c.req.path)[0].some(([[handler]]) => routed.has(handler as never)))
  if (allowed.length === 0) return new AppError('NOT_FOUND', { detail: `Nothing is at ${c.req.path}.` })
  const allow = allowed.includes('GET') ? ['HEAD', ...allowed] : allowed
  return new AppError('METHOD_NOT_ALLOWED', {
    detail: `${c.req.method} is not offered here.`,
    headers: { Allow: allow.join(', ') },
  })
}
