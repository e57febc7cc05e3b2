import { beforeAll, describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Filter, Query, RecordReader } from '../../src/backends/backend.ts'
import type { Collection, Value } from '../../src/collections/definition.ts'
import type { FlatRecord } from '../../src/collections/row.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import { onEachBackend, recordCollections } from '../support/contract_backends.ts'
import { fullRow, keyOf, T0 } from '../support/contract_rows.ts'
import {
  arbitraryFilters,
  inOrder,
  makeWorld,
  matching,
  positionOf,
  writeWorld,
} from '../support/contract_world.ts'

const PAGE_ROWS = 7
const RUNS = 60

/** JSON as what it says: MySQL writes it its own way. */
function readable(collection: Collection, records: readonly FlatRecord[]) {
  return records.map((record) =>
    Object.fromEntries(
      Object.entries(record).map(([name, value]) => [
        name,
        collection.typeOf(name) === 'json' && value !== null ? JSON.parse(value as string) : value,
      ]),
    ),
  )
}

onEachBackend('queries', 'records', (store) => {
  const records = () => store().backend.records!
  const world = makeWorld(recordCollections)
  beforeAll(() => writeWorld(records(), recordCollections, world))

  describe.each(recordCollections.map((collection) => [collection.name, collection] as const))(
    '%s',
    (_, collection) => {
      const all = () => matching(world, collection, [])
      const filters = arbitraryFilters(collection)
      const orders = collection.sorts.flatMap((sort) =>
        [false, true].map((descending) => ({ sort, descending })),
      )
      const groups = [...new Set(all().map((record) => record[collection.key[0]!] as string)), 'nobody']

      test('any conditions together find what meets them all, in any order, page and offset', async () => {
        const query = fc.record({
          filters,
          order: fc.constantFrom(...orders),
          limit: fc.integer({ min: 1, max: 200 }),
          offset: fc.nat(30),
        })
        await fc.assert(
          fc.asyncProperty(query, async ({ filters, order, limit, offset }) => {
            const found = await records().query(collection, { filters, ...order, limit, offset })
            const expected = inOrder(collection, matching(world, collection, filters), order)
            expect(readable(collection, found)).toEqual(
              readable(collection, expected.slice(offset, offset + limit)),
            )
          }),
          { numRuns: RUNS },
        )
      })

      test('any conditions are counted: in all, up to a limit, by a field, and by group', async () => {
        const tally = (list: readonly FlatRecord[]) => {
          const counts = new Map<Value, number>()
          for (const { status } of list) counts.set(status!, (counts.get(status!) ?? 0) + 1)
          return counts
        }
        await fc.assert(
          fc.asyncProperty(filters, fc.integer({ min: 1, max: 40 }), async (filters, limit) => {
            const met = matching(world, collection, filters)
            expect(await records().count(collection, filters)).toBe(met.length)
            expect(await records().count(collection, filters, { limit })).toBe(Math.min(limit, met.length))
            expect(await records().countBy(collection, filters, 'status')).toEqual(tally(met))
            const expected = groups
              .map((group) => [group, met.filter((record) => record[collection.key[0]!] === group)] as const)
              .filter(([, list]) => list.length > 0)
              .map(([group, list]) => [group, tally(list)] as const)
            expect(await records().countByGroup(collection, groups, filters, 'status')).toEqual(
              new Map(expected),
            )
          }),
          { numRuns: RUNS },
        )
        expect(await records().countByGroup(collection, [], [], 'status')).toEqual(new Map())
      })

      test('a scan brings every row that meets the conditions, in key order', async () => {
        await fc.assert(
          fc.asyncProperty(filters, async (filters) => {
            const found = (await Array.fromAsync(records().scan(collection, filters))).flat()
            const order = { sort: 'key', descending: false }
            expect(readable(collection, found)).toEqual(
              readable(collection, inOrder(collection, matching(world, collection, filters), order)),
            )
          }),
          { numRuns: 20 },
        )
      })

      describe.each(orders)('by $sort, descending: $descending', ({ sort, descending }) => {
        const expected = () => inOrder(collection, all(), { sort, descending })

        test('keyset pages bring every row exactly once, also among equals', async () => {
          const pages = await walk(records(), collection, { sort, descending, filters: [] })
          expect(readable(collection, pages.flat())).toEqual(readable(collection, expected()))
          expect(pages.every((page) => page.length <= PAGE_ROWS)).toBe(true)
        })

        test('pages by offset bring every row exactly once, and none past the end', async () => {
          const found: FlatRecord[] = []
          for (let offset = 0; offset <= expected().length; offset += PAGE_ROWS) {
            found.push(
              ...(await records().query(collection, {
                filters: [],
                sort,
                descending,
                limit: PAGE_ROWS,
                offset,
              })),
            )
          }
          expect(readable(collection, found)).toEqual(readable(collection, expected()))
          const past = { filters: [], sort, descending, limit: PAGE_ROWS, offset: 10_000 }
          expect(await records().query(collection, past)).toEqual([])
        })
      })

      test('only the fields asked for are read, with the key and the times', async () => {
        const query: Query = { filters: [], sort: 'key', descending: false, limit: 3 }
        for (const fields of [[], ['status'], [collection.slots.at(-1)!, collection.slots[0]!]]) {
          const expected = [...collection.key, ...fields, 'created_at', 'updated_at']
          const found = await records().query(collection, { ...query, fields })
          expect(found.length).toBe(3)
          for (const record of found) expect(Object.keys(record).sort()).toEqual(expected.toSorted())
          const [page] = await Array.fromAsync(records().scan(collection, [], fields))
          expect(Object.keys(page![0]!).sort()).toEqual(expected.toSorted())
        }
      })

      test('no value is among none', async () => {
        const none: Filter[] = [{ op: 'in', field: 'status', values: [] }]
        expect(await records().count(collection, none)).toBe(0)
      })

      test('the groups come in order, each once, after the one named', async () => {
        const expected = groups.filter((group) => group !== 'nobody').toSorted()
        expect(await records().groups(collection, '', 1000)).toEqual(expected)
        expect(await records().groups(collection, '', 4)).toEqual(expected.slice(0, 4))
        expect(await records().groups(collection, expected[3]!, 4)).toEqual(expected.slice(4, 8))
        expect(await records().groups(collection, expected.at(-1)!, 4)).toEqual([])
      })

      test('an estimate is a number of the right kind', async () => {
        const estimate = await records().estimate(collection, [])
        expect(Number.isSafeInteger(estimate)).toBe(true)
        expect(estimate).toBeGreaterThan(0)
        expect(estimate).toBeLessThanOrEqual(all().length * 10)
        const filtered = await records().estimate(collection, [{ op: 'eq', field: 'status', value: 'none' }])
        expect(filtered).toBeLessThanOrEqual(all().length)
      })
    },
  )
})

