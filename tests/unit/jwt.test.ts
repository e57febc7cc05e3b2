import { describe, expect, test } from 'bun:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { CredentialError } from '../../src/auth/authenticator.ts'
import { createJwtVerifier } from '../../src/auth/jwt.ts'
import { secret } from '../../src/lib/secret.ts'
import { base64url, secretKey, signedText, tokenOf } from '../support/tokens.ts'

const T0 = 1_800_000_000
const SECRET = 'a secret that is long enough for it, ключ'
const key = secretKey(SECRET)
const times = { iat: T0, exp: T0 + 300 }

function verifier(rules: { issuer?: string; audience?: string } = {}) {
  const log = () => undefined
  return createJwtVerifier({
    key: { secret: secret(SECRET) },
    issuer: null,
    audience: null,
    toleranceSeconds: 30,
    log: { debug: log, info: log, warn: log, error: log },
    clock: { nowMs: () => T0 * 1000 + 999, monotonicMs: () => 0 },
    ...rules,
  })
}

type Json = Record<string, unknown>
const made = (claims: Json = {}, header: Json = {}) => tokenOf(key, { ...times, ...claims }, header)

/** Why a token is refused: the reason, and what its sender is told. */
async function refusal(token: string, rules = {}): Promise<string> {
  const error = await verifier(rules)
    .verify(token)
    .catch((thrown) => thrown)
  expect(error).toBeInstanceOf(CredentialError)
  return `${error.refusal}: ${error.detail}`
}

describe('who a token stands for', () => {
  test('is its subject, under a name that no key and no anonymous caller can have', async () => {
    for (const sub of ['alice', 'anonymous', 'key:backend', '王', '🙂'.repeat(255), ' ', 'batch']) {
      const { scopes, ...principal } = await verifier().verify(await made({ sub }))
      expect(principal).toEqual({ kind: 'jwt', id: `user:${sub}`, subject: sub })
      expect([...scopes]).toEqual(['translation:read'])
    }
  })

  for (const sub of [undefined, null, '', 7, {}, ['alice'], 'a\nb', 'a\u0000', '\u0085', '🙂'.repeat(256)]) {
    test(`must be one that can be written down: not ${JSON.stringify(sub)?.slice(0, 12)}`, async () => {
      expect(await refusal(await made({ sub }))).toMatch(/^invalid: The token has no claim sub/)
    })
  }

  test('must be well-formed', async () => {
    const payload = base64url(JSON.stringify({ ...times, sub: 'x' }).replace('"x"', '"\\ud800"'))
    const token = await signedText(key, base64url({ alg: 'HS256' }), payload)
    expect(await refusal(token)).toMatch(/no claim sub/)
  })
})

describe('what a token may do', () => {
  for (const [claims, scopes] of [
    [{ scope: 'translation:read translation:write' }, ['translation:read', 'translation:write']],
    [{ scope: ['system:read'] }, ['system:read']],
    [{ scope: undefined, scp: 'audit:write' }, ['audit:write']],
    [{ scope: undefined, scp: ['audit:write', 'audit:read'] }, ['audit:read', 'audit:write']],
    [{ scope: 'users:read', scp: ['audit:read'] }, ['audit:read', 'users:read']],
    [{ scope: 'users:admin' }, ['users:admin', 'users:read', 'users:write']],
    [{ scope: ' openid  users:read email ' }, ['users:read']],
    [{ scope: 'payments:read translation translation:* admin' }, []],
    [{ scope: 'TRANSLATION:READ' }, []],
    [{ scope: ['users:read audit:read', 7, null, ['users:read']] }, []],
    [{ scope: { 'users:read': true } }, []],
    [{ scope: 7 }, []],
    [{ scope: '' }, []],
    [{ scope: undefined }, []],
    [{ scope: undefined, scopes: 'users:read', roles: ['users:read'] }, []],
  ] as [Json, string[]][]) {
    test(`is what scope and scp say, and words of others say nothing: ${JSON.stringify(claims)}`, async () => {
      const principal = await verifier().verify(await made(claims))
      expect([...principal.scopes].toSorted()).toEqual(scopes as never)
    })
  }
})

