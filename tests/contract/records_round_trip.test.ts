import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Collection, FieldType, Value } from '../../src/collections/definition.ts'
import type { Row } from '../../src/collections/row.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import { assertFacets, onEachBackend, onEachCollection } from '../support/contract_backends.ts'
import { expectStored, fullRow, keyOf, rowWith, stampOf } from '../support/contract_rows.ts'

/** What TEXT holds at most; the door refuses more. */
const MAX_TEXT_BYTES = 65_535
/** The shortest text column takes 20 characters; texts for every column stay below. */
const TEXTS: Record<string, string> = {
  'an empty text': '',
  'spaces at the ends': '  two  ',
  'emoji, joined and skinned': '😀👩‍👩‍👧👍🏽',
  'the last code point': '\u{10FFFF}\uFFFF\uFFFE',
  'NUL and other controls': 'a\0b\x1a\x08\x7f',
  'new lines and tabs': 'a\r\nb\n\tc\u2028\u0085',
  'right to left': 'שלום\u200f עולם مرحبا',
  'combining marks, not composed': 'e\u0301 é z\u0351\u036b\u0343',
  'a byte order mark': '\uFEFFa',
  quotes: `it's "so" \`it\``,
  backslashes: `\\ \\\\ \\n \\' \\0 \\x`,
  'patterns of LIKE': '100% _a_ [b] \\% *',
  'marks of parameters': '? ?? :a @b $1 #{c}',
  'the end of a statement': `'); DROP TABLE x;-- `,
  Chinese: '翻译任务，第一项。',
}

const VALUES: Partial<Record<FieldType, Record<string, Value>>> = {
  integer: { zero: 0, one: 1, 'the least': -2_147_483_648, 'the greatest': 2_147_483_647 },
  decimal: { zero: 0, one: 1, 'the smallest': 0.0001, 'just below one': 0.9999, 'two digits': 0.98 },
  json: {
    'an empty object': '{}',
    'an empty array': '[]',
    'every kind': '{"a":[1,-2.5,1e300,5e-324,true,false,null,"x",{"":[]}]}',
    'texts of all sorts': JSON.stringify({ '\0"\\': ['\u2028', '😀', 'e\u0301', `'%?`] }),
    'large numbers': '[9007199254740991,-9007199254740991,1e21,0.1,123456789.123456789]',
    'a bare text': '"bare"',
    'a bare number': '0',
    'a depth of 30': `${'['.repeat(30)}${']'.repeat(30)}`,
  },
  timestamp: {
    'the epoch': 0,
    'before the epoch': -1,
    'the year 1': Date.parse('0001-01-01T00:00:00.000Z'),
    'the year 999': Date.parse('0999-12-31T23:59:59.999Z'),
    'the year 1000': Date.parse('1000-01-01T00:00:00.001Z'),
    'a leap day': Date.parse('2024-02-29T12:00:00.100Z'),
    'the end of TIMESTAMP': Date.parse('2038-01-19T03:14:07.999Z'),
    'after the end of TIMESTAMP': Date.parse('2038-01-19T03:14:08.000Z'),
    'the last one': Date.parse('9999-12-31T23:59:59.999Z'),
  },
}

const fieldsOf = (collection: Collection, type: FieldType) =>
  collection.slots.filter((name) => collection.typeOf(name) === type)

/** Identifiers that differ only in what a careless comparison overlooks, each within 36 characters. */
const TWINS = [
  ['A', 'a'],
  ['straße', 'strasse', 'STRASSE'],
  ['é', 'e\u0301', 'e', 'É'],
  ['Ａ', 'A-wide'],
  ['i', 'ı', 'İ'],
  ['1', '01', '1.0', '1e0'],
  ['a', 'ａ', 'α', 'а'],
  ['null', 'NULL', 'undefined'],
]
const KEYS = [
  'a/b/../c',
  `it's "quoted" \`so\``,
  'two  spaces inside',
  'percent%20_and\\back',
  '😀'.repeat(36),
  '翻译-任务 (一)',
  '{"json":[1]}',
  '[1,2]',
  '?key=1&b=2#c',
  'x'.repeat(36),
  '-- ; DROP',
]

