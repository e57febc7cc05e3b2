import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { BackendError, type FailureKind } from '../../src/backends/backend.ts'
import { newIsolation, writeIsolating } from '../../src/backends/sql/isolate.ts'

const failure = (kind: FailureKind, code = '1') => new BackendError(kind, code, `${kind} ${code}`)
const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

/** Writes numbers; `judge` says how a statement that holds one fails. */
function writer(judge: (rows: readonly number[], statement: number) => BackendError | null) {
  const stored: number[] = []
  let statements = 0
  return {
    stored,
    statements: () => statements,
    async write(rows: readonly number[]) {
      const error = judge(rows, ++statements)
      if (error) throw error
      stored.push(...rows)
    },
  }
}

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => null,
    (error: unknown) => error,
  )
}

describe('rows that are refused', () => {
  test('are found by halving, all others stored once, after O(k log n) statements', async () => {
    const cases = fc
      .integer({ min: 1, max: 300 })
      .chain((count) =>
        fc.tuple(fc.constant(count), fc.subarray(numbers(count), { maxLength: Math.min(12, count) })),
      )
    await fc.assert(
      fc.asyncProperty(cases, async ([count, bad]) => {
        const isBad = new Set(bad)
        const sink = writer((rows) =>
          rows.some((row) => isBad.has(row)) ? failure('refused', '1406') : null,
        )
        const { refused } = await writeIsolating(numbers(count), sink.write)
        expect(refused.map(({ index }) => index)).toEqual(bad)
        for (const one of refused)
          expect(one).toEqual({ index: one.index, code: '1406', reason: 'refused 1406' })
        expect(sink.stored.toSorted((a, b) => a - b)).toEqual(numbers(count).filter((n) => !isBad.has(n)))
        const limit = 1 + 2 * bad.length * Math.ceil(Math.log2(Math.max(2, count)))
        expect(sink.statements()).toBeLessThanOrEqual(limit)
      }),
    )
  })

  test('cost one statement where there are none, and none where there is no row', async () => {
    const sink = writer(() => null)
    const rows = numbers(1000)
    expect(await writeIsolating(rows, sink.write)).toEqual({ refused: [] })
    expect(sink.statements()).toBe(1)
    expect(await writeIsolating([], sink.write)).toEqual({ refused: [] })
    expect(sink.statements()).toBe(1)
  })

  test('are told also where all are refused', async () => {
    const sink = writer(() => failure('refused'))
    const { refused } = await writeIsolating(numbers(5), sink.write)
    expect(refused.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4])
  })
})

describe('an outage', () => {
  test('is thrown at once, and condemns nobody', async () => {
    const sink = writer(() => failure('outage', 'GONE'))
    expect(await thrownBy(writeIsolating(numbers(64), sink.write))).toMatchObject({
      kind: 'outage',
      code: 'GONE',
    })
    expect(sink.statements()).toBe(1)
  })

  test('in the middle of halving is thrown, whatever was refused before', async () => {
    const sink = writer((rows, statement) => {
      if (statement > 6) return failure('outage', 'GONE')
      return rows.includes(0) ? failure('refused') : null
    })
    expect(await thrownBy(writeIsolating(numbers(1000), sink.write))).toMatchObject({ kind: 'outage' })
  })

  test('is not what any other fault is: that is thrown as it is', async () => {
    const fault = new TypeError('a fault of ours')
    const work = writeIsolating(numbers(4), async () => {
      throw fault
    })
    expect(await thrownBy(work)).toBe(fault)
  })
})

describe('a statement that is too large', () => {
  test('is split until it fits, and nobody is condemned', async () => {
    const sink = writer((rows) => (rows.length > 7 ? failure('too_large', '1153') : null))
    expect(await writeIsolating(numbers(100), sink.write)).toEqual({ refused: [] })
    expect(sink.stored).toEqual(numbers(100))
  })

  test('with a single row condemns that row', async () => {
    const sink = writer((rows) => (rows.includes(3) ? failure('too_large', '1153') : null))
    const { refused } = await writeIsolating(numbers(10), sink.write)
    expect(refused.map(({ index, code }) => [index, code])).toEqual([[3, '1153']])
  })
})

