import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import fc from 'fast-check'
import type { DeadLetter } from '../../src/backends/coordination.ts'
import { erasedUpTo, merge, type Row, stampAt } from '../../src/collections/row.ts'
import { ABSENT, type Stamp, stampHex } from '../../src/collections/stamp.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import { AppError } from '../../src/lib/errors.ts'
import {
  accepted,
  type BufferUnderTest,
  createBufferUnderTest,
  createGatedStore,
  expectJournalled,
  keyText,
  outage,
  settle,
} from '../support/contract_gates.ts'
import { rowWith, stampOf } from '../support/contract_rows.ts'
import { createMemoryCoordination } from '../support/memory_coordination.ts'
import { createMemoryJournal, type MemoryJournal } from '../support/memory_journal.ts'

const FIELDS = ['status', 'context', 'row_index'] as const
const GROUPS = ['s', 't']
type Items = { group: number; id: number; fields: readonly (typeof FIELDS)[number][] }[]

/** What may happen to a buffer, in any order. */
type Step =
  /** Requests of one turn of the event loop, and whether its commit fails. */
  | { kind: 'accept'; requests: Items[]; fails: boolean }
  | { kind: 'flush' }
  /** The oldest (or the newest) write under way ends. */
  | { kind: 'end'; newest: boolean; how: 'store' | 'fail' | 'unheard' | 'break' }
  | { kind: 'refuse'; newest: boolean; index: number }
  /** A delete, on this instance or on another one. */
  | { kind: 'erase'; group: number; here: boolean }
  | { kind: 'letters'; fail: boolean }
  | { kind: 'purge' }
  | { kind: 'journal'; fail: boolean }
  /** The process is killed while these requests wait for their commit; another one takes its place. */
  | { kind: 'crash'; requests: Items[] }
  | { kind: 'retry' }
  | { kind: 'wait'; ms: number }

const items = fc.uniqueArray(
  fc.record({ group: fc.nat(1), id: fc.nat(1), fields: fc.subarray([...FIELDS], { minLength: 1 }) }),
  { minLength: 1, maxLength: 3, selector: ({ group, id }) => `${group}/${id}` },
)
const of = <K extends Step['kind'], T>(kind: K, rest: { [name in keyof T]: fc.Arbitrary<T[name]> }) =>
  fc.record({ kind: fc.constant(kind), ...rest }) as unknown as fc.Arbitrary<Step>
const rarely = fc.nat(4).map((n) => n === 0)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: of('accept', { requests: fc.array(items, { minLength: 1, maxLength: 3 }), fails: rarely }),
  },
  { weight: 3, arbitrary: of('flush', {}) },
  {
    weight: 5,
    arbitrary: of('end', {
      newest: fc.boolean(),
      how: fc.constantFrom('store', 'store', 'fail', 'unheard', 'break'),
    }),
  },
  { weight: 2, arbitrary: of('refuse', { newest: fc.boolean(), index: fc.nat(2) }) },
  { weight: 2, arbitrary: of('erase', { group: fc.nat(1), here: fc.boolean() }) },
  { weight: 1, arbitrary: of('letters', { fail: fc.boolean() }) },
  { weight: 1, arbitrary: of('purge', {}) },
  { weight: 3, arbitrary: of('journal', { fail: fc.boolean() }) },
  { weight: 1, arbitrary: of('crash', { requests: fc.array(items, { maxLength: 2 }) }) },
  { weight: 1, arbitrary: of('retry', {}) },
  { weight: 1, arbitrary: of('wait', { ms: fc.constantFrom(1, 300, 31_000) }) },
)

