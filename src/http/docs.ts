/** The spec at /openapi.json and a reference page at /docs, all of it served from here: no internet needed. */

import { z } from '@hono/zod-openapi'
import type { Scheme } from '../auth/authenticator.ts'
import { page, SECURITY_SCHEMES } from './access.ts'
import { endpoint, type Router } from './endpoint.ts'
import { LIMIT_HEADERS } from './limit_headers.ts'

export interface SpecInfo {
  version: string
  /** How callers may say who they are, none = they need not: the spec tells what is so. */
  schemes(): readonly Scheme[]
}

const TAGS = [
  { name: 'Write', description: 'Batches are accepted in milliseconds and stored in the background.' },
  { name: 'Query', description: 'Sessions and tasks, one and many.' },
  { name: 'Recovery', description: 'Going on after a restart.' },
  { name: 'Management', description: 'Deleting, cleaning up, statistics.' },
  { name: 'System', description: 'Health, metrics, configuration.' },
  { name: 'Deprecated', description: 'Paths of version 1.' },
]

function specOf(app: Router, { version, schemes }: SpecInfo) {
  const spec = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Persistence Service',
      version,
      description:
        'One service, multiple backends, unified API: batched, idempotent persistence for translation sessions and their tasks.',
      contact: {
        name: 'Persistence Service',
        url: 'https://github.com/persistence-service/persistence-service',
      },
      license: { name: 'MIT', url: 'https://opensource.org/license/mit' },
    },
    servers: [{ url: '/', description: 'This instance.' }],
    tags: TAGS,
  })
  const configured: readonly string[] = schemes()
  for (const path of Object.values(spec.paths ?? {})) {
    for (const operation of Object.values(path) as { security?: Record<string, string[]>[] }[]) {
      if (!operation.security?.length) continue
      // Where no authentication is configured, no credential is one of the ways in.
      operation.security =
        configured.length === 0
          ? [{}, ...operation.security]
          : operation.security.filter((way) => Object.keys(way).every((name) => configured.includes(name)))
    }
  }
  return spec
}

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Persistence Service: API reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`

const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#reference', deepLinking: true, validatorUrl: null, tryItOutEnabled: true })
`

/** Scripts and styles come from here alone; Swagger UI sets styles on its elements, and inlines its icons. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const ASSETS: Record<string, { type: string; text(): Promise<string> }> = {
  'start.js': { type: 'text/javascript', text: async () => START },
  'swagger-ui-bundle.js': {
    type: 'text/javascript',
    text: async () =>
      textOf(await import('swagger-ui-dist/swagger-ui-bundle.js', { with: { type: 'text' } })),
  },
  'swagger-ui.css': {
    type: 'text/css',
    text: async () => textOf(await import('swagger-ui-dist/swagger-ui.css', { with: { type: 'text' } })),
  },
}

function textOf(module: { default: unknown }): string {
  return String(module.default)
}

/** Mount it last: routes registered later are missing from the spec. */
export function mountDocs(app: Router, info: SpecInfo): void {
  for (const [name, scheme] of Object.entries(SECURITY_SCHEMES)) {
    app.openAPIRegistry.registerComponent('securitySchemes', name, scheme)
  }
  for (const [name, header] of Object.entries(LIMIT_HEADERS)) {
    app.openAPIRegistry.registerComponent('headers', name, header)
  }
  /** By the ways in: a file of keys may appear while the service runs. */
  const specs = new Map<string, string>()
  endpoint(
    app,
    {
      method: 'get',
      path: '/openapi.json',
      operationId: 'getSpec',
      scope: 'open',
      summary: 'Get this specification',
      description: 'OpenAPI 3.1, generated from the schemas that validate.',
      tags: ['System'],
      responses: {
        200: {
          description: 'The specification.',
          content: { 'application/json': { schema: z.record(z.string(), z.unknown()) } },
        },
      },
    },
    async (c) => {
      const ways = info.schemes().join()
      const spec = specs.get(ways) ?? JSON.stringify(specOf(app, info))
      specs.set(ways, spec)
      return c.body(spec, 200, { 'Content-Type': 'application/json' }) as never
    },
  )
  page(app, '/docs', (c) => c.html(PAGE, 200, { 'Content-Security-Policy': POLICY }))
  for (const [name, { type, text }] of Object.entries(ASSETS)) {
    page(app, `/docs/${name}`, async (c) =>
      c.body(await text(), 200, {
        'Content-Type': `${type}; charset=utf-8`,
        'Cache-Control': 'public, max-age=86400',
      }),
    )
  }
}
