/** Values of a JSON text are counted where they are values, and not where they only look like it. */
import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { holdsMoreValues } from '../../src/http/json_values.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)

/** Values and containers, a container's own opening among them. */
function valuesOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const items = Object.values(value)
  return 1 + Math.max(0, items.length - 1) + items.reduce<number>((sum, item) => sum + valuesOf(item), 0)
}

test('what is counted is what the parser will make, whatever stands in the texts', () => {
  const json = fc.oneof(
    fc.json({ maxDepth: 6 }),
    fc.json({ stringUnit: fc.constantFrom('"', '\\', ',', '[', '{', '\n', 'é', '龙', 'a') }),
  )
  fc.assert(
    fc.property(json, fc.nat(4), (text, below) => {
      const count = valuesOf(JSON.parse(text))
      expect(holdsMoreValues(bytesOf(text), count)).toBe(false)
      if (count > below) expect(holdsMoreValues(bytesOf(text), count - 1 - below)).toBe(true)
    }),
  )
})

test('a text full of commas and brackets is one value; quotes in it may be escaped, and escapes too', () => {
  for (const inside of ['[{,', '\\"[,', '\\\\', '\\\\\\"[{', '\\\\\\\\', '龙,']) {
    const text = `["${inside.repeat(100)}"]`
    JSON.parse(text)
    expect(holdsMoreValues(bytesOf(text), 1)).toBe(false)
    expect(holdsMoreValues(bytesOf(`${text.slice(0, -1)},0]`), 1)).toBe(true)
  }
})

test('what is no JSON is counted too, and ends', () => {
  expect(holdsMoreValues(bytesOf('['.repeat(11)), 10)).toBe(true)
  expect(holdsMoreValues(bytesOf('['.repeat(10)), 10)).toBe(false)
  for (const text of ['"'.repeat(101), `"${'['.repeat(100)}`, `"${'\\"'.repeat(100)}`, '\\'.repeat(100)]) {
    expect(holdsMoreValues(bytesOf(text), 10)).toBe(false)
  }
})

test('a text without an end, or of escapes alone, costs no more than its length', () => {
  const started = performance.now()
  for (const text of [
    '\\'.repeat(2 ** 23),
    '\\"'.repeat(2 ** 22),
    '"'.repeat(2 ** 23),
    '\\\\'.repeat(2 ** 22),
  ]) {
    holdsMoreValues(bytesOf(`["${text}`), 10)
  }
  expect(performance.now() - started).toBeLessThan(5000)
})
