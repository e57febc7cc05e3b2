import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import {
  formatKeyLine,
  hashOf,
  idOf,
  type KeyEntry,
  MAX_KEY_LENGTH,
  parseInlineKeys,
  parseKeyFile,
} from '../../src/auth/key_line.ts'
import { LEVELS, NAMESPACES } from '../../src/auth/principal.ts'
import { MAX_TIME_MS, MIN_TIME_MS } from '../../src/lib/time.ts'

const HASH = hashOf('some key')
const OTHER = hashOf('some other key')
const PLAIN = 'my-own-secret-key-of-32-characters'
const GOOD = `backend sha256:${HASH} translation:read`

const entriesOf = (text: string) => parseKeyFile(`${text}\n`).keys.map(({ entry }) => entry)
const faultsOf = (text: string) => parseKeyFile(`${text}\n`).faults
const inlineOf = (text: string) => parseInlineKeys(text).keys.map(({ entry }) => entry)

const word = fc.constantFrom(...['*', ...NAMESPACES].flatMap((name) => LEVELS.map((of) => `${name}:${of}`)))
const time = fc.option(fc.integer({ min: MIN_TIME_MS, max: MAX_TIME_MS }))
const entry = fc.record<KeyEntry>({
  name: fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/),
  hash: fc.stringMatching(/^[0-9a-f]{64}$/),
  scopes: fc.array(word, { minLength: 1, maxLength: 5 }),
  createdAtMs: time,
  expiresAtMs: time,
  revokedAtMs: time,
})
const ring = fc.uniqueArray(entry, { selector: ({ hash }) => hash, maxLength: 8 })

describe('a line', () => {
  test('reads back as what was written, in the file and in the variable', () => {
    fc.assert(
      fc.property(ring, (entries) => {
        const lines = entries.map(formatKeyLine)
        expect(parseKeyFile(`${lines.join('\n')}\n`)).toEqual({
          keys: entries.map((entry, index) => ({ at: index + 1, entry })),
          faults: [],
        })
        if (entries.length > 0) expect(inlineOf(lines.join('; '))).toEqual(entries)
      }),
    )
  })

  test('stands anywhere among comments, blank lines, tabs and line ends of Windows', () => {
    const text = `\ufeff# made by hand\r\n\r\n  a\tsha256:${HASH.toUpperCase()}   *:read,system:admin  expires=2030-01-31\r\n\t# b sha256:x y\r\nb sha256:${OTHER} audit:write`
    expect(parseKeyFile(`${text}\n`)).toEqual({
      keys: [
        {
          at: 3,
          entry: {
            name: 'a',
            hash: HASH,
            scopes: ['*:read', 'system:admin'],
            createdAtMs: null,
            expiresAtMs: Date.UTC(2030, 0, 31),
            revokedAtMs: null,
          },
        },
        { at: 5, entry: expect.objectContaining({ name: 'b', hash: OTHER, scopes: ['audit:write'] }) },
      ],
      faults: [],
    })
  })

  test('has an id that tells keys apart and is no key', () => {
    expect(idOf({ hash: HASH })).toBe(HASH.slice(0, 12))
  })

  test.each([
    ['a word is missing', `backend sha256:${HASH}`, 'NAME HASH SCOPES'],
    ['a name of other characters', `back/end sha256:${HASH} *:read`, 'a name of 1 to 64'],
    ['a name too long', `${'n'.repeat(65)} sha256:${HASH} *:read`, 'a name of 1 to 64'],
    ['the key itself', 'backend psk_0123456789abcdef0123456789 *:read', 'never the key itself'],
    ['a hash of other length', `backend sha256:${HASH}0 *:read`, 'sha256: and 64 hex digits'],
    ['a hash without its name', `backend ${HASH} *:read`, 'sha256: and 64 hex digits'],
    ['a scope that is none', `backend sha256:${HASH} translation:red`, 'scopes separated by commas'],
    ['an empty scope', `backend sha256:${HASH} translation:read,`, 'scopes separated by commas'],
    ['a comma with a space', `backend sha256:${HASH} audit:read, audit:write`, 'scopes separated by commas'],
    ['a day that is none', `${GOOD} expires=2030-02-30`, 'with a time'],
    ['a time without a value', `${GOOD} expires=`, 'with a time'],
    ['an attribute that is none', `${GOOD} expire=2030-01-01`, 'expires='],
    ['an attribute twice', `${GOOD} expires=2030-01-01 expires=2031-01-01`, 'at most once'],
    ['a comment behind it', `${GOOD} # the old one`, 'after the scopes'],
  ])('with %s is a fault', (_, line, expected) => {
    expect(parseKeyFile(`# first\n${line}\nok sha256:${OTHER} *:read\n`)).toEqual({
      keys: [expect.objectContaining({ at: 3 })],
      faults: [{ at: 2, expected: expect.stringContaining(expected) }],
    })
  })

  test('with a key of another line is a fault that says which, whatever name it has', () => {
    expect(faultsOf(`${GOOD}\n\nother sha256:${HASH} *:read\nthird sha256:${HASH} *:read`)).toEqual([
      { at: 3, expected: expect.stringContaining('line 1') },
      { at: 4, expected: expect.stringContaining('line 1') },
    ])
    expect(parseKeyFile(`${GOOD}\n`, [HASH]).faults).toEqual([
      { at: 1, expected: expect.stringContaining('API_KEYS') },
    ])
  })

  test('that is cut off is a fault: what is missing may be the mark that it is revoked', () => {
    expect(parseKeyFile(`backend sha256:${OTHER} *:read\n${GOOD}`)).toEqual({
      keys: [expect.objectContaining({ at: 1 })],
      faults: [{ at: 2, expected: 'a newline at its end' }],
    })
    expect(parseKeyFile('# a comment may').faults).toEqual([])
  })

  test('may have the name of another line: that is how a key is replaced', () => {
    expect(entriesOf(`${GOOD}\nbackend sha256:${OTHER} translation:read`).map(({ name }) => name)).toEqual([
      'backend',
      'backend',
    ])
  })
})

