import { beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { BackendError, type RefusedRow } from '../../src/backends/backend.ts'
import type { Collection } from '../../src/collections/definition.ts'
import type { Row } from '../../src/collections/row.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import {
  type BackendKind,
  countStatements,
  onEachBackend,
  onEachCollection,
} from '../support/contract_backends.ts'
import { expectStored, fullRow, keyOf, plain, rowWith, stampOf } from '../support/contract_rows.ts'

/** A status that the store of this suite refuses, by a number that the backend lists. */
const REFUSED = 'refused'
/** One that it refuses by a number that nobody lists. */
const UNLISTED = 'unlisted'
const UNLISTED_NUMBER = 12_345
const ROWS_A_TURN = 250

/** What makes a store refuse rows for what they are, in its own SQL. */
function constraints({ dialect }: BackendKind, { name }: Collection): string[] {
  if (dialect === 'sqlite') {
    return [
      `CREATE TRIGGER no_${name} BEFORE INSERT ON ${name} WHEN NEW.status = '${REFUSED}' BEGIN SELECT RAISE(ABORT, 'no'); END`,
    ]
  }
  return [
    `ALTER TABLE ${name} ADD CONSTRAINT no_${name} CHECK (status <> '${REFUSED}')`,
    `CREATE TRIGGER odd_${name} BEFORE INSERT ON ${name} FOR EACH ROW BEGIN
       IF NEW.status = '${UNLISTED}' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = ${UNLISTED_NUMBER}; END IF; END`,
  ]
}

