/** Lists: filters, sorting, pages by number and by cursor. */
import type { Filter } from '../backends/backend.ts'
import type { Collection, Value } from '../collections/definition.ts'
import type { CollectionRouter } from '../collections/router.ts'
import type { FlatRecord } from '../collections/row.ts'
import { shortText } from '../http/fields.ts'
import { pageOffset } from '../http/listing.ts'
import { validationError } from '../http/problem.ts'
import { decodeCursor, encodeCursor } from '../lib/cursor.ts'
import { MAX_TIME_MS, MIN_TIME_MS } from '../lib/time.ts'
import type { Totals } from './totals.ts'

export const textQuery = (what: string) =>
  shortText(200, { description: `Only rows that contain this text in ${what}.`, example: 'dragon' })
    .min(1)
    .optional()

export interface PageRequest {
  page: number
  page_size: number
  cursor?: string | undefined
  count?: 'exact' | undefined
  order?: 'asc' | 'desc' | undefined
  sort: string
}

export interface ListPage {
  total: number
  total_exact: boolean
  page: number
  page_size: number
  total_pages: number
  next_cursor: string | null
  records: FlatRecord[]
}

export interface Lister {
  /** `fields` are those to read; all where there are none. */
  list(
    collection: Collection,
    filters: readonly Filter[],
    request: PageRequest,
    fields?: readonly string[],
  ): Promise<ListPage>
}

/** Every list shows complete rows that nothing hides. */
export const SHOWN: readonly Filter[] = [{ op: 'complete' }, { op: 'visible' }]

export function createLister({ router, totals }: { router: CollectionRouter; totals: Totals }): Lister {
  return {
    async list(collection, given, request, fields) {
      const filters = [...SHOWN, ...given]
      const descending = (request.order ?? (request.sort === 'key' ? 'asc' : 'desc')) === 'desc'
      const sortName = `${collection.name}.${request.sort}.${descending ? 'desc' : 'asc'}`
      const from = startOf(collection, request, sortName)
      const [total, found] = await Promise.all([
        totals.of(collection, filters, { exact: request.count === 'exact' }),
        // One row more than asked for tells whether there is a next page.
        router.records(collection).query(collection, {
          filters,
          sort: request.sort,
          descending,
          limit: request.page_size + 1,
          ...(fields && { fields }),
          ...from.position,
        }),
      ])
      const records = found.slice(0, request.page_size)
      const last = found.length > request.page_size ? records.at(-1)! : null
      return {
        total: total.total,
        total_exact: total.exact,
        page: from.page,
        page_size: request.page_size,
        total_pages: Math.ceil(total.total / request.page_size),
        next_cursor:
          last &&
          encodeCursor({
            sort: sortName,
            values: [from.page + 1, ...positionOf(collection, request.sort, last)],
          }),
        records,
      }
    },
  }
}

/** Sort value (none for `key`), then the key. */
function positionOf(collection: Collection, sort: string, record: FlatRecord): Value[] {
  const key = collection.key.map((name) => record[name]!)
  return sort === 'key' ? key : [record[sort]!, ...key]
}

function startOf(
  collection: Collection,
  request: PageRequest,
  sortName: string,
): { page: number; position: { after?: Value[]; offset?: number } } {
  if (request.cursor !== undefined) {
    const length = collection.key.length + (request.sort === 'key' ? 0 : 1)
    const cursor = decodeCursor(request.cursor, sortName, length + 1)
    const [page, ...after] = cursor?.values ?? []
    if (
      typeof page !== 'number' ||
      !Number.isSafeInteger(page) ||
      page < 1 ||
      !isPosition(collection, request.sort, after)
    ) {
      throw validationError([{ field: 'cursor', message: 'is no cursor of this list and sort' }])
    }
    return { page, position: { after } }
  }
  return { page: request.page, position: { offset: pageOffset(request) } }
}

function isPosition(collection: Collection, sort: string, values: readonly Value[]): boolean {
  const key = sort === 'key' ? values : values.slice(1)
  const inRange =
    sort === 'key' ||
    (Number.isSafeInteger(values[0]) &&
      (values[0] as number) >= MIN_TIME_MS &&
      (values[0] as number) <= MAX_TIME_MS)
  return inRange && key.length === collection.key.length && key.every((part) => typeof part === 'string')
}
