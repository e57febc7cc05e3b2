import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import {
  bytesFault,
  identifierFault,
  jsonFault,
  MAX_JSON_DEPTH,
  textFault,
  utf8Bytes,
} from '../../src/lib/text.ts'

const SURROGATE = 'contains a lone surrogate, which has no UTF-8'

describe('a text of so many characters', () => {
  test('is counted in code points, as SQL counts them', () => {
    expect(textFault('😀'.repeat(20), 20)).toBeNull()
    expect(textFault('😀'.repeat(21), 20)).toBe('is longer than 20 characters')
    expect(textFault('e\u0301'.repeat(10), 20)).toBeNull()
    expect(textFault('x'.repeat(20), 20)).toBeNull()
    expect(textFault('x'.repeat(21), 20)).toBe('is longer than 20 characters')
    expect(textFault('x'.repeat(1_000_000), 20)).toBe('is longer than 20 characters')
    expect(textFault('', 20)).toBeNull()
    const text = fc.string({ unit: 'binary', maxLength: 60 })
    fc.assert(
      fc.property(text, fc.nat(40), (value, max) => {
        expect(textFault(value, max) === null).toBe([...value].length <= max)
      }),
    )
  })

  test('has no lone surrogate', () => {
    for (const value of ['\ud800', 'a\udc00', '\udc00\ud800', `${'x'.repeat(100)}\ud800`]) {
      expect(textFault(value, 10)).toBe(SURROGATE)
      expect(bytesFault(value, 10)).toBe(SURROGATE)
    }
  })
})

describe('a text of so many bytes', () => {
  test('is counted in UTF-8', () => {
    const text = fc.string({ unit: 'binary', maxLength: 60 })
    fc.assert(
      fc.property(text, fc.nat(120), (value, max) => {
        const bytes = Buffer.byteLength(value)
        expect(utf8Bytes(value)).toBe(bytes)
        expect(bytesFault(value, max) === null).toBe(bytes <= max)
      }),
    )
    expect(bytesFault('译'.repeat(21_845), 65_535)).toBeNull()
    expect(bytesFault(`${'译'.repeat(21_845)}x`, 65_535)).toBe('is longer than 65535 bytes of UTF-8')
    expect(bytesFault('x'.repeat(1_000_000), 65_535)).toBe('is longer than 65535 bytes of UTF-8')
  })
})

describe('an identifier', () => {
  test.each([
    'a',
    'A',
    '0',
    'a/b',
    'two words',
    '100%',
    `it's "so"`,
    '翻译',
    '😀'.repeat(36),
    '...',
    'Batch',
    'cleanup2',
    'a.',
    '-',
    '\\',
  ])('%s is one', (text) => expect(identifierFault(text, 36)).toBeNull())

  test.each<[text: string, fault: string]>([
    ['', 'must not be empty'],
    [' a', 'has white space at an end'],
    ['a ', 'has white space at an end'],
    ['\u00a0a', 'has white space at an end'],
    ['a\u3000', 'has white space at an end'],
    [' ', 'has white space at an end'],
    ['a\u2028', 'has white space at an end'],
    ['a\0b', 'contains a control character'],
    ['a\nb', 'contains a control character'],
    ['\ta', 'contains a control character'],
    ['a\u007f', 'contains a control character'],
    ['a\u0085b', 'contains a control character'],
    ['\ud800', SURROGATE],
    ['x'.repeat(37), 'is longer than 36 characters'],
    ['😀'.repeat(37), 'is longer than 36 characters'],
    ['.', `must not be '.', which is a word of the paths`],
    ['..', `must not be '..', which is a word of the paths`],
    ['batch', `must not be 'batch', which is a word of the paths`],
    ['cleanup', `must not be 'cleanup', which is a word of the paths`],
  ])('%j is none', (text, fault) => expect(identifierFault(text, 36)).toBe(fault))
})

describe('JSON', () => {
  const nested = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`)

  test('of well-formed texts, finite numbers and bounded depth is fine', () => {
    const json = fc.jsonValue({ stringUnit: 'binary', maxDepth: 5 })
    fc.assert(fc.property(json, (value) => expect(jsonFault(value)).toBeNull()))
    expect(jsonFault(nested(MAX_JSON_DEPTH))).toBeNull()
    expect(jsonFault({ '': null, a: [true, 0, -0, 1e308, ''] })).toBeNull()
  })

  test('is not, where a text has a lone surrogate, be it a name', () => {
    for (const value of ['\ud800', ['\ud800'], { a: { b: ['x', '\udfff'] } }, { '\ud800': 1 }]) {
      expect(jsonFault(value)).toBe(SURROGATE)
    }
  })

  test('is not, where a number is none that JSON writes', () => {
    for (const value of [
      Number.POSITIVE_INFINITY,
      [Number.NaN],
      { a: Number.NEGATIVE_INFINITY },
      JSON.parse('[1e999]'),
    ]) {
      expect(jsonFault(value)).toBe('contains a number out of range')
    }
  })

  test('is not, where it is nested too deep, however deep', () => {
    const fault = `is nested deeper than ${MAX_JSON_DEPTH} levels`
    expect(jsonFault(nested(MAX_JSON_DEPTH + 1))).toBe(fault)
    expect(jsonFault(nested(100_000))).toBe(fault)
    expect(jsonFault(JSON.parse(`${'{"a":'.repeat(31)}1${'}'.repeat(31)}`))).toBe(fault)
  })
})