describe('a conflict', () => {
  test('is tried again in smaller pieces, and condemns nobody', async () => {
    const sink = writer((_, statement) => (statement <= 3 ? failure('conflict', '1213') : null))
    expect(await writeIsolating(numbers(100), sink.write)).toEqual({ refused: [] })
    expect(sink.stored).toEqual(numbers(100))
  })

  test('of a single row is tried again', async () => {
    const sink = writer((_, statement) => (statement <= 4 ? failure('conflict', '1213') : null))
    expect(await writeIsolating([0], sink.write)).toEqual({ refused: [] })
    expect(sink.statements()).toBe(5)
  })

  test('that goes on is an outage after a few statements, never a refusal', async () => {
    for (const count of [1, 2, 1000]) {
      const sink = writer(() => failure('conflict', '1213'))
      expect(await thrownBy(writeIsolating(numbers(count), sink.write))).toMatchObject({
        kind: 'outage',
        code: '1213',
        cause: expect.any(BackendError),
      })
      expect(sink.statements()).toBeLessThanOrEqual(5)
    }
  })
})

describe('a failure with a number that nobody lists', () => {
  test('condemns a row when another row of the call was stored', async () => {
    const sink = writer((rows) => (rows.includes(7) ? failure('unknown', '9999') : null))
    const { refused } = await writeIsolating(numbers(16), sink.write)
    expect(refused.map(({ index, code }) => [index, code])).toEqual([[7, '9999']])
  })

  test('is an outage when all fail alike, be it one or many', async () => {
    for (const count of [1, 2, 33]) {
      const sink = writer(() => failure('unknown', '9999'))
      const thrown = await thrownBy(writeIsolating(numbers(count), sink.write))
      expect(thrown).toMatchObject({ kind: 'outage', code: '9999', cause: expect.any(BackendError) })
    }
  })

  test('is found to hit all alike once; from then on a handful of statements tell, until a row is stored', async () => {
    const isolation = newIsolation()
    let isBroken = true
    const sink = writer(() => (isBroken ? failure('unknown', '9999') : null))
    const statementsOf = async (rows: readonly number[]) => {
      const before = sink.statements()
      const thrown = await thrownBy(writeIsolating(rows, sink.write, isolation))
      if (isBroken) expect(thrown).toMatchObject({ kind: 'outage', code: '9999' })
      return sink.statements() - before
    }
    expect(await statementsOf(numbers(1000))).toBe(1999)
    for (let round = 0; round < 5; round++) expect(await statementsOf(numbers(1000))).toBeLessThanOrEqual(5)
    expect(await statementsOf([0])).toBeLessThanOrEqual(2)
    isBroken = false
    expect(await statementsOf(numbers(1000))).toBe(1)
    isBroken = true
    expect(await statementsOf(numbers(10))).toBe(19)
  })

  test('that hit a bad row alone, which waits, does not hold up the good ones that come later', async () => {
    const isolation = newIsolation()
    const sink = writer((rows) => (rows.includes(0) ? failure('unknown', '9999') : null))
    for (let round = 0; round < 3; round++) {
      expect(await thrownBy(writeIsolating([0], sink.write, isolation))).toMatchObject({ kind: 'outage' })
    }
    const { refused } = await writeIsolating(numbers(100), sink.write, isolation)
    expect(refused.map(({ index }) => index)).toEqual([0])
    expect(new Set(sink.stored)).toEqual(new Set(numbers(100).slice(1)))
  })

  test('that hits nearly all rows holds up the others for some rounds at most', async () => {
    const isolation = newIsolation()
    let good = -1
    const sink = writer((rows) => (rows.length > 1 || rows[0] !== good ? failure('unknown', '9999') : null))
    const outage = () => thrownBy(writeIsolating(numbers(40), sink.write, isolation))
    expect(await outage()).toMatchObject({ kind: 'outage' })
    good = 17
    let rounds = 0
    while ((await outage()) !== null) expect(++rounds).toBeLessThan(40 / 4)
    expect(sink.stored).toContain(good)
  })

  test('and then another one: all is looked through again', async () => {
    const isolation = newIsolation()
    let code = '9999'
    const sink = writer((rows) => (rows.includes(3) || code === '9999' ? failure('unknown', code) : null))
    expect(await thrownBy(writeIsolating(numbers(8), sink.write, isolation))).toMatchObject({ code: '9999' })
    code = '8888'
    const { refused } = await writeIsolating(numbers(8), sink.write, isolation)
    expect(refused.map((one) => [one.index, one.code])).toEqual([[3, '8888']])
  })

  test('is an outage also beside rows that were refused by a known one, as long as none was stored', async () => {
    const sink = writer((rows) => (rows.includes(0) ? failure('unknown', '9999') : failure('refused')))
    expect(await thrownBy(writeIsolating(numbers(4), sink.write))).toMatchObject({ kind: 'outage' })
  })
})
