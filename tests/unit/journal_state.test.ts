import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import {
  type NumberedState,
  readStateLine,
  settle,
  stateLine,
} from '../../src/backends/sqlite/journal_state.ts'
import { emptyCounts, heldBy, type JournalCounts } from '../../src/buffer/journal.ts'
import { journalState } from '../support/journals.ts'

const numbered = (commit: number, counts: Partial<JournalCounts>): NumberedState => ({
  ...journalState(counts),
  commit,
})
const tasks = (state: { counts: Readonly<Record<string, JournalCounts>> }) => state.counts.translation_tasks!
const readable = (rows: number) => new Map(rows === 0 ? [] : [['translation_tasks', rows]])

const countsArbitrary = fc.record(
  Object.fromEntries(Object.keys(emptyCounts()).map((name) => [name, fc.nat(1_000_000)])),
) as unknown as fc.Arbitrary<JournalCounts>
const stateArbitrary: fc.Arbitrary<NumberedState> = fc.record({
  commit: fc.nat(),
  counts: fc.dictionary(fc.string({ minLength: 1 }), countsArbitrary, { maxKeys: 5, noNullPrototype: true }),
  lastId: fc.nat(),
  highWater: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  instanceNumber: fc.option(fc.nat(1023)),
  clockOffsetMs: fc.option(fc.integer().map((n) => n / 16)),
})

describe('the line of a state', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(stateArbitrary, (state) => {
        expect(readStateLine(stateLine(state))).toEqual(state)
        expect(stateLine(state)).not.toContain('\n')
      }),
      { seed: 3 },
    )
  })

  test('is nothing once a character of it is another, or missing', () => {
    const line = stateLine(numbered(3, { accepted: 5 }))
    for (let at = 0; at < line.length; at++) {
      expect(readStateLine(`${line.slice(0, at)}~${line.slice(at + 1)}`)).toBeNull()
      expect(readStateLine(line.slice(0, at))).toBeNull()
    }
  })
})

test('a line whose checksum holds by chance is nothing, and throws nothing', () => {
  for (const text of ['', 'no state', '{"commit":1}']) {
    const checksum = Bun.hash.crc32(text).toString(16).padStart(8, '0')
    expect(readStateLine(`${checksum} ${text}`)).toBeNull()
  }
})

describe('settling', () => {
  test('leaves alone what agrees', () => {
    const state = numbered(9, { accepted: 10, stored: 4, merged: 1 })
    expect(settle({ state, mark: state, readable: readable(5) })).toEqual({ state, lostRows: 0, faults: [] })
    expect(settle({ state, mark: null, readable: readable(5) })).toEqual({ state, lostRows: 0, faults: [] })
  })

  test('counts rows that are held and not there as lost', () => {
    const { state, lostRows, faults } = settle({
      state: numbered(9, { accepted: 10, stored: 4, lost: 1 }),
      mark: null,
      readable: readable(3),
    })
    expect([lostRows, tasks(state).lost, heldBy(tasks(state)), faults.length]).toEqual([2, 3, 3, 1])
  })

  test('counts rows that are there and not held as transferred in', () => {
    const { state, lostRows, faults } = settle({
      state: numbered(9, { accepted: 10, stored: 9, transferred_in: 1 }),
      mark: null,
      readable: readable(5),
    })
    expect([lostRows, tasks(state).transferred_in, heldBy(tasks(state)), faults.length]).toEqual([0, 4, 5, 1])
  })

  test('rows that may have been removed before make up for none that is gone', () => {
    const { state, lostRows, faults } = settle({
      state: numbered(9, { accepted: 10 }),
      mark: null,
      readable: readable(12),
      strays: readable(5),
    })
    expect([lostRows, tasks(state).lost, tasks(state).transferred_in, faults.length]).toEqual([3, 3, 5, 2])
    expect(heldBy(tasks(state))).toBe(12)
  })

  test('never forgets an id that was used, whichever of the two knows of it', () => {
    const [older, newer] = [numbered(9, {}), { ...numbered(12, {}), lastId: 77 }]
    for (const [state, mark] of [
      [older, newer],
      [newer, older],
      [null, newer],
    ] as const) {
      expect(settle({ state, mark, readable: readable(0) }).state.lastId).toBe(77)
    }
  })

  test('counts what was accepted in commits that are gone as accepted and lost, each collection by itself', () => {
    const state = numbered(9, { accepted: 10, stored: 4 })
    const mark = numbered(12, { accepted: 25, stored: 7 })
    const later = {
      ...mark,
      counts: { ...mark.counts, other: { ...emptyCounts(), accepted: 2 } },
      highWater: 5n ** 27n,
    }
    const settled = settle({ state, mark: later, readable: readable(6) })
    expect(tasks(settled.state)).toEqual({ ...emptyCounts(), accepted: 25, stored: 4, lost: 15 })
    expect(settled.state.counts.other).toEqual({ ...emptyCounts(), accepted: 2, lost: 2 })
    expect(settled.lostRows).toBe(17)
    expect(settled.state.commit).toBe(12)
    expect(settled.state.highWater).toBe(later.highWater)
    expect(settled.faults[0]).toContain('commits 10 to 12')
  })

  test('takes the counts of the mark where there are no others, and none where there is no mark', () => {
    const mark = numbered(12, { accepted: 25, stored: 7 })
    const known = settle({ state: null, mark, readable: readable(10) })
    expect([known.lostRows, tasks(known.state).lost, known.state.instanceNumber]).toEqual([8, 8, 7])
    const unknown = settle({ state: null, mark: null, readable: readable(10) })
    expect(tasks(unknown.state)).toEqual({ ...emptyCounts(), transferred_in: 10 })
    expect([unknown.lostRows, unknown.state.instanceNumber]).toEqual([0, null])
  })

  test('an older mark says nothing', () => {
    const state = numbered(9, { accepted: 10 })
    expect(settle({ state, mark: numbered(8, { accepted: 90 }), readable: readable(10) }).state).toEqual(
      state,
    )
  })

  test('whatever is found, what is held afterwards is what is there', () => {
    fc.assert(
      fc.property(fc.option(stateArbitrary), fc.option(stateArbitrary), fc.nat(3000), (state, mark, rows) => {
        const { state: settled, lostRows } = settle({ state, mark, readable: readable(rows) })
        for (const [name, counts] of Object.entries(settled.counts)) {
          expect(heldBy(counts)).toBe(name === 'translation_tasks' ? rows : 0)
        }
        expect(lostRows).toBeGreaterThanOrEqual(0)
      }),
      { seed: 4 },
    )
  })
})
