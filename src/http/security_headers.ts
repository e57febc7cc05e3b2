/** What every answer tells a browser: to do nothing with it but read it. */
import type { MiddlewareHandler } from 'hono'
import { secureHeaders } from 'hono/secure-headers'

interface SecurityHeadersOptions {
  /** Whether the service itself speaks TLS: what stands before it may not, and a browser remembers for a year. */
  tls: boolean
}

const YEAR = 'max-age=31536000'

/** A route that sets one of these itself, as the pages of the reference do, keeps its own. */
export function securityHeaders({ tls }: SecurityHeadersOptions): MiddlewareHandler {
  const secure = secureHeaders({
    overwrite: false,
    contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    xFrameOptions: 'DENY',
    permissionsPolicy: { camera: [], geolocation: [], microphone: [] },
    strictTransportSecurity: tls && YEAR,
    // For browsers of long ago, and for documents alone.
    originAgentCluster: false,
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  })
  return (c, next) =>
    secure(c, async () => {
      await next()
      if (!c.res.headers.has('Cache-Control')) c.res.headers.set('Cache-Control', 'no-store')
    })
}
