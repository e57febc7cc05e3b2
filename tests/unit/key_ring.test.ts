/** What the commands make of the text of a file of keys. */
import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { hashOf, type KeyEntry, parseInlineKeys, parseKeyFile } from '../../src/auth/key_line.ts'
import { MAX_TIME_MS } from '../../src/lib/time.ts'
import {
  makeKey,
  readKeys,
  revoke,
  rotate,
  stateOf,
  withChanged,
  withKey,
} from '../../tools/keys/key_ring.ts'

const NOW = Date.UTC(2030, 0, 1)
const HOUR_MS = 3_600_000
const plain = { scopes: ['*:read'], createdAtMs: null, expiresAtMs: null, revokedAtMs: null }

const keysWith = (...entries: Partial<KeyEntry>[]) =>
  entries.map((entry, index) => ({
    at: index + 1,
    entry: { name: 'web', hash: hashOf(`${index}`), ...plain, ...entry },
  }))

test('a key is 256 random bits behind a prefix, and what is kept of it is its hash', () => {
  const made = Array.from({ length: 100 }, () => makeKey({ ...plain, name: 'web' }, NOW))
  for (const { key, entry } of made) {
    expect(key).toMatch(/^psk_[A-Za-z0-9_-]{43}$/)
    expect(entry).toEqual({ ...plain, name: 'web', hash: hashOf(key), createdAtMs: NOW })
    // The service takes it in the variable as it is, too.
    expect(parseInlineKeys(key).keys[0]!.entry.hash).toBe(entry.hash)
  }
  expect(new Set(made.map(({ key }) => key)).size).toBe(made.length)
})

test('whatever stands in a file, an added key and a changed one leave every other line as it is', () => {
  const { entry } = makeKey({ ...plain, name: 'made' }, NOW)
  const line = fc.constantFrom('', '# a comment', '  # another', `a sha256:${hashOf('a')}   *:read`, '\t')
  fc.assert(
    fc.property(fc.uniqueArray(line), fc.boolean(), (lines, ended) => {
      const text = lines.join('\n') + (ended && lines.length > 0 ? '\n' : '')
      const added = withKey(text, entry)
      expect(added).toStartWith(text)
      const keys = readKeys(added, 'k')
      expect(keys.at(-1)!.entry).toEqual(entry)
      const revoked = revoke(keys, { which: 'made', nowMs: NOW })
      expect(withChanged(added, revoked)).toStartWith(text)
      expect(parseKeyFile(withChanged(added, revoked)).keys.at(-1)!.entry.revokedAtMs).toBe(NOW)
    }),
  )
})

test('a first key makes a file that tells what it is', () => {
  const { entry } = makeKey({ ...plain, name: 'made' }, NOW)
  expect(withKey(null, entry)).toStartWith('# API keys')
  expect(readKeys(withKey(null, entry), 'k').map((key) => key.entry)).toEqual([entry])
})

describe('rotate', () => {
  const options = { name: 'web', graceMs: HOUR_MS, expiresAtMs: null, nowMs: NOW }

  test('ends every live key of the name after the grace, but none later than it would have', () => {
    const { made, old } = rotate(
      keysWith(
        { revokedAtMs: 1 },
        { expiresAtMs: NOW },
        { expiresAtMs: NOW + 1 },
        {},
        { name: 'other' },
        { expiresAtMs: MAX_TIME_MS },
      ),
      options,
    )
    expect(old.map(({ at, entry }) => [at, entry.expiresAtMs])).toEqual([
      [3, NOW + 1],
      [4, NOW + HOUR_MS],
      [6, NOW + HOUR_MS],
    ])
    expect(made.entry).toMatchObject({ name: 'web', scopes: ['*:read'], createdAtMs: NOW })
  })

  test('makes a key that lasts as long as the newest one was made for, and never beyond what can be written', () => {
    const endOf = (entry: Partial<KeyEntry>, expiresAtMs: number | null = null) =>
      rotate(keysWith({ expiresAtMs: 1 + NOW }, entry), { ...options, expiresAtMs }).made.entry.expiresAtMs
    expect(endOf({})).toBeNull()
    expect(endOf({ createdAtMs: NOW - 5 * HOUR_MS, expiresAtMs: NOW + HOUR_MS })).toBe(NOW + 6 * HOUR_MS)
    expect(endOf({ expiresAtMs: NOW + HOUR_MS })).toBe(NOW + HOUR_MS)
    expect(endOf({ createdAtMs: NOW + 9, expiresAtMs: NOW + HOUR_MS })).toBe(NOW + HOUR_MS)
    expect(endOf({ createdAtMs: 0, expiresAtMs: MAX_TIME_MS })).toBe(MAX_TIME_MS)
    expect(endOf({ expiresAtMs: NOW + HOUR_MS }, NOW + 7)).toBe(NOW + 7)
  })

  test('needs a live key, and one answer to what the new one may do', () => {
    expect(() => rotate(keysWith({ revokedAtMs: 1 }, { expiresAtMs: NOW }), options)).toThrow('no live key')
    expect(() => rotate(keysWith({}, { scopes: ['audit:read'] }), options)).toThrow('different scopes')
    const reordered = keysWith({ scopes: ['a:b', 'c:d'] }, { scopes: ['c:d', 'a:b'] })
    expect(rotate(reordered, options).old).toHaveLength(2)
  })
})

describe('revoke', () => {
  test('takes an id before a name, and no key twice', () => {
    const id = hashOf('0').slice(0, 12)
    const keys = keysWith({}, { name: id }, { name: 'gone', revokedAtMs: 5 })
    const of = (which: string) => revoke(keys, { which, nowMs: NOW }).map(({ at }) => at)
    expect(of(id)).toEqual([1])
    expect(of(id.toUpperCase())).toEqual([1])
    expect(of('web')).toEqual([1])
    expect(() => of('gone')).toThrow('revoked already')
    expect(() => of('nobody')).toThrow('no key has this id or name')
  })

  test('counts before any expiry', () => {
    const { entry } = keysWith({ expiresAtMs: NOW })[0]!
    expect(stateOf(entry, NOW - 1)).toBe('live')
    expect(stateOf(entry, NOW)).toBe('expired')
    expect(stateOf({ ...entry, revokedAtMs: NOW + 1 }, NOW)).toBe('revoked')
  })
})
