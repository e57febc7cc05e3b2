/** What a route asks of its callers: declared beside it, shown in the spec, held against every request. */
import type { Context, Handler, Hono, MiddlewareHandler } from 'hono'
import type { ErrorCode } from '../lib/errors.ts'
import type { Access, RequestEnv } from './context.ts'

/** Of what is no route, and of pages. */
const STRAY: Access = { scope: 'open', limit: 'caller' }

/** Counts a request that no route takes. @throws AppError RATE_LIMITED. */
export function admitStray(c: Context<RequestEnv>): Promise<void> | void {
  return c.get('door').admit(c, STRAY)
}

/** The ways to say who one is, as the spec names them. */
export const SECURITY_SCHEMES = {
  ApiKey: {
    type: 'apiKey',
    in: 'header',
    name: 'X-API-Key',
    description: 'A key that `bun run keys create` has made.',
  },
  Bearer: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'A token of the configured issuer, with the scopes in its claim `scope`.',
  },
} as const

/** What the spec says of a route's access. */
export function securityOf(scope: Access['scope']): Record<string, string[]>[] {
  return scope === 'open' ? [] : Object.keys(SECURITY_SCHEMES).map((name) => ({ [name]: [scope] }))
}

/** A page for people: open, counted, and not in the spec. */
export function page(router: Hono<RequestEnv>, path: string, handler: Handler<RequestEnv>): void {
  router.get(path, admission(STRAY), handler)
}

const admissions = new WeakSet<object>()

/** A route's first handler: it runs before anything of the request is read. */
export function admission(access: Access): MiddlewareHandler<RequestEnv> {
  const admit: MiddlewareHandler<RequestEnv> = (c, next) => {
    const admitted = c.get('door').admit(c, access)
    return admitted instanceof Promise ? admitted.then(next) : next()
  }
  admissions.add(admit)
  return admit
}

/** @throws TypeError for a route that lets everybody in because nobody said who may. */
export function assertDoors(app: Hono<RequestEnv>): void {
  const routes = app.routes.filter(({ method }) => method !== 'ALL')
  const behindDoors = new Set(
    routes.filter(({ handler }) => admissions.has(handler)).map(({ method, path }) => `${method} ${path}`),
  )
  for (const { method, path } of routes) {
    if (!behindDoors.has(`${method} ${path}`)) {
      throw new TypeError(`${method} ${path} says nothing of its access: register it by endpoint() or page()`)
    }
  }
}

/** The problems that a route's access can end in. */
export function problemsOfAccess({ scope, limit }: Access): ErrorCode[] {
  const closed: ErrorCode[] = ['UNAUTHENTICATED', 'FORBIDDEN', 'AUTH_UNAVAILABLE']
  return [
    ...(scope === 'open' ? [] : closed),
    // Who is not let in is counted everywhere.
    ...(scope !== 'open' || limit !== 'none' ? (['RATE_LIMITED'] as const) : []),
  ]
}