/** All pages of a list, each begun where the one before ended. */
async function walk(
  reader: RecordReader,
  collection: Collection,
  query: Pick<Query, 'sort' | 'descending' | 'filters'>,
): Promise<FlatRecord[][]> {
  const pages: FlatRecord[][] = []
  while (true) {
    const last = pages.at(-1)?.at(-1)
    const page = await reader.query(collection, {
      ...query,
      limit: PAGE_ROWS,
      ...(last && { after: positionOf(collection, query.sort, last) }),
    })
    if (page.length === 0) return pages
    pages.push(page)
  }
}

onEachBackend('text search', 'records', (store) => {
  const texts: Record<string, string> = {
    percent: '100% sure',
    underscore: 'snake_case',
    backslash: 'C:\\temp',
    quote: `it's here`,
    upper: 'The DRAGON',
    lower: 'the dragon',
    chinese: '红色的龙飞过',
    accent: 'É and é',
    emoji: 'fire 🔥 works',
    empty: '',
    escape: '\\% \\_',
    lines: 'one\ntwo',
    control: 'before\0after',
    plain: '100 sure snakeXcase Ctemp',
  }
  const searches: [text: string, found: string[]][] = [
    ['%', ['escape', 'percent']],
    ['100%', ['percent']],
    ['_', ['escape', 'underscore']],
    ['e_c', ['underscore']],
    ['\\', ['backslash', 'escape']],
    ['\\%', ['escape']],
    [':\\t', ['backslash']],
    [`'`, ['quote']],
    ['dragon', ['lower', 'upper']],
    ['DrAgOn', ['lower', 'upper']],
    ['龙', ['chinese']],
    ['色的', ['chinese']],
    ['🔥', ['emoji']],
    ['one\ntwo', ['lines']],
    ['and é', ['accent']],
    ['after', ['control']],
    ['before\0after', ['control']],
    ['', Object.keys(texts).toSorted()],
    ['nowhere', []],
  ]

  describe.each(recordCollections.map((collection) => [collection.name, collection] as const))(
    '%s',
    (_, collection) => {
      const keys = Object.keys(texts)
      beforeAll(async () => {
        const blank = Object.fromEntries(collection.search.map((name) => [name, null]))
        const rows = keys.map((key, n) => {
          const name = collection.search[n % collection.search.length]!
          return fullRow(collection, keyOf(collection, 'text', n), {
            n,
            fields: { ...blank, [name]: texts[key]! },
          })
        })
        await store().backend.records!.write(collection, rows)
      })

      test.each(searches)(
        '%j is itself in every search field, whatever case ASCII has',
        async (value, found) => {
          const list = await store().backend.records!.query(collection, {
            filters: [{ op: 'text', value }],
            sort: 'created_at',
            descending: false,
            limit: 100,
            fields: [],
          })
          const names = list.map(({ created_at: createdAt }) => keys[(createdAt as number) - T0])
          expect(names.toSorted()).toEqual(found)
        },
      )
    },
  )
})

onEachBackend('lists of tasks', 'records', (store) => {
  const records = () => store().backend.records!

  test('are scanned past the pages of a scan', async () => {
    const rows = Array.from({ length: 4001 }, (_, n) => fullRow(tasks, keyOf(tasks, 'long', n), { n }))
    await records().write(tasks, rows)
    const pages = await Array.fromAsync(records().scan(tasks, [], []))
    expect(pages.length).toBeGreaterThan(1)
    expect(pages.flat().map(({ task_id: id }) => id)).toEqual(rows.map(({ key }) => key[1]!).toSorted())
  })

  test('find a text that is equal byte by byte: neither case nor spaces at its end are overlooked', async () => {
    const names = ['Sheet', 'Sheet ', 'Sheet  ', 'sheet', ' Sheet', 'Shéet', 'She\u0301et']
    const rows = names.map((name, n) =>
      fullRow(tasks, keyOf(tasks, 'sheets', n), { n, fields: { sheet_name: name } }),
    )
    await records().write(tasks, rows)
    for (const value of names) {
      const found = await records().query(tasks, {
        filters: [{ op: 'eq', field: 'sheet_name', value }],
        sort: 'key',
        descending: false,
        limit: 10,
        fields: ['sheet_name'],
      })
      expect(found.map((record) => record.sheet_name)).toEqual([value])
    }
  })
})
