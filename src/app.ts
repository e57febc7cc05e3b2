/** The app: middleware, slices, errors, spec. Web standards alone, so it runs on Bun, Node, Deno and workerd. */
import { BackendError } from './backends/backend.ts'
import { admitStray, assertDoors } from './http/access.ts'
import { accessLog, type RequestEvents } from './http/access_log.ts'
import { type BodyLimits, createBodyReader } from './http/body.ts'
import type { AddressOf } from './http/client_address.ts'
import type { Door } from './http/context.ts'
import { crossOrigin } from './http/cors.ts'
import { mountDocs } from './http/docs.ts'
import { createRouter, type Router } from './http/endpoint.ts'
import { literalPaths, unmatched } from './http/methods.ts'
import { renderProblem, toAppError } from './http/problem.ts'
import { checkForm } from './http/request_form.ts'
import { securityHeaders } from './http/security_headers.ts'
import { AppError } from './lib/errors.ts'
import type { Logger } from './lib/log.ts'

export interface AppServices {
  version: string
  log: Logger
  events: RequestEvents
  addressOf: AddressOf
  door: Door
  /** Whose pages may call this from a browser. */
  corsOrigins: readonly string[]
  /** Whether the service itself speaks TLS. */
  tls: boolean
  bodyLimits: BodyLimits
  slices: readonly { mount(app: Router): void }[]
}

const RETRY_AFTER_SECONDS = 2

/** Errors of backends: an outage is 503, and so is what nobody listed; what is refused here is our fault. */
function translate(error: unknown): AppError | null {
  if (!(error instanceof BackendError)) return null
  if (error.kind === 'refused' || error.kind === 'too_large') return null
  return new AppError('BACKEND_UNAVAILABLE', {
    detail: 'The storage backend does not answer; what was accepted is kept.',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    cause: error,
  })
}

export function createApp({
  version,
  log,
  events,
  addressOf,
  door,
  corsOrigins,
  tls,
  bodyLimits,
  slices,
}: AppServices): Router {
  const app = createRouter()
  const bodies = createBodyReader(bodyLimits)
  app.use(accessLog({ log, events, addressOf }))
  app.use(securityHeaders({ tls }))
  app.use((c, next) => {
    c.set('door', door)
    c.set('bodies', bodies)
    c.set('clientTimeoutMs', bodyLimits.timeoutMs)
    return next()
  })
  app.use(checkForm())
  app.use(crossOrigin(corsOrigins))
  app.use(literalPaths(app))
  app.onError((error, c) => renderProblem(c, toAppError(error, translate)))
  app.notFound(async (c) => {
    await admitStray(c as never)
    return renderProblem(c as never, unmatched(app, c as never))
  })
  for (const slice of slices) slice.mount(app)
  mountDocs(app, { version, schemes: door.schemes })
  assertDoors(app)
  return app
}
