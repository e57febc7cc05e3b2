import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { defineCollection } from '../../src/collections/definition.ts'
import {
  flatten,
  isComplete,
  merge,
  newestStamp,
  packStamps,
  type Row,
  rowOf,
  stampAt,
  unpackStamps,
  updatedAtMs,
} from '../../src/collections/row.ts'
import { ABSENT, stampHex } from '../../src/collections/stamp.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { arbitraryUpdates, fullRow, keyOf, rowWith, stampOf, T0 } from '../support/contract_rows.ts'

const key = ['s', 't']
const zero = '0'.repeat(16)

describe('a row of a request', () => {
  test('has a value for what was written, null for what was cleared, and nothing for the rest', () => {
    const row = rowOf(
      tasks,
      { session_id: 's', task_id: 't', status: 'x', context: null, unknown: 1 },
      stampOf(3),
    )
    expect(row.key).toEqual(key)
    expect(row.values.length).toBe(tasks.slots.length)
    expect(row.values[tasks.slotOf('status')]).toBe('x')
    expect(row.values[tasks.slotOf('context')]).toBeNull()
    expect(row.values[tasks.slotOf('batch_id')]).toBeUndefined()
    expect(row).toMatchObject({ stamps: stampOf(3), createdAtMs: T0 + 3 })
  })

  test('has its stamp where it has a value, and none elsewhere', () => {
    const row = rowWith(tasks, key, { status: 'x', context: null }, stampOf(3))
    expect(stampAt(row, tasks.slotOf('status'))).toBe(stampOf(3))
    expect(stampAt(row, tasks.slotOf('context'))).toBe(stampOf(3))
    expect(stampAt(row, tasks.slotOf('batch_id'))).toBe(ABSENT)
    expect(stampAt(row, 999)).toBe(ABSENT)
  })
})

describe('packed stamps', () => {
  test('are 8 bytes a slot, in the order of the slots, zero where there is none', () => {
    const row = rowWith(tasks, key, { batch_id: 'b', duration_ms: null }, stampOf(3))
    const hex = packStamps(row)
    expect(hex).toBe(stampHex(stampOf(3)) + zero.repeat(tasks.slots.length - 2) + stampHex(stampOf(3)))
    const mixed = merge(row, rowWith(tasks, key, { sheet_name: 's' }, stampOf(9)))
    expect(packStamps(mixed).slice(0, 32)).toBe(stampHex(stampOf(3)) + stampHex(stampOf(9)))
  })

  test('come back as they were', () => {
    fc.assert(
      fc.property(arbitraryUpdates(tasks, [key], { maxLength: 4 }), (updates) => {
        const row = updates.reduce(merge)
        const bytes = Buffer.from(packStamps(row), 'hex')
        expect(unpackStamps(bytes, tasks.slots.length)).toEqual(
          tasks.slots.map((_, slot) => stampAt(row, slot)),
        )
      }),
    )
  })

  test('of an older version have none for later slots, those of a newer one are cut', () => {
    const bytes = Buffer.from(stampHex(stampOf(1)) + stampHex(stampOf(2)), 'hex')
    expect(unpackStamps(bytes, 4)).toEqual([stampOf(1), stampOf(2), ABSENT, ABSENT])
    expect(unpackStamps(bytes, 1)).toEqual([stampOf(1)])
    expect(unpackStamps(new Uint8Array(0), 2)).toEqual([ABSENT, ABSENT])
    expect(unpackStamps(bytes.subarray(0, 12), 2)).toEqual([stampOf(1), ABSENT])
  })

  test('are read from where they lie in a larger buffer', () => {
    const bytes = Buffer.from(`ffff${stampHex(stampOf(1))}`, 'hex').subarray(2)
    expect(unpackStamps(bytes, 1)).toEqual([stampOf(1)])
  })
})

describe('what a row says', () => {
  test('its newest stamp, and when that was', () => {
    const row = merge(
      rowWith(tasks, key, { status: 'x' }, stampOf(9)),
      rowWith(tasks, key, { context: 'x' }, stampOf(4)),
    )
    expect(newestStamp(row)).toBe(stampOf(9))
    expect(updatedAtMs(row)).toBe(T0 + 9)
    expect(row.createdAtMs).toBe(T0 + 4)
    expect(newestStamp({ ...row, stamps: [] })).toBe(ABSENT)
  })

  test('it is complete once every required field has a value; null is none', () => {
    const whole = fullRow(tasks, key)
    expect(isComplete(tasks, whole)).toBe(true)
    for (const field of tasks.required) {
      for (const value of [undefined, null]) {
        const values = whole.values.map((held, slot) => (slot === tasks.slotOf(field) ? value : held))
        expect(isComplete(tasks, { ...whole, values })).toBe(false)
      }
    }
    const bare = Object.fromEntries(tasks.required.map((name) => [name, name === 'row_index' ? 0 : '']))
    expect(isComplete(tasks, rowWith(tasks, key, bare, stampOf(1)))).toBe(true)
    expect(isComplete(sessions, fullRow(sessions, ['s']))).toBe(true)
  })

  test('flat, it has its key, every field and both times', () => {
    const row: Row = rowWith(tasks, key, { status: 'x', row_index: 0 }, stampOf(5))
    const record = flatten(tasks, row)
    expect(Object.keys(record)).toEqual([...tasks.key, ...tasks.slots, 'created_at', 'updated_at'])
    expect(record).toMatchObject({
      session_id: 's',
      task_id: 't',
      status: 'x',
      row_index: 0,
      context: null,
      created_at: T0 + 5,
      updated_at: T0 + 5,
    })
  })
})

describe('a collection', () => {
  test('knows its slots, its required fields and the type of each', () => {
    const parent = defineCollection({
      name: 'things',
      kind: 'records',
      key: ['id'],
      fields: {
        a: { type: 'text', required: true },
        b: { type: 'json' },
        c: { type: 'integer', required: true },
      },
      filters: [],
      sorts: ['key'],
      search: [],
      buffered: false,
    })
    expect(parent.slots).toEqual(['a', 'b', 'c'])
    expect(parent.required).toEqual(['a', 'c'])
    expect(parent.slotOf('c')).toBe(2)
    expect(['id', 'a', 'b', 'c', 'created_at', 'updated_at'].map(parent.typeOf)).toEqual([
      'text',
      'text',
      'json',
      'integer',
      'timestamp',
      'timestamp',
    ])
    expect(() => parent.slotOf('id')).toThrow('things has no field id')
    expect(() => parent.typeOf('d')).toThrow('things has no field d')
    expect(() => parent.slotOf('__proto__')).toThrow('has no field')
  })

  test('sorts, filters and searches by fields that it has', () => {
    for (const collection of [sessions, tasks]) {
      for (const name of [...collection.filters, ...collection.search])
        expect(collection.typeOf(name)).toBe('text')
      for (const name of collection.sorts) {
        if (name !== 'key') expect(collection.typeOf(name)).toBe('timestamp')
      }
      if (collection.hiddenBy) expect(collection.typeOf(collection.hiddenBy)).toBe('timestamp')
    }
    expect(keyOf(tasks, 'g', 1)).toEqual(['g', 'g_1'])
  })
})
