/** What every list has in common: its query parameters, the first row of a page, its answer. */
import { z } from '@hono/zod-openapi'
import { dateBound, queryInt } from './fields.ts'
import { validationError } from './problem.ts'

/** Beyond this row a page by number costs what it skips: the cursor goes on from there. */
const MAX_OFFSET_ROWS = 100_000

export const pageQuery = {
  page: queryInt(
    { min: 1, max: 1_000_000_000, default: 1 },
    { description: 'Page, from 1; not past row 100,000: use `cursor` there.', example: 1 },
  ),
  page_size: queryInt({ min: 1, max: 100, default: 20 }, { description: 'Rows a page.', example: 20 }),
  cursor: z.string().max(2048).optional().openapi({
    pattern: '^[A-Za-z0-9_-]*$',
    description: '`next_cursor` of the page before, with the same filters and sort; `page` is then ignored.',
  }),
  count: z
    .enum(['exact'])
    .meta({ id: 'CountMode', description: '`exact` counts a total above 100,000 too, whatever it takes.' })
    .optional(),
  order: z
    .enum(['asc', 'desc'])
    .meta({ id: 'SortOrder', description: 'Direction of the sort.', example: 'desc' })
    .optional(),
}

export const dateQuery = {
  from_date: dateBound('from', {
    description: 'Created at or after this time (ISO 8601; UTC where no offset is given).',
    example: '2025-09-01T00:00:00Z',
  }).optional(),
  to_date: dateBound('to', {
    description: 'Created at or before this time; a date alone includes its whole day.',
    example: '2025-09-30T23:59:59Z',
  }).optional(),
}

/** A list's answer around its items. */
export function listAnswer<S extends z.ZodType>(item: S, id: string) {
  return z
    .object({
      total: z
        .int()
        .meta({ description: 'Rows in all; exact to 100,000, and up to 10 s old.', example: 150 }),
      total_exact: z
        .boolean()
        .meta({ description: 'Whether the total was counted, or estimated.', example: true }),
      page: z.int().meta({ example: 1 }),
      page_size: z.int().meta({ example: 20 }),
      total_pages: z.int().meta({ example: 8 }),
      items: z.array(item),
      next_cursor: z
        .string()
        .nullable()
        .meta({ description: 'Goes on after the last item; null at the end.', example: null }),
    })
    .meta({ id })
}

/** Rows to skip for a page by number; a validation error past row 100,000. */
export function pageOffset({ page, page_size }: { page: number; page_size: number }): number {
  const offset = (page - 1) * page_size
  if (offset < MAX_OFFSET_ROWS) return offset
  throw validationError([
    {
      field: 'page',
      message: `is past row ${MAX_OFFSET_ROWS}; use cursor (next_cursor of the page before) to go on`,
    },
  ])
}
