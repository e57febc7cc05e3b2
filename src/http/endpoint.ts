/** How a route is declared: once, with its schemas, its errors and its handler together. */
import { createRoute, OpenAPIHono, type RouteConfig, type RouteHandler, type z } from '@hono/zod-openapi'
import type { MiddlewareHandler } from 'hono'
import { ERROR_CODES, type ErrorCode } from '../lib/errors.ts'
import { jsonBody } from './body.ts'
import type { RequestEnv } from './context.ts'
import { faultsOf, problemSchema, validationError } from './problem.ts'

export type Router = OpenAPIHono<RequestEnv>

/** Where a request's faults were found, in the words of its sender. */
const TARGETS: Record<string, string> = { json: '', query: 'query', param: 'path', header: 'header' }

export function createRouter(): Router {
  return new OpenAPIHono<RequestEnv>({
    defaultHook: (result) => {
      if (result.success) return
      const input = (result as { data?: unknown }).data
      const target = TARGETS[result.target] ?? result.target
      throw validationError(
        faultsOf(result.error.issues, input, target === 'query' || target === 'path' ? '' : target),
      )
    },
  })
}

interface EndpointConfig extends Omit<RouteConfig, 'responses' | 'operationId'> {
  operationId: string
  summary: string
  description: string
  tags: string[]
  responses: RouteConfig['responses']
  /** Problems that this route can answer besides those every route can. */
  problems?: readonly ErrorCode[]
  /** Runs once the body was read, before it is validated. */
  middleware?: MiddlewareHandler<RequestEnv>[]
  /** Largest JSON body, unpacked. */
  maxBodyBytes?: number
}

const MAX_BODY_BYTES = 64 * 1024 * 1024

/** Registers a route. Adds the problems of its kind to the spec, and reads its JSON body. */
export function endpoint<const C extends EndpointConfig>(
  router: Router,
  config: C,
  handler: RouteHandler<C, RequestEnv>,
): void {
  const { problems = [], maxBodyBytes = MAX_BODY_BYTES, middleware = [], ...route } = config
  const body = route.request?.body
  const codes = new Set<ErrorCode>(problems)
  if (body)
    for (const code of ['MALFORMED_REQUEST', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'] as const)
      codes.add(code)
  if (body || route.request?.query || route.request?.params) codes.add('VALIDATION_FAILED')
  codes.add('INTERNAL_ERROR')
  const definition = createRoute({
    ...(route as RouteConfig),
    responses: { ...problemResponses(codes), ...route.responses },
    middleware: [
      ...(body ? [jsonBody({ maxBytes: maxBodyBytes, required: body.required ?? false })] : []),
      ...middleware,
    ],
  })
  router.openapi(definition, handler as never)
}

function problemResponses(codes: ReadonlySet<ErrorCode>): RouteConfig['responses'] {
  const byStatus = Map.groupBy([...codes], (code) => ERROR_CODES[code].status)
  return Object.fromEntries(
    [...byStatus].map(([status, of]) => [
      status,
      {
        description: of.map((code) => ERROR_CODES[code].title).join(', or '),
        content: {
          'application/problem+json': {
            schema: problemSchema,
            example: {
              type: `urn:persistence:error:${of[0]!.toLowerCase()}`,
              title: ERROR_CODES[of[0]!].title,
              status,
              detail: ERROR_CODES[of[0]!].title,
              error_code: of[0]!,
              request_id: '01999999-0000-7000-8000-000000000000',
            },
          },
        },
        ...(status === 503 && {
          headers: {
            'Retry-After': {
              description: 'Seconds to wait.',
              schema: { type: 'integer', minimum: 1 },
              required: true,
            },
          },
        }),
      },
    ]),
  ) as RouteConfig['responses']
}

/** A JSON body or answer. */
export function json<S extends z.ZodType>(schema: S, description: string, example?: unknown) {
  return {
    description,
    content: { 'application/json': { schema, ...(example !== undefined && { example }) } },
  }
}
