/** How the service is served on Bun: its clocks, its TLS, and what is answered when all else fails. */
import type { Config } from '../config/mod.ts'
import type { RequestBindings } from '../http/context.ts'
import { ERROR_CODES, messageOf } from '../lib/errors.ts'
import { uuidv7 } from '../lib/ids.ts'
import type { Logger } from '../lib/log.ts'
import type { TlsOptions } from './tls.ts'

/**
 * How long a connection may wait for its next request, and for a client to take an answer. Proxies and load
 * balancers keep a connection for 60 s as a rule: who closes it first must be the one that sends on it.
 */
const IDLE_SECONDS = 75
/** Bun's clock of connections: it may be early by as much. */
const TICK_SECONDS = 4

/** What of a server of Bun is used for a request. */
interface Connections {
  requestIP(request: Request): { address: string } | null
  timeout(request: Request, seconds: number): void
}

interface ServerOptions {
  service: Config['service']
  tls: TlsOptions | null
  fetch(request: Request, bindings: RequestBindings): Response | Promise<Response>
  log: Logger
}

/**
 * The options of `Bun.serve`. A connection has three clocks: Bun's own 8 to 12 s for the first request's head,
 * handshake included; none while a request is worked on, which has deadlines of its own, for its body too; and
 * that of an idle connection from the moment on that its answer begins.
 */
export function serverOptions({ service, tls, fetch, log }: ServerOptions) {
  const idleSeconds = Math.max(IDLE_SECONDS, Math.ceil(service.client_timeout)) + TICK_SECONDS
  return {
    hostname: service.host,
    port: service.port,
    ...(tls && { tls }),
    // Bun's page of an error shows the source.
    development: false,
    // Without that page Bun shares a port that is taken, and a second service would get half of the requests.
    reusePort: false,
    // The app's own limit answers 413 with a reason, and reads nothing beyond it.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    idleTimeout: idleSeconds,

    async fetch(request: Request, connections: Connections): Promise<Response> {
      connections.timeout(request, 0)
      try {
        return await fetch(request, {
          peerAddress: () => connections.requestIP(request)?.address ?? null,
          hangUp: () => connections.timeout(request, 1),
        })
      } finally {
        connections.timeout(request, idleSeconds)
      }
    },

    /** What fails outside of the app, which has an answer for everything inside. */
    error(error: Error): Response {
      const requestId = uuidv7()
      log.error('request failed', { request_id: requestId, meta: { error: error.stack ?? messageOf(error) } })
      const { status, title } = ERROR_CODES.INTERNAL_ERROR
      return Response.json(
        {
          type: 'urn:persistence:error:internal_error',
          title,
          status,
          detail: 'The request failed; the log has the cause under this request id.',
          error_code: 'INTERNAL_ERROR',
          request_id: requestId,
        },
        { status, headers: { 'Content-Type': 'application/problem+json', 'X-Request-Id': requestId } },
      )
    },
  }
}

/** Whether only this machine can reach an address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}
