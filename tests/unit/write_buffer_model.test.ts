import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import fc from 'fast-check'
import { merge, type Row } from '../../src/collections/row.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import {
  accepted,
  type BufferUnderTest,
  createBufferUnderTest,
  keyText,
  outage,
  settle,
} from '../support/contract_gates.ts'
import { plain, rowWith, stampOf } from '../support/contract_rows.ts'

const FIELDS = ['status', 'context', 'row_index'] as const
const GROUPS = ['s', 't']

/** What may happen to a buffer, in any order. */
type Step =
  | { kind: 'accept'; items: { group: number; id: number; fields: readonly (typeof FIELDS)[number][] }[] }
  | { kind: 'flush' }
  /** The oldest (or the newest) write under way ends. */
  | { kind: 'end'; newest: boolean; how: 'store' | 'fail' | 'unheard' | 'break' }
  | { kind: 'refuse'; newest: boolean; index: number }
  | { kind: 'erase'; group: number }
  | { kind: 'letters'; fail: boolean }
  | { kind: 'retry' }
  | { kind: 'wait'; ms: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('accept' as const),
      items: fc.uniqueArray(
        fc.record({ group: fc.nat(1), id: fc.nat(3), fields: fc.subarray([...FIELDS], { minLength: 1 }) }),
        { minLength: 1, maxLength: 5, selector: ({ group, id }) => `${group}/${id}` },
      ),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: 'flush' as const }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      newest: fc.boolean(),
      how: fc.constantFrom('store', 'store', 'fail', 'unheard', 'break'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('refuse' as const), newest: fc.boolean(), index: fc.nat(2) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('erase' as const), group: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('letters' as const), fail: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'retry' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, 300, 31_000) }),
  },
)

/** A buffer, and everything that was ever accepted by it. */
function createModel() {
  const under = createBufferUnderTest({
    config: {
      max_buffer_size: 6,
      min_batch_rows: 3,
      max_batch_rows: 3,
      flush_connections: 2,
      flush_interval: 30,
    },
  })
  const everything = new Map<string, Row>()
  const erased = new Set<string>()
  let acceptances = 0

  async function take(action: Step): Promise<void> {
    const { buffer, store } = under
    const pending = 'newest' in action && action.newest ? store.pending.at(-1) : store.pending[0]
    switch (action.kind) {
      case 'accept': {
        const stamp = stampOf(++acceptances)
        const rows = action.items.map(({ group, id, fields }) => {
          const values = fields.map((name) => [name, name === 'row_index' ? acceptances : `${acceptances}`])
          return rowWith(tasks, [GROUPS[group]!, `${id}`], Object.fromEntries(values), stamp)
        })
        for (const row of rows) {
          const held = everything.get(keyText(row.key))
          everything.set(keyText(row.key), held ? merge(held, row) : row)
        }
        return buffer.accept(tasks, accepted(rows))
      }
      case 'flush':
        buffer.flush([tasks]).catch(() => undefined) // what broke it is the test's own doing
        return
      case 'end':
        if (action.how === 'store') pending?.store()
        else if (action.how === 'unheard') pending?.storeUnheard()
        else pending?.fail(action.how === 'break' ? new TypeError('a fault of ours') : outage())
        return
      case 'refuse':
        if (pending) pending.store([Math.min(action.index, pending.rows.length - 1)])
        return
      case 'erase':
        erased.add(GROUPS[action.group]!)
        buffer.erase(tasks, GROUPS[action.group]!, stampOf(acceptances)).catch(() => undefined) // it never fails
        return
      case 'letters':
        return under.refuseLetters(action.fail ? outage() : null)
      case 'retry':
        return buffer.retryNow()
      case 'wait':
        jest.advanceTimersByTime(action.ms)
    }
  }

  return { under, take, everything, erased }
}

/** Every field that was accepted is somewhere: stored, held, or a dead letter. */
function expectNothingLost(
  { buffer, store, letters }: BufferUnderTest,
  everything: ReadonlyMap<string, Row>,
  erased: ReadonlySet<string>,
): void {
  for (const [key, row] of everything) {
    if (erased.has(row.key[0]!)) continue
    const places = [
      store.stored.get(key),
      buffer.get(tasks, row.key),
      ...letters.filter((letter) => keyText(letter.row.key) === key).map((letter) => letter.row),
    ].filter((place) => place !== undefined)
    expect(places.length, key).toBeGreaterThan(0)
    expect(plain(tasks, places.reduce(merge))?.fields).toEqual(plain(tasks, row)!.fields)
  }
}

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

test('whatever happens in whatever order: rows are conserved at every step, and no field is lost', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
      const { under, take, everything, erased } = createModel()
      under.buffer.start()
      for (const [n, action] of steps.entries()) {
        await take(action)
        await settle()
        expect(under.imbalance(), `after step ${n}, ${action.kind}`).toBe(0)
        expect(under.store.pending.length).toBeLessThanOrEqual(2)
        const keys = under.store.pending.flatMap(({ rows }) => rows.map(({ key }) => keyText(key)))
        expect(new Set(keys).size, 'a key is in one statement at a time').toBe(keys.length)
        expectNothingLost(under, everything, erased)
      }
      under.refuseLetters(null)
      under.store.open()
      await settle()
      expect(await under.buffer.drain(10_000)).toBe(0)
      under.buffer.stop()
      expect(under.imbalance()).toBe(0)
      expect(under.buffer.status()).toMatchObject({ rows: 0, bytes: 0 })
      expect(under.buffer.status().collections[1]!.oldestAtMs).toBeNull()
      expectNothingLost(under, everything, erased)
    }),
    { numRuns: 300 },
  )
})
