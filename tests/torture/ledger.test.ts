/** The judge's own law: what may be stored, and that everything else is found. */
import { describe, expect, test } from 'bun:test'
import { createLedger, type Ledger, type Outcome } from './ledger.ts'
import { randomFrom } from './random.ts'
import { type Fields, type WrittenItem, wholeFields } from './records.ts'

const task = (fields: Fields, id = 't'): WrittenItem => ({ collection: 'tasks', key: ['s', id], fields })

/** Every required field, and a context and target text to tell apart. */
const fieldsOf = (number: number): Fields => ({
  ...wholeFields('tasks', { client: 'c', write: number, random: randomFrom(number) }),
  context: `context ${number}`,
  target_text: `text ${number}`,
})

function write(ledger: Ledger, number: number, items: WrittenItem[], outcome?: Outcome): void {
  ledger.intend(number, 'a', items)
  if (outcome) ledger.conclude(number, outcome)
}

/** A ledger with one whole task, acknowledged as write 1. */
function begun(): { ledger: Ledger; first: Fields } {
  const ledger = createLedger()
  const first = fieldsOf(1)
  write(ledger, 1, [task(first)], 'acknowledged')
  return { ledger, first }
}

const kinds = (ledger: Ledger, rows: WrittenItem[], complete = true) =>
  ledger.check(rows, { complete }).map(({ kind }) => kind)

describe('what was promised is found, and nothing is held against it', () => {
  test('the last acknowledged value, of each field', () => {
    const { ledger, first } = begun()
    write(ledger, 2, [task({ target_text: 'zwei' })], 'acknowledged')
    expect(ledger.check([task({ ...first, target_text: 'zwei' })], { complete: true })).toEqual([])
  })

  test('an unanswered write after it, or not', () => {
    for (const target_text of ['zwei', 'drei']) {
      const { ledger, first } = begun()
      write(ledger, 2, [task({ target_text: 'zwei' })], 'acknowledged')
      write(ledger, 3, [task({ target_text: 'drei' })], 'unknown')
      expect(ledger.check([task({ ...first, target_text })], { complete: true })).toEqual([])
    }
  })

  test('a task that is not whole yet is shown to nobody', () => {
    const ledger = createLedger()
    write(ledger, 1, [task({ target_text: 'eins' })], 'acknowledged')
    expect(ledger.check([], { complete: true })).toEqual([])
  })

  test('of items of one key in a request the last one counts', () => {
    const { ledger, first } = begun()
    write(ledger, 2, [task({ context: 'a', target_text: 'x' }), task({ context: 'b' })], 'acknowledged')
    expect(kinds(ledger, [task({ ...first, context: 'b', target_text: 'x' })])).toEqual([])
    expect(kinds(ledger, [task({ ...first, context: 'a', target_text: 'x' })])).toEqual(['wrong'])
  })
})

describe('what was not promised is a fault', () => {
  test('a row that is not there, or there twice, or that nobody wrote', () => {
    expect(kinds(begun().ledger, [])).toEqual(['missing'])
    const { ledger, first } = begun()
    expect(kinds(ledger, [task(first), task(first)], false)).toEqual(['twice'])
    expect(kinds(ledger, [task(first), task(first, 'other')])).toEqual(['never written'])
  })

  test('a field that is empty, older, or of other bytes', () => {
    const { ledger, first } = begun()
    write(ledger, 2, [task({ target_text: 'zwei' })], 'acknowledged')
    write(ledger, 3, [task({ target_text: 'é' })], 'acknowledged')
    for (const target_text of [null, 'zwei', 'e\u0301']) {
      expect(kinds(ledger, [task({ ...first, target_text })], false)).toEqual(['wrong'])
    }
    const [fault] = ledger.check([task({ ...first, target_text: 'zwei' })], { complete: false })
    expect(fault?.detail).toContain('went back to write 2')
  })

  test('an unanswered write from before an acknowledged one', () => {
    const { ledger, first } = begun()
    write(ledger, 2, [task({ target_text: 'zwei' })], 'unknown')
    write(ledger, 3, [task({ target_text: 'drei' })], 'acknowledged')
    expect(kinds(ledger, [task({ ...first, target_text: 'zwei' })])).toEqual(['wrong'])
  })

  test('a write that was refused', () => {
    const { ledger, first } = begun()
    write(ledger, 2, [task({ target_text: 'zwei' })], 'refused')
    expect(kinds(ledger, [task({ ...first, target_text: 'zwei' })])).toEqual(['wrong'])
  })

  test('half of an unanswered request', () => {
    const { ledger, first } = begun()
    const other = fieldsOf(2)
    write(ledger, 2, [task(other, 'u')], 'acknowledged')
    write(ledger, 3, [task({ context: 'drei' }), task({ context: 'drei' }, 'u')], 'unknown')
    const rows = (of: unknown, ofOther: unknown) => [
      task({ ...first, context: of }),
      task({ ...other, context: ofOther }, 'u'),
    ]
    expect(kinds(ledger, rows('drei', other.context), false)).toEqual(['in part'])
    expect(kinds(ledger, rows('drei', 'drei'), false)).toEqual([])
    expect(kinds(ledger, rows(first.context, other.context), false)).toEqual([])
  })

  test('what was read once and is away afterwards', () => {
    const { ledger, first } = begun()
    write(ledger, 2, [task({ target_text: 'zwei' })], 'unknown')
    expect(kinds(ledger, [task({ ...first, target_text: 'zwei' })])).toEqual([])
    expect(kinds(ledger, [task(first)])).toEqual(['wrong'])
  })
})

test('items are counted by the instance that took them', () => {
  const { ledger } = begun()
  write(ledger, 2, [task({ context: 'x' }), task({ context: 'y' })], 'unknown')
  write(ledger, 3, [task({ context: 'z' })], 'refused')
  expect(ledger.itemsOf('a')).toEqual({
    acknowledged: { sessions: 0, tasks: 1 },
    unknown: { sessions: 0, tasks: 2 },
  })
})