/** A buffer, everything that was ever acknowledged by it, and what outlives it. */
function createModel() {
  const store = createGatedStore()
  const neighbours = createMemoryCoordination()
  const acknowledged = new Map<string, Row>()
  const purged: DeadLetter[] = []
  const deletes: Promise<void>[] = []
  let journal: MemoryJournal = createMemoryJournal()
  let acceptances = 0
  let hasCrashed = false
  let under = begin()

  function begin(): BufferUnderTest {
    const begun = createBufferUnderTest({
      config: {
        max_buffer_size: 6,
        min_batch_rows: 2,
        max_batch_rows: 2,
        flush_connections: 2,
        flush_interval: 30,
        dead_letters_per_session: 1,
      },
      store,
      neighbours,
      journal,
    })
    begun.buffer.reload(tasks, journal.read(0, 1000))
    begun.buffer.start()
    return begun
  }

  function rowsOf(request: Items): Row[] {
    const n = ++acceptances
    return request.map(({ group, id, fields }) => {
      const values = fields.map((name) => [name, name === 'row_index' ? n : `${n}`])
      return rowWith(tasks, [GROUPS[group]!, `${id}`], Object.fromEntries(values), stampOf(n))
    })
  }

  /** Accepts all in one turn; answers what became of each. */
  function request(requests: readonly Items[]): Promise<string[]> {
    return Promise.all(
      requests.map(async (one) => {
        const rows = rowsOf(one)
        try {
          await under.buffer.accept(tasks, accepted(rows))
        } catch (error) {
          if (error instanceof AppError) return error.code
          throw error
        }
        for (const row of rows) {
          const held = acknowledged.get(keyText(row.key))
          acknowledged.set(keyText(row.key), held ? merge(held, row) : row)
        }
        return 'accepted'
      }),
    )
  }

  /** A delete as its slice does it: the tombstone, the buffer, the store, the letters. */
  async function erase(group: string, here: boolean): Promise<void> {
    const stamp = stampOf(acceptances)
    const { buffer } = under
    neighbours.tombstones.set(group, stamp)
    for (const [key, row] of acknowledged) {
      if (row.key[0] !== group) continue
      const left = erasedUpTo(row, stamp)
      if (left) acknowledged.set(key, left)
      else acknowledged.delete(key)
    }
    if (here) await buffer.erase(tasks, group, stamp)
    await finish(group)
  }

  async function finish(group: string): Promise<void> {
    const stamp = neighbours.tombstones.get(group)!
    await store.records.erase(tasks, group, stamp, 1000)
    await neighbours.coordination.deleteDeadLetters(tasks.name, group, stamp)
  }

  async function take(action: Step): Promise<void> {
    const { buffer } = under
    const pending = 'newest' in action && action.newest ? store.pending.at(-1) : store.pending[0]
    switch (action.kind) {
      case 'accept': {
        const before = pictureOf(under)
        if (action.fails) journal.plan('failed')
        const outcomes = await request(action.requests)
        if (action.fails && outcomes.includes('JOURNAL_UNAVAILABLE')) {
          expect(outcomes).not.toContain('accepted')
          expect(pictureOf(under)).toEqual(before)
        }
        return
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
        deletes.push(erase(GROUPS[action.group]!, action.here))
        return
      case 'letters':
        return under.refuseLetters(action.fail ? outage() : null)
      case 'purge':
        return void purged.push(...neighbours.letters.splice(0))
      case 'journal':
        return journal.always(action.fail ? 'full' : null)
      case 'crash': {
        const outcomes = request(action.requests)
        buffer.stop()
        journal = journal.crash()
        hasCrashed = true
        expect(await outcomes).not.toContain('accepted')
        // Its statements may still commit, or not; their answers reach nobody.
        await settle()
        under = begin()
        return settle()
      }
      case 'retry':
        return buffer.retryNow()
      case 'wait':
        jest.advanceTimersByTime(action.ms)
    }
  }

  return {
    under: () => under,
    store,
    neighbours,
    take,
    acknowledged,
    /** All that is somewhere of a key. */
    placesOf: (key: string, held: Iterable<Row>) => [
      ...(store.stored.has(key) ? [store.stored.get(key)!] : []),
      ...[...held].filter((row) => keyText(row.key) === key),
      ...[...neighbours.letters, ...purged].map(({ row }) => row).filter((row) => keyText(row.key) === key),
    ],
    /** The store answers, the journal takes, letters are purged: all comes to its end. */
    async end(): Promise<void> {
      under.refuseLetters(null)
      journal.always(null)
      store.open()
      for (let round = 0; round < 20 && under.buffer.status().rows > 0; round++) {
        purged.push(...neighbours.letters.splice(0))
        jest.advanceTimersByTime(31_000)
        await settle()
        await under.buffer.drain(1000)
      }
      await Promise.all(deletes)
      // Statements of the killed may have committed after a delete: it is done once more, ten minutes later.
      if (hasCrashed) for (const group of neighbours.tombstones.keys()) await finish(group)
      under.ledger.note(tasks, {})
      await settle()
      under.buffer.stop()
    },
  }
}

function pictureOf({ buffer }: BufferUnderTest) {
  const { rows, bytes, collections } = buffer.status()
  const { counts, parked, inFlight } = collections[1]!
  return { rows, bytes, counts: { ...counts }, parked, inFlight, room: buffer.room() }
}

/** The fields that are there, by name, newer than a delete where there was one. */
function fieldsOf(row: Row, since: Stamp) {
  const there = FIELDS.map((name) => [name, tasks.slotOf(name)] as const).filter(
    ([, slot]) => stampAt(row, slot) > since,
  )
  return Object.fromEntries(
    there.map(([name, slot]) => [name, [stampHex(stampAt(row, slot)), row.values[slot]]]),
  )
}

/** That exactly what was acknowledged is somewhere: nothing is lost, nothing else came in. */
function expectNothingLost(model: ReturnType<typeof createModel>, held: readonly Row[]): void {
  for (const group of GROUPS) {
    const since = model.neighbours.tombstones.get(group) ?? ABSENT
    for (let id = 0; id <= 1; id++) {
      const key = `${group}/${id}`
      const places = model.placesOf(key, held)
      const found = places.length === 0 ? {} : fieldsOf(places.reduce(merge), since)
      const row = model.acknowledged.get(key)
      expect(found, key).toEqual(row ? fieldsOf(row, since) : {})
    }
  }
}

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

test('whatever happens in whatever order: nothing acknowledged is lost, nothing else comes in, counts and journal agree', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }), async (steps) => {
      const model = createModel()
      let owesNothing = true
      for (const [n, action] of steps.entries()) {
        await model.take(action)
        await settle()
        const under = model.under()
        const where = `after step ${n}, ${action.kind}`
        expect(under.imbalance(), where).toBe(0)
        expectNothingLost(model, under.buffer.all(tasks))
        // Were the process killed now, this is what would be left of it.
        const records = [...under.journal!.records.values()]
        expectNothingLost(
          model,
          records.map(({ row }) => row),
        )
        expect(under.journal!.violations, where).toEqual([])
        const perKey = Map.groupBy(records, ({ row }) => keyText(row.key))
        for (const [key, of] of perKey) expect(of.length, `records of ${key}`).toBeLessThanOrEqual(2)
        // An acceptance that fails owes the journal nothing; what happens to rows that are held, until it works again.
        owesNothing = under.ledger.status().failure === null || (owesNothing && action.kind === 'accept')
        if (owesNothing) expectJournalled(under)
      }
      await model.end()
      const { buffer, ledger, journal, imbalance } = model.under()
      expect(buffer.status()).toMatchObject({ rows: 0, bytes: 0 })
      expect(buffer.status().collections[1]!.oldestAtMs).toBeNull()
      expect([imbalance(), ledger.status().failure, journal!.records.size]).toEqual([0, null, 0])
      expectNothingLost(model, [])
      for (const [key, row] of model.store.stored) {
        const since = model.neighbours.tombstones.get(row.key[0]!) ?? ABSENT
        const old = row.values.some((value, slot) => (value ?? null) !== null && stampAt(row, slot) <= since)
        expect(old, `${key} came back after its delete`).toBe(false)
      }
    }),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 300) },
  )
})
