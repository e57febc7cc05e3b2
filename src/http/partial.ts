/** `?partial=true`: the good items of a batch go on to the route, the others are answered with their faults. */
import type { z } from '@hono/zod-openapi'
import type { HonoRequest, MiddlewareHandler } from 'hono'
import { setText } from './body.ts'
import type { RejectedItem, RequestEnv } from './context.ts'
import { faultsOf, validationError } from './problem.ts'

/** A body that is no JSON is left to the route's own validation, which answers it. */
async function parsed(request: HonoRequest): Promise<unknown> {
  try {
    return await request.json()
  } catch {
    return undefined
  }
}

/** Sorts the items of the body's `list`; a body that isn't such a list is left to the route's own schema. */
export function partialItems(list: string, item: z.ZodType, maxItems: number): MiddlewareHandler<RequestEnv> {
  return async (c, next) => {
    if (c.req.query('partial') !== 'true') return next()
    const body = await parsed(c.req)
    const items = (body as Record<string, unknown> | null | undefined)?.[list]
    if (!Array.isArray(items) || items.length === 0 || items.length > maxItems) return next()
    const rejected: RejectedItem[] = []
    const positions: number[] = []
    for (const [index, candidate] of items.entries()) {
      const result = item.safeParse(candidate)
      if (result.success) positions.push(index)
      else rejected.push({ index, errors: faultsOf(result.error.issues, candidate, `${list}[${index}]`) })
    }
    if (positions.length === 0)
      throw validationError(
        rejected.flatMap(({ errors }) => errors),
        { rejected },
      )
    c.set('sorted', { rejected, positions })
    setText(c.req, JSON.stringify({ [list]: positions.map((index) => items[index]) }))
    return next()
  }
}
