/** `?partial=true`: the good items of a batch are taken, the others are answered with their faults. */
import type { z } from '@hono/zod-openapi'
import type { RejectedItem, SortedBatch } from './context.ts'
import { faultsOf, validationError } from './problem.ts'

/** Where the items of a batch are in its body, and what each must be. */
export interface BatchList {
  list: string
  item: z.ZodType
  maxItems: number
}

/** Sorts the items of a batch; null where the body is no such batch, which its own schema will tell. */
export function sortItems(body: unknown, { list, item, maxItems }: BatchList): SortedBatch | null {
  const items = (body as Record<string, unknown> | null | undefined)?.[list]
  if (!Array.isArray(items) || items.length === 0 || items.length > maxItems) return null
  const rejected: RejectedItem[] = []
  const positions: number[] = []
  const accepted: unknown[] = []
  for (const [index, candidate] of items.entries()) {
    const result = item.safeParse(candidate)
    if (result.success) {
      positions.push(index)
      accepted.push(result.data)
    } else rejected.push({ index, errors: faultsOf(result.error.issues, candidate, `${list}[${index}]`) })
  }
  if (accepted.length > 0) return { accepted: { [list]: accepted }, rejected, positions }
  throw validationError(
    rejected.flatMap(({ errors }) => errors),
    { rejected },
  )
}
