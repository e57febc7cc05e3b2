/** What the spec says of rate limits: headers of every answer that one can stand behind. */
import type { RouteConfig } from '@hono/zod-openapi'

type Responses = RouteConfig['responses']

/** Where limits are on; the names are those of the IETF's draft 06. */
export const LIMIT_HEADERS = {
  'RateLimit-Limit': whole('How many requests the limit that is nearest allows in its window.'),
  'RateLimit-Remaining': whole('How many of them are left.'),
  'RateLimit-Reset': whole('Seconds until all of them are there again.'),
  'RateLimit-Policy': {
    description: 'Every limit that counted the request, with its window in seconds.',
    schema: { type: 'string', example: '1000;w=60, 10;w=60' },
  },
} as const

function whole(description: string) {
  return { description, schema: { type: 'integer', minimum: 0 } } as const
}

const REFERENCES = Object.fromEntries(
  Object.keys(LIMIT_HEADERS).map((name) => [name, { $ref: `#/components/headers/${name}` }]),
)

/** Who is not let in is counted everywhere. */
const ALWAYS_COUNTED = ['401', '403', '429']

/** The same responses; those that were counted have the headers: of a route that is `counted`, all. */
export function withLimitHeaders(responses: Responses, counted: boolean): Responses {
  const tells = (status: string) => counted || ALWAYS_COUNTED.includes(status)
  return Object.fromEntries(
    Object.entries(responses).map(([status, response]) => {
      if (!tells(status)) return [status, response]
      const own = 'headers' in response ? response.headers : {}
      return [status, { ...response, headers: { ...REFERENCES, ...own } }]
    }),
  ) as Responses
}
