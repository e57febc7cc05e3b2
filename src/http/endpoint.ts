/** How a route is declared: once, with its schemas, its errors and its handler together. */
import { createRoute, OpenAPIHono, type RouteConfig, type RouteHandler, type z } from '@hono/zod-openapi'
import type { MiddlewareHandler } from 'hono'
import type { ErrorCode } from '../lib/errors.ts'
import { admission, problemsOfAccess, securityOf } from './access.ts'
import type { Access, RequestEnv } from './context.ts'
import { withLimitHeaders } from './limit_headers.ts'
import { type BatchList, sortItems } from './partial.ts'
import { faultsOf, validationError } from './problem.ts'
import { problemResponses } from './problem_responses.ts'

export type Router = OpenAPIHono<RequestEnv>

export function createRouter(): Router {
  return new OpenAPIHono<RequestEnv>()
}

interface EndpointConfig extends Omit<RouteConfig, 'responses' | 'operationId' | 'security'> {
  operationId: string
  /** What a caller must be allowed to do; `open` = nothing. */
  scope: Access['scope']
  /** What its requests are counted by. Default: the caller. */
  limit?: Access['limit']
  summary: string
  description: string
  tags: string[]
  responses: RouteConfig['responses']
  /** Problems that this route can answer besides those every route can. */
  problems?: readonly ErrorCode[]
  /** The body is a batch: `?partial=true` takes its good items. */
  batch?: BatchList
}

/** Registers a route: in the spec, with the problems of its kind, and in the app, with its validation. */
export function endpoint<const C extends EndpointConfig>(
  router: Router,
  config: C,
  handler: RouteHandler<C, RequestEnv>,
): void {
  const { problems = [], batch, scope, limit = 'caller', ...route } = config
  const codes = new Set<ErrorCode>([
    ...problems,
    ...problemsOf(route.request),
    ...problemsOfAccess({ scope, limit }),
    'MALFORMED_REQUEST',
    'INTERNAL_ERROR',
  ])
  const definition = createRoute({
    ...(route as RouteConfig),
    security: securityOf(scope),
    responses: withLimitHeaders({ ...problemResponses(codes), ...route.responses }, limit !== 'none'),
  })
  router.openAPIRegistry.registerPath(definition)
  const validators = [
    admission({ scope, limit }),
    ...inputValidators(route.request),
    ...bodyValidator(route.request?.body, batch),
  ]
  const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1')
  router.on([route.method.toUpperCase()], [path], ...validators, handler as never)
}

function problemsOf(request: RouteConfig['request']): ErrorCode[] {
  const body: ErrorCode[] = ['REQUEST_TIMEOUT', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'BUSY']
  const takesInput = request?.body || request?.query || request?.params
  return [...(request?.body ? body : []), ...(takesInput ? (['VALIDATION_FAILED'] as const) : [])]
}

/**
 * Validation is synchronous: only then does zod run the code that it compiles from a schema, at half the
 * cost, which is most of what accepting a batch costs.
 */
function validate(schema: z.ZodType, input: unknown): unknown {
  const result = schema.safeParse(input)
  if (!result.success) throw validationError(faultsOf(result.error.issues, input))
  return result.data
}

function inputValidators(request: RouteConfig['request']): MiddlewareHandler<RequestEnv>[] {
  const validators: MiddlewareHandler<RequestEnv>[] = []
  const { params, query } = request ?? {}
  if (params) {
    validators.push((c, next) => {
      c.req.addValidatedData('param', validate(params as z.ZodType, c.req.param()) as object)
      return next()
    })
  }
  if (query) {
    validators.push((c, next) => {
      // A parameter that is given twice is a list, which no schema here takes.
      const given = Object.entries(c.req.queries()).map(([name, values]) => [
        name,
        values.length === 1 ? values[0] : values,
      ])
      c.req.addValidatedData('query', validate(query as z.ZodType, Object.fromEntries(given)) as object)
      return next()
    })
  }
  return validators
}

type Body = NonNullable<RouteConfig['request']>['body']

function bodyValidator(body: Body, batch?: BatchList): MiddlewareHandler<RequestEnv>[] {
  const content = body?.content['application/json']
  if (!content || !('schema' in content)) return []
  const { schema } = content
  return [
    async (c, next) => {
      const json = await c.get('bodies').readJson(c.req, { required: body?.required ?? false })
      const sorted = batch && c.req.query('partial') === 'true' ? sortItems(json, batch) : null
      if (sorted) c.set('sorted', sorted)
      c.req.addValidatedData(
        'json',
        (sorted ? sorted.accepted : validate(schema as z.ZodType, json)) as object,
      )
      return next()
    },
  ]
}

/** A JSON body or answer. */
export function json<S extends z.ZodType>(schema: S, description: string, example?: unknown) {
  return {
    description,
    content: { 'application/json': { schema, ...(example !== undefined && { example }) } },
  }
}