onEachCollection('rows that the store refuses for what they are', (collection, store, kind) => {
  const records = () => store().backend.records!
  const rowsOf = (count: number, bad: ReadonlySet<number>, status = REFUSED): Row[] =>
    Array.from({ length: count }, (_, n) =>
      fullRow(collection, keyOf(collection, 'batch', n), { n, ...(bad.has(n) && { fields: { status } }) }),
    )

  /** An embedded store writes in short turns, a few transactions a call. */
  const atBest = (count: number) => (kind.dialect === 'sqlite' ? Math.ceil(count / ROWS_A_TURN) : 1)

  beforeAll(async () => {
    for (const statement of constraints(kind, collection)) await store().execute(statement)
  })
  beforeEach(() => records().purge(collection, [], 100_000))

  const cases: [title: string, count: number, bad: number[]][] = [
    ['the first of 100', 100, [0]],
    ['one of 1000', 1000, [617]],
    ['the last of 100', 100, [99]],
    ['ten of 1000, far from each other', 1000, [3, 99, 170, 301, 444, 512, 513, 700, 855, 998]],
    ['ten of 100 in a row', 100, [50, 51, 52, 53, 54, 55, 56, 57, 58, 59]],
    ['one of two', 2, [1]],
    ['the only one', 1, [0]],
    ['all of 24', 24, Array.from({ length: 24 }, (_, n) => n)],
  ]
  test.each(cases)('%s: they alone are left out, after few statements', async (_, count, bad) => {
    const rows = rowsOf(count, new Set(bad))
    let refused: RefusedRow[] = []
    const statements = await countStatements(kind, async () => {
      refused = (await records().write(collection, rows)).refused
    })
    expect(refused.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual(bad)
    for (const { code, reason } of refused) {
      expect(code).toMatch(/^(3819|4025|SQLITE_CONSTRAINT\w*)$/)
      expect(reason).not.toBe('')
    }
    await expectStored(
      records(),
      collection,
      rows.filter((_, n) => !bad.includes(n)),
    )
    for (const index of bad) expect(await records().read(collection, rows[index]!.key)).toBeNull()
    const halvings = 2 * bad.length * Math.ceil(Math.log2(Math.max(2, count)))
    expect(statements).toBeLessThanOrEqual(atBest(count) + halvings)
  })

  test('no row is refused, and there are no more statements than needed', async () => {
    const statements = await countStatements(kind, () => records().write(collection, rowsOf(1000, new Set())))
    expect(statements).toBe(atBest(1000))
  })

  test('a refused update leaves what is stored as it was', async () => {
    const [row] = rowsOf(1, new Set())
    await records().write(collection, [row!])
    const update = rowWith(collection, row!.key, { status: REFUSED }, stampOf(9))
    const good = fullRow(collection, keyOf(collection, 'good', 1))
    const { refused } = await records().write(collection, [update, good])
    expect(refused.map(({ index }) => index)).toEqual([0])
    await expectStored(records(), collection, [row!, good])
  })

  test('a call made again is refused again, and changes nothing', async () => {
    const rows = rowsOf(20, new Set([4, 5]))
    const first = await records().write(collection, rows)
    expect(await records().write(collection, rows)).toEqual(first)
    await expectStored(
      records(),
      collection,
      rows.filter((_, n) => n !== 4 && n !== 5),
    )
  })

  if (kind.dialect === 'mysql') {
    describe('by a number that nobody lists', () => {
      test('are condemned where another row of the call was stored', async () => {
        const rows = rowsOf(100, new Set([40, 41]), UNLISTED)
        const { refused } = await records().write(collection, rows)
        expect(refused.map(({ index, code }) => [index, code])).toEqual([
          [40, String(UNLISTED_NUMBER)],
          [41, String(UNLISTED_NUMBER)],
        ])
        await expectStored(
          records(),
          collection,
          rows.filter((_, n) => n !== 40 && n !== 41),
        )
      })

      test.each([1, 2, 9])('are an outage where all %d of the call fail alike', async (count) => {
        const all = new Set(Array.from({ length: count }, (_, n) => n))
        const failure = await records()
          .write(collection, rowsOf(count, all, UNLISTED))
          .then(
            () => null,
            (error: unknown) => error,
          )
        expect(failure).toBeInstanceOf(BackendError)
        expect(failure).toMatchObject({ kind: 'outage', code: String(UNLISTED_NUMBER) })
        expect(await records().count(collection, [])).toBe(0)
      })
    })
  }
})

onEachBackend('rows that do not fit', 'pool', (store) => {
  const records = () => store().backend.records!
  const text = 'x'.repeat(65_535)
  const large = { source_text: text, target_text: text, context: text, error_message: text }

  test('a text longer than its column is refused, never cut', async () => {
    const rows = ['fits', 'x'.repeat(65_536), 'fits too'].map((context, n) =>
      fullRow(tasks, keyOf(tasks, 'long', n), { n, fields: { context } }),
    )
    const { refused } = await records().write(tasks, rows)
    expect(refused.map(({ index, code }) => [index, code])).toEqual([[1, '1406']])
    await expectStored(records(), tasks, [rows[0]!, rows[2]!])
  })

  test('a number out of its range is refused, never bent', async () => {
    const rows = [1, 2 ** 31, 2].map((value, n) =>
      fullRow(tasks, keyOf(tasks, 'range', n), { n, fields: { row_index: value } }),
    )
    const { refused } = await records().write(tasks, rows)
    expect(refused.map(({ index, code }) => [index, code])).toEqual([[1, '1264']])
  })

  test('what is no JSON is refused', async () => {
    const [sessions] = [tasks.parent!]
    const rows = ['{}', '{', '[]'].map((metadata, n) =>
      fullRow(sessions, keyOf(sessions, 'json', n), { n, fields: { metadata } }),
    )
    const { refused } = await records().write(sessions, rows)
    expect(refused.map(({ index }) => index)).toEqual([1])
  })

  test('a call larger than a packet is split until it fits', async () => {
    const [packet] = await store().execute('SELECT @@max_allowed_packet AS bytes')
    const count = Math.ceil((Number(packet!.bytes) * 1.1) / (4 * text.length))
    const rows = Array.from({ length: count }, (_, n) =>
      fullRow(tasks, keyOf(tasks, 'packet', n), { n, fields: large }),
    )
    expect(await records().write(tasks, rows)).toEqual({ refused: [] })
    expect(await records().count(tasks, [{ op: 'eq', field: 'session_id', value: 'packet' }])).toBe(count)
    expect(plain(tasks, await records().read(tasks, rows.at(-1)!.key))).toEqual(plain(tasks, rows.at(-1)))
  })
})