describe('when a token is good', () => {
  for (const [name, claims, answer] of [
    ['until its exp and the tolerance', { exp: T0 - 29 }, 'good'],
    ['and no second longer', { exp: T0 - 30 }, 'expired: The token has expired.'],
    ['even one that ended long ago', { exp: 0 }, 'expired: The token has expired.'],
    ['with an exp at all', { exp: undefined }, 'invalid: The token has no claim exp.'],
    ['which is a number', { exp: `${T0 + 300}` }, 'invalid: The token has a claim exp that is not a number.'],
    ['from its nbf less the tolerance', { nbf: T0 + 30 }, 'good'],
    ['and no second earlier', { nbf: T0 + 31 }, 'invalid: The token is not valid yet.'],
    [
      'with an nbf that is a number',
      { nbf: 'now' },
      'invalid: The token has a claim nbf that is not a number.',
    ],
    ['if the issuer is ahead by the tolerance', { iat: T0 + 30 }, 'good'],
    ['and no more', { iat: T0 + 31 }, 'invalid: The token was issued in the future.'],
    [
      'with an iat that is a number',
      { iat: null },
      'invalid: The token has a claim iat that is not a number.',
    ],
    ['without an iat', { iat: undefined }, 'good'],
  ] as [string, Json, string][]) {
    test(name, async () => {
      const token = await made(claims)
      if (answer === 'good') expect((await verifier().verify(token)).subject).toBe('alice')
      else expect(await refusal(token)).toBe(answer)
    })
  }
})

describe('whose tokens, and for whom', () => {
  const rules = { issuer: 'https://id.example', audience: 'texts' }
  const right = { iss: 'https://id.example', aud: 'texts' }

  test('is not asked where nothing is configured', async () => {
    expect((await verifier().verify(await made({ iss: 'x', aud: 'y' }))).subject).toBe('alice')
  })

  test('is compared to the letter where it is', async () => {
    for (const aud of ['texts', ['texts'], ['games', 'texts']]) {
      expect((await verifier(rules).verify(await made({ ...right, aud }))).subject).toBe('alice')
    }
    for (const iss of ['https://id.example/', 'https://ID.example', '', 7, ['https://id.example']]) {
      expect(await refusal(await made({ ...right, iss }), rules)).toBe(
        'invalid: The token is of another issuer.',
      )
    }
    for (const aud of ['text', 'texts ', '', 7, [], ['games'], [['texts']], { texts: true }]) {
      expect(await refusal(await made({ ...right, aud }), rules)).toBe(
        'invalid: The token is for another audience.',
      )
    }
    expect(await refusal(await made({ aud: 'texts' }), rules)).toBe('invalid: The token has no claim iss.')
    expect(await refusal(await made({ iss: right.iss }), rules)).toBe('invalid: The token has no claim aud.')
  })
})

describe('the header', () => {
  test('may name what kind of token it is, if that is one to come in with', async () => {
    for (const typ of [
      undefined,
      'JWT',
      'jwt',
      'at+jwt',
      'AT+JWT',
      'application/at+jwt',
      'application/jwt',
    ]) {
      expect((await verifier().verify(await made({}, { typ }))).subject).toBe('alice')
    }
    for (const typ of ['logout+jwt', 'dpop+jwt', 'secevent+jwt', 'JOSE', 'xjwt', '', 7, null, ['JWT']]) {
      expect(await refusal(await made({}, { typ }))).toMatch(/^invalid: The token is not an access token/)
    }
  })

  test('changes nothing by what it says of keys', async () => {
    const jwk = { kty: 'oct', k: base64url('something else') }
    const header = { kid: 'x', jku: 'https://evil.example', x5u: 'https://evil.example', x5c: ['AA'], jwk }
    expect((await verifier().verify(await made({}, header))).subject).toBe('alice')
    const forged = await tokenOf(secretKey('something else'), times, header)
    expect(await refusal(forged)).toBe('invalid: The token has a wrong signature.')
  })

  for (const header of [
    { crit: ['exp'], exp: T0 },
    { crit: ['x'], x: 1 },
    { crit: ['b64'], b64: false },
    { crit: ['b64'] },
    { crit: [] },
    { crit: 'b64', b64: true },
  ]) {
    test(`that asks for something unknown is refused: ${JSON.stringify(header)}`, async () => {
      expect(await refusal(await made({}, header))).toMatch(/^invalid: /)
    })
  }

  for (const alg of [
    'none',
    'None',
    'NONE',
    'nOnE',
    'hs256',
    'HS384',
    'HS512',
    'RS256',
    'ES256',
    'EdDSA',
    'dir',
  ]) {
    test(`never chooses how it is checked: ${alg}`, async () => {
      const right = await made({}, { alg })
      const unsigned = right.replace(/[^.]*$/, '')
      for (const token of [right, `${unsigned}AA`]) {
        expect(await refusal(token)).toBe('invalid: The token is not signed by HS256.')
      }
      expect(await refusal(unsigned)).toBe('invalid: The token is no signed JSON Web Token.')
    })
  }

  test('must say how it is signed, in a text', async () => {
    for (const alg of [undefined, null, 7, '', ['HS256'], { HS256: 1 }]) {
      expect(await refusal(await made({}, { alg }))).toMatch(/^invalid: /)
    }
  })
})