describe('the variable', () => {
  const everything = { scopes: ['*:admin'], createdAtMs: null, expiresAtMs: null, revokedAtMs: null }

  test('holding one word is a key that may do everything', () => {
    expect(inlineOf(`\n ${PLAIN}\n`)).toEqual([{ name: 'default', hash: hashOf(PLAIN), ...everything }])
    expect(inlineOf(`sha256:${HASH}`)).toEqual([{ name: 'default', hash: HASH, ...everything }])
  })

  test('holds any mixture of entries, between semicolons or on lines', () => {
    const text = `;; web ${PLAIN} audit:read expires=2030-01-01
      # a comment
      ${GOOD};`
    expect(inlineOf(text)).toMatchObject([
      { name: 'web', hash: hashOf(PLAIN), scopes: ['audit:read'], expiresAtMs: Date.UTC(2030, 0) },
      { name: 'backend', hash: HASH },
    ])
  })

  test.each([
    ['of a ; between two', `${PLAIN};${PLAIN}2`, [1, 2]],
    ['of a line end between two', `${PLAIN}\n${PLAIN}2`, [1, 2]],
    ['of a ; at its end', `${PLAIN};`, [1]],
    ['of a ; before what looks like a comment', `${PLAIN};#${PLAIN}`, [1]],
    ['beside another entry', `${GOOD}; sha256:${OTHER}`, [2]],
  ])('takes no key without a name that is not alone, because %s', (_, text, at) => {
    const { keys, faults } = parseInlineKeys(text)
    expect(keys.map(({ entry }) => entry.name)).not.toContain('default')
    expect(faults).toEqual(at.map((at) => ({ at, expected: expect.stringContaining('without ; in it') })))
  })

  test('takes keys of 32 characters to the longest that is ever looked at', () => {
    for (const length of [32, MAX_KEY_LENGTH]) expect(inlineOf('k'.repeat(length))).toHaveLength(1)
    for (const length of [31, MAX_KEY_LENGTH + 1]) {
      expect(parseInlineKeys('k'.repeat(length))).toMatchObject({ keys: [], faults: [{ at: 1 }] })
    }
  })

  test.each([
    ['a comment alone', '# my-own-secret-key', 1],
    ['nothing but separators', ' ; ;\n', 1],
    ['a hash cut short', `${GOOD}; web sha256:${HASH.slice(1)} *:read`, 2],
    ['two words', `${GOOD}; name my-own-secret-key`, 2],
    ['a key with other characters', 'schlüssel-'.repeat(4), 1],
    ['a key twice, once hashed', `web ${PLAIN} *:read; again sha256:${hashOf(PLAIN)} *:read`, 2],
  ])('holding %s is a fault', (_, text, at) => {
    expect(parseInlineKeys(text).faults).toEqual([{ at, expected: expect.any(String) }])
  })
})

test('no fault repeats anything of an entry, wherever a key was put by mistake', () => {
  const text = fc.stringMatching(/^s3cr3t[!-:<-~]{0,40}$/)
  fc.assert(
    fc.property(text, (key) => {
      const attempts = [
        key,
        `${key} ${key}`,
        `${key} sha256:${HASH} *:read`,
        `name ${key} *:read`,
        `name sha256:${key} *:read`,
        `name sha256:${HASH} ${key}`,
        `name sha256:${HASH} *:read ${key}`,
        `name sha256:${HASH} *:read expires=${key}`,
      ]
      const faults = attempts.flatMap((line) => [...faultsOf(line), ...parseInlineKeys(line).faults])
      expect(faults.length).toBeGreaterThanOrEqual(attempts.length - 1)
      expect(JSON.stringify(faults)).not.toContain('s3cr3t')
    }),
    { numRuns: 200 },
  )
})