onEachBackend('capabilities', 'records', (store, kind) => {
  test('are those that its line in the contract says, and no others', () => {
    assertFacets(kind, store().backend)
  })
})

onEachCollection('what is written is read back', (collection, store) => {
  const records = () => store().backend.records!
  let made = 0
  /** A key that no other test uses. */
  const freshKey = () => keyOf(collection, `k${++made}`, 1)

  async function roundTrip(rows: readonly Row[]): Promise<void> {
    expect(await records().write(collection, rows)).toEqual({ refused: [] })
    await expectStored(records(), collection, rows)
    for (const row of rows.slice(0, 3)) {
      const alone = await records().read(collection, row.key)
      await expectStored({ ...records(), readMany: async () => (alone ? [alone] : []) }, collection, [row])
    }
  }

  test('every field of a row, with its stamp and its creation', async () => {
    await roundTrip([fullRow(collection, freshKey(), { n: 7 })])
  })

  test.each(Object.entries(TEXTS))('%s, in every text field', async (_, text) => {
    const fields = Object.fromEntries(fieldsOf(collection, 'text').map((name) => [name, text]))
    await roundTrip([fullRow(collection, freshKey(), { fields })])
  })

  const values = Object.entries(VALUES).flatMap(([type, cases]) =>
    Object.entries(cases).map(([title, value]) => [type as FieldType, title, value] as const),
  )
  test.each(values.filter(([type]) => fieldsOf(collection, type).length > 0))(
    '%s: %s',
    async (type, _, value) => {
      const fields = Object.fromEntries(fieldsOf(collection, type).map((name) => [name, value]))
      await roundTrip([fullRow(collection, freshKey(), { fields })])
    },
  )

  test('any text, in one write with many others', async () => {
    const text = fc.string({ unit: 'binary', maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 12 }), async (texts) => {
        const names = fieldsOf(collection, 'text')
        await roundTrip(
          texts.map((_, i) => {
            const fields = names.map((name, j) => [name, texts[(i + j) % texts.length]!])
            return fullRow(collection, freshKey(), { fields: Object.fromEntries(fields) })
          }),
        )
      }),
      { numRuns: 25 },
    )
  })

  const jsonFields = fieldsOf(collection, 'json')
  if (jsonFields.length > 0) {
    test('any JSON', async () => {
      const json = fc.jsonValue({ stringUnit: 'binary', maxDepth: 4 }).map((value) => JSON.stringify(value))
      await fc.assert(
        fc.asyncProperty(fc.array(json, { minLength: 1, maxLength: 8 }), (values) =>
          roundTrip(
            values.map((value) => {
              const fields = jsonFields.map((name) => [name, value])
              return fullRow(collection, freshKey(), { fields: Object.fromEntries(fields) })
            }),
          ),
        ),
        { numRuns: 25 },
      )
    })
  }

  test('a negative zero as zero', async () => {
    const [decimal] = fieldsOf(collection, 'decimal')
    const [integer] = fieldsOf(collection, 'integer')
    const name = (decimal ?? integer)!
    const key = freshKey()
    await records().write(collection, [rowWith(collection, key, { [name]: -0 }, stampOf(1))])
    const row = await records().read(collection, key)
    expect(Object.is(row?.values[collection.slotOf(name)], 0)).toBe(true)
  })

  test('absent as absent, and null as null, wherever they stand', async () => {
    for (const name of collection.slots) {
      const key = freshKey()
      const lone = rowWith(collection, key, { [name]: null }, stampOf(1))
      await roundTrip([lone])
      const rest = fullRow(collection, freshKey())
      const hole = {
        ...rest,
        values: rest.values.map((v, i) => (i === collection.slotOf(name) ? undefined : v)),
      }
      await roundTrip([hole])
    }
  })

  test('rows of one write that set different fields', async () => {
    await roundTrip(
      collection.slots.map((name, n) =>
        rowWith(
          collection,
          freshKey(),
          { [name]: n % 2 ? null : fullRow(collection, ['', '']).values[n]! },
          stampOf(n),
        ),
      ),
    )
  })

  test.each(TWINS)('%s and its twins are keys of their own', async (...twins) => {
    const prefix = `t${++made}-`
    const rows = twins.map((twin, n) =>
      fullRow(
        collection,
        collection.key.map(() => `${prefix}${twin}`),
        { n },
      ),
    )
    await roundTrip(rows)
    for (const row of rows) {
      const filters = collection.key.map((field, i) => ({ op: 'eq' as const, field, value: row.key[i]! }))
      expect(await records().count(collection, filters)).toBe(1)
    }
  })

  test('keys of any characters that the door lets in', async () => {
    await roundTrip(
      KEYS.map((key, n) =>
        fullRow(
          collection,
          collection.key.map(() => key),
          { n },
        ),
      ),
    )
  })

  test('the longest keys, of four bytes a character', async () => {
    const longest = collection.key.map((_, i) => '🗝'.repeat(i === 0 ? 36 : 64))
    await roundTrip([fullRow(collection, longest)])
  })

  test('only those of the keys asked for that are there, however many are asked for', async () => {
    const rows = Array.from({ length: 1200 }, (_, n) =>
      fullRow(collection, keyOf(collection, 'many', n), { n }),
    )
    await records().write(collection, rows)
    const asked = [...rows, ...rows.slice(0, 10)].map(({ key }) => key)
    const missing = Array.from({ length: 700 }, (_, n) => keyOf(collection, 'none', n))
    const found = await records().readMany(collection, [...missing, ...asked])
    expect(new Set(found.map(({ key }) => key.join('/'))).size).toBe(1200)
    expect(await records().readMany(collection, [])).toEqual([])
    expect(await records().read(collection, missing[0]!)).toBeNull()
  })

  test('nothing where nothing is written', async () => {
    expect(await records().write(collection, [])).toEqual({ refused: [] })
  })
})