describe('what is no token', () => {
  const good = made()

  test('is refused, whatever it is, and never fails otherwise', async () => {
    const [head, payload, signature] = (await good).split('.')
    for (const text of [
      ...['', '.', '..', '...', 'x', 'a.b', 'a.b.c', 'a.b.c.d.e', '!.!.!', `${head}.${payload}`],
      ...[`${head}.${payload}.`, `.${payload}.${signature}`, `${head}..${signature}`, `${await good}.`],
      ...[`${head}.${payload}.${signature}=`, `${head}.${payload}.${signature}.${signature}`],
      ...[`${base64url('[]')}.${payload}.${signature}`, `${base64url('null')}.${payload}.${signature}`],
    ]) {
      expect(await refusal(text)).toMatch(/^invalid: /)
    }
    expect(await refusal('an-opaque-token')).toBe('invalid: The token is no signed JSON Web Token.')
  })

  test('is refused too where its signature is right', async () => {
    const head = base64url({ alg: 'HS256' })
    for (const payload of ['', '7', 'null', '[]', '"alice"', '{', '{}x', new Uint8Array([0xff, 0xfe])]) {
      expect(await refusal(await signedText(key, head, base64url(payload)))).toMatch(/^invalid: /)
    }
    const twice = base64url({ alg: 'none' }).concat('.')
    expect(await refusal(await signedText(key, twice, base64url({ ...times, sub: 'x' })))).toMatch(
      /^invalid: /,
    )
  })

  test('includes whatever is longer than a header should hold', async () => {
    const fill = async (length: number) => {
      const bare = (await made({ fill: '' })).length
      return made({ fill: 'x'.repeat(Math.floor(((length - bare) * 3) / 4)) })
    }
    expect((await fill(8192)).length).toBeGreaterThan(8185)
    expect((await verifier().verify(await fill(8192))).subject).toBe('alice')
    expect(await refusal(`${await fill(8192)}${'A'.repeat(8)}`)).toBe(
      'invalid: The token is longer than 8192 characters.',
    )
  })

  test('is what any change makes of a good one', async () => {
    const token = await good
    const characters = [...'ABCxyz019-_.']
    const bytes = (text: string) =>
      text.split('.').map((part) => Buffer.from(part, 'base64url').toString('hex'))
    await fc.assert(
      fc.asyncProperty(
        fc.nat(token.length - 1),
        fc.constantFrom(...characters, ''),
        async (at, character) => {
          const changed = token.slice(0, at) + character + token.slice(at + 1)
          // The last character of a part has bits that say nothing.
          if (bytes(changed).join('.') === bytes(token).join('.')) return
          expect(await refusal(changed)).toMatch(/^invalid: /)
        },
      ),
      { numRuns: 300 },
    )
  })
})

test('a refusal holds nothing of the token, nor of the secret, however it is printed', async () => {
  const claims = { sub: 'alice', email: 'alice@home.example', iss: 'https://id.example' }
  for (const token of [
    await made({ ...claims, exp: 1 }),
    await made({ ...claims, nbf: T0 * 2 }),
    await made({ ...claims, scope: undefined, sub: 'alice\n' }),
    await tokenOf(secretKey('another'), { ...times, ...claims }),
  ]) {
    const error = await verifier({ issuer: 'https://other.example' })
      .verify(token)
      .catch((thrown) => thrown)
    const printed = inspect(error, { depth: 10, showHidden: true }) + JSON.stringify(error)
    for (const part of [...token.split('.'), 'alice', 'home.example', 'id.example', SECRET]) {
      expect(printed).not.toContain(part)
    }
  }
})
