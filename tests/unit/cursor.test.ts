import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { decodeCursor, encodeCursor } from '../../src/lib/cursor.ts'

const values = fc.array(
  fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true })),
  {
    maxLength: 5,
  },
)
const sorts = fc.string({ unit: 'binary', maxLength: 20 })
const encodeRaw = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

describe('a cursor', () => {
  test('comes back as it went out, in characters that need no escaping in a URL', () => {
    fc.assert(
      fc.property(sorts, values, (sort, list) => {
        const text = encodeCursor({ sort, values: list })
        expect(text).toMatch(/^[\w-]+$/)
        // JSON has one zero.
        const expected = list.map((value) => (value === 0 ? 0 : value))
        expect(decodeCursor(text, sort, list.length)).toEqual({ sort, values: expected })
      }),
    )
  })

  test('of another sort, or another length, is none', () => {
    const text = encodeCursor({ sort: 'created_at.desc', values: [1, 's', 't'] })
    expect(decodeCursor(text, 'created_at.desc', 3)).not.toBeNull()
    expect(decodeCursor(text, 'created_at.asc', 3)).toBeNull()
    expect(decodeCursor(text, 'created_at.desc', 2)).toBeNull()
    expect(decodeCursor(text, 'created_at.desc', 4)).toBeNull()
  })

  test.each<[title: string, text: string]>([
    ['nothing', ''],
    ['no base64', '!!!'],
    ['half of one', encodeCursor({ sort: 'key', values: ['a', 'b'] }).slice(0, 7)],
    ['no UTF-8', Buffer.from([0xff, 0xfe]).toString('base64url')],
    ['no JSON', encodeRaw('["key"')],
    ['an object', encodeRaw({ 0: 'key', 1: 'a', length: 2 })],
    ['a text', encodeRaw('"key"')],
    ['null', encodeRaw(null)],
    ['a value that is null', encodeRaw(['key', null])],
    ['a value that is an object', encodeRaw(['key', {}])],
    ['a value that is a list', encodeRaw(['key', ['a']])],
    ['a value that is a truth', encodeRaw(['key', true])],
    ['a number out of range', encodeRaw('["key",1e999]')],
    ['no sort', encodeRaw(['a'])],
  ])('%s is none', (_, text) => expect(decodeCursor(text, 'key', 1)).toBeNull())

  test('is none in any other text, and no text throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(decodeCursor(text, 'translation_tasks.key.asc', 2)).toBeNull()
      }),
    )
  })
})
