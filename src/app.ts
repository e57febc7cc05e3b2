/** The app: middleware, slices, errors, spec. Web standards alone, so it runs on Bun, Node, Deno and workerd. */
import { BackendError } from './backends/backend.ts'
import { accessLog, type RequestEvents } from './http/access_log.ts'
import { mountDocs } from './http/docs.ts'
import { createRouter, type Router } from './http/endpoint.ts'
import { literalPaths, unmatched } from './http/methods.ts'
import { renderProblem, toAppError } from './http/problem.ts'
import { AppError } from './lib/errors.ts'
import type { Logger } from './lib/log.ts'

export interface AppServices {
  version: string
  log: Logger
  events: RequestEvents
  /** Largest JSON body, unpacked. */
  maxBodyBytes: number
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

export function createApp({ version, log, events, maxBodyBytes, slices }: AppServices): Router {
  const app = createRouter()
  app.use(accessLog(log, events))
  app.use((c, next) => {
    c.set('maxBodyBytes', maxBodyBytes)
    return next()
  })
  app.use(literalPaths(app))
  app.onError((error, c) => renderProblem(c, toAppError(error, translate)))
  app.notFound((c) => renderProblem(c as never, unmatched(app, c as never)))
  for (const slice of slices) slice.mount(app)
  mountDocs(app, { version })
  return app
}
