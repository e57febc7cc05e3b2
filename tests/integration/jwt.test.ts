/** Tokens through HTTP: by a secret, and by the keys of an issuer that is good, slow, wrong, attacked or away. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createPublicKey } from 'node:crypto'
import { freshFolder } from '../support/backends.ts'
import type { Answer } from '../support/http.ts'
import { type InProcess, rawRequest, startInProcess } from '../support/in_process.ts'
import { hangs, hangsHalfWay, openIssuer } from '../support/issuer.ts'
import { base64url, inSeconds, keyPair, secretKey, type TestKey, tokenOf } from '../support/tokens.ts'
import { until } from '../support/waiting.ts'

const READ = '/api/v1/translation/sessions'
const WRITE = '/api/v1/translation/sessions/batch'
const SECRET = 's3cr3t-'.repeat(8)
const AT_ONCE_MS = 1000
const UNKNOWN_KEY = 'The token is signed with a key that its issuer does not have.'
const NOT_A_TOKEN = 'The token is no signed JSON Web Token.'

let rsa: TestKey
let ec: TestKey
let ed: TestKey

beforeAll(async () => {
  rsa = await keyPair('RS256', { kid: 'rsa', members: { use: 'sig', alg: 'RS256' } })
  ec = await keyPair('ES256', { kid: 'ec', members: { use: 'sig' } })
  ed = await keyPair('EdDSA', { kid: 'ed' })
})

/** A service in a folder of its own, gone at the end of the test. */
async function started(env: Record<string, string>): Promise<InProcess & AsyncDisposable> {
  const folder = await freshFolder()
  const on = await startInProcess({ env: { ...folder.env, ...env } })
  return {
    ...on,
    async [Symbol.asyncDispose]() {
      await on.stop()
      await folder.drop()
    },
  }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

type Problem = Answer<Record<string, unknown>>

/** The answer to a read with this token. */
const read = (on: InProcess, token: string): Promise<Problem> => on.http.get(READ, bearer(token))

async function expectLetIn(on: InProcess, token: string): Promise<void> {
  const { status, text } = await read(on, token)
  expect([status, text]).toEqual([200, expect.stringContaining('"items"')])
}

function expectRefused({ status, headers, body }: Problem, detail: string | RegExp): void {
  expect([status, body.error_code, body.detail]).toEqual([
    401,
    'UNAUTHENTICATED',
    expect.stringMatching(detail) as never,
  ])
  expect(headers.get('www-authenticate')).toBe('Bearer realm="persistence-service", error="invalid_token"')
}

function expectUnavailable({ status, headers, body }: Problem): void {
  expect([status, body.error_code]).toEqual([503, 'AUTH_UNAVAILABLE'])
  expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(30)
  expect(headers.get('www-authenticate')).toBeNull()
}

async function timed<T>(work: Promise<T>): Promise<{ answer: T; ms: number }> {
  const from = performance.now()
  return { answer: await work, ms: performance.now() - from }
}

describe('by a secret', () => {
  let on: InProcess & AsyncDisposable
  const key = secretKey(SECRET)
  const rules = { JWT_SECRET: SECRET, JWT_ISSUER: 'https://id.example', JWT_AUDIENCE: 'texts' }
  const right = { iss: 'https://id.example', aud: 'texts' }
  const made = (claims = {}, header = {}) => tokenOf(key, { ...right, ...claims }, header)
  /** Everything that was sent and refused. */
  const sent: string[] = []

  beforeAll(async () => {
    on = await started({ ...rules, LOG_LEVEL: 'debug' })
  })
  afterAll(() => on[Symbol.asyncDispose]())

  test('a good token lets in, whatever its case and spaces before it; no token does not', async () => {
    await expectLetIn(on, await made())
    for (const authorization of [`bearer ${await made()}`, `BEARER   ${await made()}`]) {
      expect((await on.http.get(READ, { authorization })).status).toBe(200)
    }
    const none = await on.http.get(READ)
    expect(none.status).toBe(401)
    expect(none.headers.get('www-authenticate')).toBe('Bearer realm="persistence-service"')
  })

  test('its scopes open what they name: reading is not writing, and the answer says what is missing', async () => {
    const write = (scope: string | undefined, body: unknown = { sessions: [] }) =>
      made({ scope }).then((token) => on.http.post(WRITE, body, bearer(token)))
    const refused = await write('translation:read system:admin', '{ this is not JSON')
    expect([refused.status, refused.body]).toMatchObject([
      403,
      {
        error_code: 'FORBIDDEN',
        scope: 'translation:write',
        detail: 'This needs the scope translation:write.',
      },
    ])
    for (const scope of [undefined, '', 'openid email', 'translation:writes']) {
      expect((await write(scope)).status).toBe(403)
      expect((await read(on, await made({ scope: scope ?? null }))).status).toBe(403)
    }
    for (const scope of ['translation:write', 'openid translation:admin', '*:write']) {
      expect((await write(scope, '{ this is not JSON')).status).toBe(400)
    }
  })

  const wrong: [name: string, token: () => Promise<string> | string, detail: string | RegExp][] = [
    ['one that has expired', () => made({ exp: inSeconds(-31) }), 'has expired'],
    ['one that is not valid yet', () => made({ nbf: inSeconds(60) }), 'is not valid yet'],
    ['one of the future', () => made({ iat: inSeconds(60) }), 'was issued in the future'],
    ['one for ever', () => made({ exp: undefined }), 'has no claim exp'],
    ['one of nobody', () => made({ sub: undefined }), 'has no claim sub'],
    ['one of another issuer', () => made({ iss: 'https://evil.example' }), 'is of another issuer'],
    ['one for another audience', () => made({ aud: ['games'] }), 'is for another audience'],
    ['one for no audience', () => made({ aud: undefined }), 'has no claim aud'],
    ['one by another secret', () => tokenOf(secretKey(`${SECRET}!`), right), 'has a wrong signature'],
    ['one by an empty secret', () => tokenOf(secretKey(''), right), 'has a wrong signature'],
    ['one by a key pair', () => tokenOf(rsa, right), 'is not signed by HS256'],
    ['one that says it has no signature', () => made({}, { alg: 'none' }), 'is not signed by HS256'],
    ['one that has none', async () => (await made({}, { alg: 'none' })).replace(/[^.]*$/, ''), NOT_A_TOKEN],
    ['a header with something critical', () => made({}, { crit: ['x'], x: 1 }), 'can not be read'],
    ['one cut off', async () => (await made()).slice(0, -1), 'has a wrong signature'],
    ['one of two parts', async () => (await made()).replace(/\.[^.]*$/, ''), NOT_A_TOKEN],
    ['one that is too long', () => made({ fill: 'x'.repeat(8192) }), 'is longer than 8192 characters'],
    ['what is not base64', () => 'a~b.c~d.e~f', NOT_A_TOKEN],
    ['an opaque one', () => 'gho_16C7e42F292c6912E7710c838347Ae178B4a', NOT_A_TOKEN],
    [
      'one whose claims were changed',
      async () =>
        (await made()).replace(/\.[^.]*\./, `.${base64url({ ...right, exp: inSeconds(9), sub: 'root' })}.`),
      'has a wrong signature',
    ],
  ]
  for (const [name, token, detail] of wrong) {
    test(`nobody comes in with ${name}`, async () => {
      const made = await token()
      sent.push(made)
      expectRefused(await read(on, made), detail)
    })
  }

  test('what is no bearer token, or not the only credential, is a malformed request', async () => {
    const token = await made()
    for (const headers of [
      { authorization: `Basic ${base64url('alice:secret')}` },
      { authorization: 'Bearer' },
      { authorization: `Bearer ${token} ${token}` },
      { authorization: `Bearer ${token}, Bearer ${token}` },
      { authorization: `Bearer "${token}"` },
      { authorization: token },
      { ...bearer(token), 'x-api-key': 'some-key-that-is-long-enough-for-one' },
    ]) {
      const { status, body } = await on.http.get(READ, headers)
      expect([status, body.error_code]).toEqual([400, 'MALFORMED_REQUEST'])
    }
    expect((await on.http.get(`${READ}?access_token=${token}`)).status).toBe(400)
  })

  test('a header of 100 kB is refused by whoever meets it first', async () => {
    const { status } = await read(on, `${await made()}${'A'.repeat(100_000)}`)
    expect([401, 431]).toContain(status)
  })

  test('who was refused is counted by reason, and nothing of a token is in the log', async () => {
    const { text } = await on.http.get('/api/v1/system/metrics', bearer(await made({ scope: 'system:read' })))
    for (const reason of ['expired', 'invalid', 'missing', 'scope']) {
      expect(text).toMatch(new RegExp(`^persistence_auth_refused_total\\{reason="${reason}"\\} [1-9]`, 'm'))
    }
    const log = JSON.stringify(on.logs)
    expect(sent.length).toBe(wrong.length)
    for (const part of sent.flatMap((token) => token.split('.')).filter((part) => part.length > 20)) {
      expect(log).not.toContain(part)
    }
    expect(on.logs.filter(({ level }) => level === 'ERROR' || level === 'WARN')).toEqual([])
  })
})

describe("by an issuer's keys", () => {
  test('tokens of each kind let in; the keys were there before the first of them', async () => {
    await using issuer = openIssuer(rsa, ec, ed)
    await using on = await started({ JWT_JWKS_URL: issuer.url, JWT_AUDIENCE: 'texts' })
    await until(() => issuer.asked === 1, { message: 'the keys are asked for' })
    for (const key of [rsa, ec, ed]) {
      await expectLetIn(on, await tokenOf(key, { aud: 'texts' }))
      await expectLetIn(
        on,
        await tokenOf(key, { aud: ['games', 'texts'] }, { kid: undefined, typ: 'at+jwt' }),
      )
      expectRefused(await read(on, await tokenOf(key)), 'has no claim aud')
      expectRefused(await read(on, await tokenOf(key, { aud: 'texts', exp: inSeconds(-60) })), 'has expired')
    }
    expect(issuer.asked).toBe(1)
    expect(on.logs.filter(({ level }) => level !== 'INFO' && level !== 'DEBUG')).toEqual([])
  })

  test('nothing that a token says makes it one by a secret, by another key, or by a key of its own', async () => {
    await using issuer = openIssuer(rsa, ec, ed)
    await using evil = openIssuer()
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    await expectLetIn(on, await tokenOf(rsa))
    const spki = createPublicKey({ key: rsa.jwk as never, format: 'jwk' })
    const pem = spki.export({ type: 'spki', format: 'pem' }) as string
    for (const known of [
      ...[
        pem,
        pem.trim(),
        spki.export({ type: 'spki', format: 'der' }),
        spki.export({ type: 'pkcs1', format: 'pem' }),
      ],
      ...[JSON.stringify(rsa.jwk), rsa.jwk.n as string, Buffer.from(rsa.jwk.n as string, 'base64url'), ''],
    ]) {
      expectRefused(
        await read(on, await tokenOf(secretKey(known, 'rsa'))),
        'is not signed by RS256, ES256, EdDSA',
      )
    }
    for (const alg of [
      'none',
      'NONE',
      'nonE',
      'None',
      'RS384',
      'PS256',
      'ES384',
      'HS256',
      'rs256',
      'Ed25519',
    ]) {
      const token = await tokenOf(rsa, {}, { alg })
      expectRefused(await read(on, token), 'is not signed by')
      expectRefused(await read(on, token.replace(/[^.]*$/, 'AA')), 'is not signed by')
    }
    const own = await keyPair('RS256', { kid: 'rsa' })
    evil.keys = [own]
    const claims = { sub: 'root', scope: '*:admin' }
    for (const header of [
      {},
      { jwk: own.jwk },
      { jku: evil.url },
      { x5u: evil.url },
      { kid: evil.url },
      { jku: evil.url, x5u: evil.url, jwk: own.jwk, kid: undefined },
      { x5c: [base64url('a certificate')], 'x5t#S256': 'AA' },
      { jwk: own.jwk, crit: ['jwk'] },
    ]) {
      const { status } = await read(on, await tokenOf(own, claims, header))
      expect([header, status]).toEqual([header, 401])
    }
    for (const [key, kid] of [
      [ec, 'rsa'],
      [rsa, 'ec'],
      [ed, 'ec'],
      [ec, 'ed'],
    ] as const) {
      expectRefused(await read(on, await tokenOf(key, {}, { kid })), UNKNOWN_KEY)
    }
    expect(evil.asked).toBe(0)
    expect(issuer.asked).toBeLessThanOrEqual(2)
  })

  test('only keys that are for signatures of that kind, strong, and public, count', async () => {
    const [forSecrecy, other, weak, shared] = await Promise.all([
      keyPair('RS256', { kid: 'enc', members: { use: 'enc' } }),
      keyPair('RS256', { kid: 'ps', members: { alg: 'PS256' } }),
      keyPair('RS256', { kid: 'weak', bits: 1024 }),
      keyPair('RS256', { kid: 'shared' }),
    ])
    const curve = await keyPair('ES256', { kid: 'p384', curve: 'P-384' })
    const cannot = await keyPair('ES256', { kid: 'ops', members: { key_ops: ['encrypt'] } })
    const secret = secretKey('known to all', 'oct')
    secret.jwk = { kty: 'oct', kid: 'oct', k: base64url('known to all') }
    await using issuer = openIssuer(forSecrecy, other, weak, shared, curve, cannot, secret, ec)
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    for (const key of [forSecrecy, other, curve, cannot]) {
      expectRefused(await read(on, await tokenOf(key)), UNKNOWN_KEY)
    }
    expectRefused(await read(on, await tokenOf(weak)), 'can not be read or checked')
    expectRefused(await read(on, await tokenOf(secret)), 'is not signed by')
    // The bad ones don't stand in the way of the good ones, even where none is named.
    for (const key of [shared, ec]) {
      await expectLetIn(on, await tokenOf(key))
      await expectLetIn(on, await tokenOf(key, {}, { kid: undefined }))
    }
    expectRefused(await read(on, await tokenOf(weak, {}, { kid: undefined })), 'has a wrong signature')
    const expired = await tokenOf(shared, { exp: 1 }, { kid: undefined })
    expectRefused(await read(on, expired), 'has expired')
  })

  test('500 unknown keys at once make the issuer be asked once more, and hold nobody up', async () => {
    await using issuer = openIssuer(ec)
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    const tokens = await Promise.all(Array.from({ length: 500 }, (_, n) => tokenOf(ec, {}, { kid: `x${n}` })))
    // Each on a connection of its own: `fetch` would queue most of them, and the service's own question too.
    const attack = async () => {
      const requests = tokens.map((token) => ({ method: 'GET', target: READ, headers: bearer(token) }))
      for (const answer of await Promise.all(requests.map((request) => rawRequest(on.url, request)))) {
        expectRefused(answer, UNKNOWN_KEY)
      }
    }
    await attack()
    expect(issuer.asked).toBe(2)
    await attack()
    expect(issuer.asked).toBe(2)
    await expectLetIn(on, await tokenOf(ec))
  })

  test('a new key works from its first token on, and one that is gone by then no longer', async () => {
    await using issuer = openIssuer(rsa, ec)
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    await expectLetIn(on, await tokenOf(rsa))
    const next = await keyPair('ES256', { kid: 'next' })
    issuer.keys = [ec, next]
    const token = await tokenOf(next)
    const answers = await Promise.all(Array.from({ length: 20 }, () => read(on, token)))
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200))
    expect(issuer.asked).toBe(2)
    await expectLetIn(on, await tokenOf(ec))
    expectRefused(await read(on, await tokenOf(rsa)), UNKNOWN_KEY)
  })

  test('without an audience any token of the issuer is accepted, and the start warns of that', async () => {
    await using issuer = openIssuer(ec)
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    await expectLetIn(on, await tokenOf(ec, { aud: 'games' }))
    const warnings = on.logs.filter(({ level }) => level === 'WARN').map(({ message }) => message)
    expect(warnings).toEqual([
      'tokens that the issuer made for others are accepted too: no audience is configured',
    ])
  })
})

