/** 404 and 405: what is at a path that no route of this method has. */
import type { Context, MiddlewareHandler } from 'hono'
import { AppError } from '../lib/errors.ts'
import { admitStray } from './access.ts'
import type { RequestEnv } from './context.ts'
import type { Router } from './endpoint.ts'

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** The app's routes, without its middleware. */
function routesOf(app: Router) {
  return app.routes.filter(({ method }) => method !== 'ALL')
}

function methodNotAllowed(method: string, allowed: readonly string[]): AppError {
  const allow = allowed.includes('GET') ? ['HEAD', ...allowed] : allowed
  return new AppError('METHOD_NOT_ALLOWED', {
    detail: `${method} is not offered here.`,
    headers: { Allow: allow.join(', ') },
  })
}

/**
 * Where a path is spelt out, what is offered there is what counts: `GET /sessions/batch` is no session's
 * path. To be used before any route.
 */
export function literalPaths(app: Router): MiddlewareHandler<RequestEnv> {
  let literal: Map<string, Set<string>> | null = null
  return (c, next) => {
    if (!literal) {
      literal = new Map()
      for (const { path, method } of routesOf(app)) {
        if (!/[:*{]/.test(path)) literal.set(path, (literal.get(path) ?? new Set()).add(method))
      }
    }
    const methods = literal.get(c.req.path)
    const method = c.req.method === 'HEAD' ? 'GET' : c.req.method
    return methods && !methods.has(method) ? refuse(c, [...methods]) : next()
  }
}

async function refuse(c: Context<RequestEnv>, offered: readonly string[]): Promise<never> {
  await admitStray(c)
  throw methodNotAllowed(c.req.method, offered)
}

/** The error for a request that matched no route of `app`. */
export function unmatched(app: Router, c: Context<RequestEnv>): AppError {
  const handlers = new Set<unknown>(routesOf(app).map(({ handler }) => handler))
  const isRouted = (method: string) =>
    app.router.match(method, c.req.path)[0].some(([[handler]]) => handlers.has(handler))
  const allowed = METHODS.filter(isRouted)
  if (allowed.length > 0) return methodNotAllowed(c.req.method, allowed)
  // Not repeated: a path that is none of ours may hold anything.
  return new AppError('NOT_FOUND', { detail: 'Nothing is at this path.' })
}