onEachBackend('texts of tasks', 'records', (store) => {
  const records = () => store().backend.records!

  const longest: [string, string][] = [
    ['one byte a character', 'x'.repeat(MAX_TEXT_BYTES)],
    ['three bytes a character', '译'.repeat(MAX_TEXT_BYTES / 3)],
    ['four bytes a character', `${'😀'.repeat(Math.floor(MAX_TEXT_BYTES / 4))}abc`],
    ['all of it to be escaped', `'\\"\n\0`.repeat(MAX_TEXT_BYTES / 5)],
  ]
  test.each(longest)('of 65,535 bytes are whole: %s', async (title, text) => {
    expect(new TextEncoder().encode(text).byteLength).toBe(MAX_TEXT_BYTES)
    const fields = { source_text: text, target_text: text, context: text, error_message: text }
    const rows = [0, 1, 2].map((n) => fullRow(tasks, [title, `${n}`], { n, fields }))
    expect(await records().write(tasks, rows)).toEqual({ refused: [] })
    await expectStored(records(), tasks, rows)
  })

  test('of the same task_id in two sessions are two tasks', async () => {
    const rows = ['s1', 's2'].map((session, n) => fullRow(tasks, [session, 'task_0'], { n }))
    await records().write(tasks, rows)
    await expectStored(records(), tasks, rows)
    const found = await records().query(tasks, {
      filters: [{ op: 'eq', field: 'task_id', value: 'task_0' }],
      sort: 'key',
      descending: false,
      limit: 10,
    })
    expect(found.map(({ session_id, source_text }) => [session_id, source_text])).toEqual([
      ['s1', 'source_text-0'],
      ['s2', 'source_text-1'],
    ])
  })
})
