/** What the spec says of problems. */
import type { RouteConfig } from '@hono/zod-openapi'
import { ERROR_CODES, type ErrorCode } from '../lib/errors.ts'
import { problemSchema } from './problem.ts'

const RETRY_AFTER = {
  'Retry-After': {
    description: 'Seconds to wait.',
    schema: { type: 'integer', minimum: 1 },
    required: true,
  },
} as const

/** Headers that the problems of a status always have. */
const HEADERS: Partial<Record<number, object>> = {
  401: {
    'WWW-Authenticate': {
      description: 'How a caller may say who it is.',
      schema: { type: 'string', example: 'ApiKey realm="persistence-service"' },
      required: true,
    },
  },
  429: RETRY_AFTER,
  503: RETRY_AFTER,
}

/** By their status: what a route answers where it ends in one of these problems. */
export function problemResponses(codes: ReadonlySet<ErrorCode>): RouteConfig['responses'] {
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
        ...(HEADERS[status] && { headers: HEADERS[status] }),
      },
    ]),
  ) as RouteConfig['responses']
}