describe('an issuer that does not give its keys', () => {
  for (const [name, answer] of [
    ['never answers', hangs],
    ['stops half-way', hangsHalfWay],
  ] as const) {
    test(`and ${name} costs the first requests 5 s, and no other any time`, async () => {
      await using issuer = openIssuer(ec)
      issuer.answer = answer
      await using on = await started({ JWT_JWKS_URL: issuer.url })
      const token = await tokenOf(ec)
      const first = Promise.all(Array.from({ length: 50 }, () => timed(read(on, token))))
      const health = await timed(on.http.get('/health'))
      expect(health.answer.status).toBe(200)
      expect(health.ms).toBeLessThan(AT_ONCE_MS)
      for (const { answer, ms } of await first) {
        expectUnavailable(answer)
        expect(ms).toBeLessThan(6000)
      }
      for (let n = 0; n < 20; n++) {
        const { answer, ms } = await timed(read(on, token))
        expectUnavailable(answer)
        expect(ms).toBeLessThan(AT_ONCE_MS)
      }
      expect(issuer.asked).toBeLessThanOrEqual(2)
      expectRefused(await read(on, await tokenOf(secretKey(SECRET))), 'is not signed by')
    })
  }

  for (const [name, answer] of [
    ['fails', () => new Response('oh', { status: 500 })],
    ['answers a page', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
    ['answers 2 MiB', () => new Response(`{"keys":[],"x":"${'x'.repeat(2 ** 21)}"}`)],
    ['answers 2 MiB, packed', () => packed(`{"keys":[],"x":"${'x'.repeat(2 ** 21)}"}`)],
  ] as const) {
    test(`because it ${name} is taken up again once it does`, async () => {
      await using issuer = openIssuer(ec)
      issuer.answer = answer
      await using on = await started({ JWT_JWKS_URL: issuer.url })
      const token = await tokenOf(ec)
      expectUnavailable(await read(on, token))
      expect(on.logs.filter(({ level }) => level === 'ERROR')).not.toEqual([])
      issuer.answer = null
      await until(async () => (await read(on, token)).status === 200, { message: 'the token lets in' })
    })
  }

  test('but sends elsewhere is not followed there', async () => {
    await using elsewhere = openIssuer(ec)
    await using issuer = openIssuer()
    issuer.answer = () => Response.redirect(elsewhere.url, 302)
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    expectUnavailable(await read(on, await tokenOf(ec)))
    expect(elsewhere.asked).toBe(0)
  })

  test('because it is down when the service starts is found when it comes', async () => {
    await using issuer = openIssuer(ec)
    await issuer.goDown()
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    const token = await tokenOf(ec)
    expectUnavailable(await read(on, token))
    issuer.comeUp()
    await until(async () => (await read(on, token)).status === 200, { message: 'the token lets in' })
  })

  test('any more leaves those that are known in use; whoever shows another is told to wait', async () => {
    await using issuer = openIssuer(ec)
    await using on = await started({ JWT_JWKS_URL: issuer.url })
    await expectLetIn(on, await tokenOf(ec))
    await issuer.goDown()
    const unknown = await tokenOf(ed)
    for (let n = 0; n < 20; n++) {
      await expectLetIn(on, await tokenOf(ec, { sub: `user-${n}` }))
      const { answer, ms } = await timed(read(on, unknown))
      expectUnavailable(answer)
      expect(ms).toBeLessThan(AT_ONCE_MS)
    }
    issuer.keys = [ec, ed]
    issuer.comeUp()
    await until(async () => (await read(on, unknown)).status === 200, { message: 'the new key is found' })
  })
})

function packed(text: string): Response {
  return new Response(Bun.gzipSync(Buffer.from(text)), { headers: { 'content-encoding': 'gzip' } })
}
