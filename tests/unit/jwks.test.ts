import { afterEach, beforeAll, beforeEach, describe, expect, jest, test } from 'bun:test'
import { createIssuerKeys } from '../../src/auth/jwks.ts'
import { AppError } from '../../src/lib/errors.ts'
import type { LogFields } from '../../src/lib/log.ts'
import { settle } from '../support/contract_gates.ts'
import { hangs, hangsHalfWay } from '../support/issuer.ts'
import { keyPair, type TestKey } from '../support/tokens.ts'

const MINUTE = 60_000
let first: TestKey
let second: TestKey

beforeAll(async () => {
  first = await keyPair('EdDSA', { kid: 'first' })
  second = await keyPair('EdDSA', { kid: 'second' })
})
beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

/** An issuer of which the test says what it publishes, and the keys that are had of it. */
function world({ url = 'https://id.example/keys?of=us' } = {}) {
  const it = {
    published: [first],
    /** What the issuer answers instead of its keys. */
    answer: null as (() => Response | Promise<Response>) | null,
    asked: 0,
    lastUrl: '',
    lastRequest: {} as RequestInit,
    nowMs: 5000,
    logs: [] as string[],
    /** All else that the log lines hold. */
    printed: '',
    keys: undefined as unknown as ReturnType<typeof createIssuerKeys>,
    /** Until the last answer was read, or does not come: what is aborted is done with. */
    async quiet() {
      for (let n = 0; n < 20 && !it.lastRequest.signal?.aborted; n++) await settle()
      await settle()
    },
    /** In steps that are shorter than a deadline: an answer that is there is read at once. */
    async pass(ms: number) {
      for (let left = ms; left > 0; left -= 1000) {
        const step = Math.min(left, 1000)
        it.nowMs += step
        jest.advanceTimersByTime(step)
        if (!it.lastRequest.signal?.aborted) await it.quiet()
      }
      await it.quiet()
    },
    /** What becomes of a token that names the key of that name. */
    async look(kid: string): Promise<string> {
      try {
        const key = await it.keys.find({ alg: 'EdDSA', kid }, { payload: '', signature: '' })
        return key instanceof CryptoKey ? 'found' : 'odd'
      } catch (error) {
        if (!(error instanceof AppError)) return (error as { code: string }).code
        return `${error.code} ${error.headers['Retry-After']}`
      }
    },
  }
  const told = (level: string) => (message: string, fields?: LogFields) => {
    it.logs.push(`${level}: ${message}`)
    it.printed += JSON.stringify(fields)
  }
  it.keys = createIssuerKeys({
    url: new URL(url),
    log: { debug: told('debug'), info: told('info'), warn: told('warn'), error: told('error') },
    monotonicMs: () => it.nowMs,
    async fetch(asked, request) {
      it.asked++
      it.lastUrl = asked.href
      it.lastRequest = request
      return (await it.answer?.()) ?? Response.json({ keys: it.published.map(({ jwk }) => jwk) })
    },
  })
  return it
}

const UNKNOWN = 'ERR_JWKS_NO_MATCHING_KEY'
const UNAVAILABLE = 'AUTH_UNAVAILABLE'
const down = () => Promise.reject(new TypeError('connection refused'))

async function started() {
  const w = world()
  w.keys.start()
  await w.quiet()
  return w
}

describe('the first keys', () => {
  test('are fetched at the start, so that no request has to', async () => {
    const w = await started()
    expect(w.asked).toBe(1)
    expect(await w.look('first')).toBe('found')
    expect(w.asked).toBe(1)
    expect(w.logs).toEqual([])
  })

  test('are waited for together', async () => {
    const w = world()
    const { promise, resolve } = Promise.withResolvers<Response>()
    w.answer = () => promise
    w.keys.start()
    const looks = Array.from({ length: 500 }, () => w.look('first'))
    await w.quiet()
    resolve(Response.json({ keys: [first.jwk] }))
    expect(new Set(await Promise.all(looks))).toEqual(new Set(['found']))
    expect(w.asked).toBe(1)
  })

  for (const [name, answer] of [
    ['nothing at all', hangs],
    ['headers, and then nothing', hangsHalfWay],
  ] as const) {
    test(`are waited for no longer than 5 s, and from then on not at all: ${name}`, async () => {
      const w = world()
      w.answer = answer
      w.keys.start()
      const waiting = [w.look('first'), w.look('first')]
      const settled: string[] = []
      for (const one of waiting) void one.then((outcome) => settled.push(outcome))
      await w.pass(4999)
      expect(settled).toEqual([])
      await w.pass(1)
      expect(settled).toEqual([`${UNAVAILABLE} 1`, `${UNAVAILABLE} 1`])
      expect(w.lastRequest.signal?.aborted).toBe(true)
      // Neither between the attempts, nor while the next one hangs too.
      expect(await w.look('first')).toBe(`${UNAVAILABLE} 1`)
      await w.pass(1000)
      expect(w.asked).toBe(2)
      expect(await w.look('first')).toBe(`${UNAVAILABLE} 1`)
      expect(w.asked).toBe(2)
    })
  }

  for (const [name, answer] of Object.entries({
    'no connection': down,
    'the status 500': () => new Response('{"keys":[]}', { status: 500 }),
    'the status 204': () => new Response(null, { status: 204 }),
    'a redirect': () => Response.redirect('https://evil.example/keys', 302),
    'no JSON': () => new Response('<html>'),
    'half of it': () => new Response('{"keys":['),
    nothing: () => new Response(''),
    'no set': () => Response.json([]),
    null: () => Response.json(null),
    'keys that are no list': () => Response.json({ keys: {} }),
    'keys that are no keys': () => Response.json({ keys: ['first'] }),
    '2 MiB': () => new Response(`{"keys":[]}${' '.repeat(2 ** 21)}`),
  })) {
    test(`are tried for until they are there, while requests are told to wait: ${name}`, async () => {
      const w = world()
      w.answer = answer
      w.keys.start()
      await w.quiet()
      expect(await w.look('first')).toBe(`${UNAVAILABLE} 1`)
      for (let n = 0; n < 100; n++) await w.look('other')
      expect(w.asked).toBe(1)
      expect(w.logs).toEqual(['error: keys of the token issuer not to be had: no token can be checked'])
      for (let n = 0; n < 20; n++) await w.pass(30_000)
      const { asked } = w
      expect(asked).toBeGreaterThan(10)
      expect(asked).toBeLessThan(60)
      w.answer = null
      await w.pass(30_000)
      expect(await w.look('first')).toBe('found')
      expect(w.logs.at(-1)).toBe('info: keys of the token issuer are there again')
    })
  }

  test('are asked for where the configuration says, and nowhere else; the log keeps its query to itself', async () => {
    const w = world()
    w.answer = down
    w.keys.start()
    await w.quiet()
    expect(w.lastUrl).toBe('https://id.example/keys?of=us')
    expect(w.lastRequest.redirect).toBe('manual')
    expect(JSON.parse(w.printed).meta).toEqual({
      url: 'https://id.example/keys',
      error: 'connection refused',
    })
  })
})

describe('keys that are there', () => {
  test('are renewed every ten minutes: what the issuer withdraws is no good from then on', async () => {
    const w = await started()
    w.published = [second]
    await w.pass(10 * MINUTE - 1)
    expect(await w.look('first')).toBe('found')
    expect(w.asked).toBe(1)
    await w.pass(1)
    expect(w.asked).toBe(2)
    expect(await w.look('second')).toBe('found')
    expect(await w.look('first')).toBe(UNKNOWN)
    await w.pass(10 * MINUTE)
    expect(w.asked).toBe(4) // the look at the unknown one, and the timer again
  })

  test('keep nobody waiting while they are renewed', async () => {
    const w = await started()
    w.answer = hangs
    await w.pass(10 * MINUTE)
    expect(w.asked).toBe(2)
    expect(await w.look('first')).toBe('found')
  })

  test('outlive the issuer, which is tried again less and less often', async () => {
    const w = await started()
    w.answer = down
    await w.pass(10 * MINUTE)
    for (let minute = 0; minute < 60; minute++) {
      await w.pass(MINUTE)
      expect(await w.look('first')).toBe('found')
    }
    expect(w.asked).toBeLessThan(10 + 4 * 60)
    expect(new Set(w.logs)).toEqual(
      new Set(['warn: keys of the token issuer not renewed: those of before stay in use']),
    )
    w.answer = null
    w.published = [second]
    await w.pass(30_000)
    expect(await w.look('first')).toBe(UNKNOWN)
    expect(await w.look('second')).toBe('found')
    // The next outage is another one.
    w.answer = down
    await w.pass(10 * MINUTE)
    const { asked } = w
    await w.pass(1000)
    expect(w.asked).toBe(asked + 1)
  })

  test('are not used for ever: who can keep the issuer away can not keep a withdrawn key in use', async () => {
    const w = await started()
    w.answer = down
    for (let hour = 0; hour < 24; hour++) await w.pass(60 * MINUTE)
    expect(await w.look('first')).toBe('found')
    await w.pass(MINUTE)
    expect(await w.look('first')).toStartWith(UNAVAILABLE)
  })

  test('may all be withdrawn: that is what an issuer does whose keys were stolen', async () => {
    const w = await started()
    w.published = []
    await w.pass(10 * MINUTE)
    expect(await w.look('first')).toBe(UNKNOWN)
    expect(w.logs).toContain('warn: the token issuer has no keys: no token is accepted')
  })
})

describe('a key that is not there', () => {
  test('is looked for at once, for all who wait: a new one works from its first token on', async () => {
    const w = await started()
    w.published = [first, second]
    const looks = await Promise.all(Array.from({ length: 500 }, () => w.look('second')))
    expect(new Set(looks)).toEqual(new Set(['found']))
    expect(w.asked).toBe(2)
  })

  test('makes the issuer be asked once in 30 s, however many are named', async () => {
    const w = await started()
    const attack = (names: string) => Promise.all(Array.from({ length: 500 }, (_, n) => w.look(names + n)))
    expect(new Set(await attack('a'))).toEqual(new Set([UNKNOWN]))
    expect(w.asked).toBe(2)
    await w.pass(29_999)
    await attack('b')
    expect(w.asked).toBe(2)
    await w.pass(1)
    await attack('c')
    expect(w.asked).toBe(3)
    expect(await w.look('first')).toBe('found')
  })

  test('is waited for only by those who name it', async () => {
    const w = await started()
    w.answer = hangs
    const look = w.look('second')
    await w.quiet()
    expect(await w.look('first')).toBe('found')
    await w.pass(5000)
    expect(await look).toBe(`${UNAVAILABLE} 1`)
  })

  test('may be a good one where the issuer can not be asked: its tokens are told to wait', async () => {
    const w = await started()
    w.answer = down
    expect(await w.look('second')).toBe(`${UNAVAILABLE} 1`)
    for (let n = 0; n < 500; n++) expect(await w.look(`x${n}`)).toBe(`${UNAVAILABLE} 1`)
    expect(w.asked).toBe(2)
    expect(await w.look('first')).toBe('found')
    w.answer = null
    w.published = [second]
    await w.pass(1000)
    expect(await w.look('second')).toBe('found')
  })

  test("is the token's affair: other ways of signing look for nothing", async () => {
    const w = await started()
    const find = w.keys.find({ alg: 'HS256', kid: 'first' }, { payload: '', signature: '' })
    expect(await Promise.resolve(find).catch(({ code }) => code)).toBe('ERR_JOSE_NOT_SUPPORTED')
    expect(w.asked).toBe(1)
  })
})

describe('the end', () => {
  test('leaves no timer', async () => {
    const w = await started()
    w.keys.stop()
    expect(jest.getTimerCount()).toBe(0)
  })

  test('waits for no answer, and tells of no failure', async () => {
    const w = world()
    const { promise, reject } = Promise.withResolvers<Response>()
    w.answer = () => {
      w.lastRequest.signal?.addEventListener('abort', () => reject(new TypeError('aborted')))
      return promise
    }
    w.keys.start()
    await w.quiet()
    w.keys.stop()
    expect(w.lastRequest.signal?.aborted).toBe(true)
    await w.quiet()
    expect(jest.getTimerCount()).toBe(0)
    expect(w.logs).toEqual([])
  })

  test('is not undone by an answer that comes after it', async () => {
    const w = world()
    const { promise, resolve } = Promise.withResolvers<Response>()
    w.answer = () => promise
    w.keys.start()
    await w.quiet()
    w.keys.stop()
    resolve(Response.json({ keys: [] }))
    await w.quiet()
    expect(jest.getTimerCount()).toBe(0)
    expect(w.asked).toBe(1)
  })
})

test('keys over plain http are warned of, unless they come from this machine', () => {
  for (const [url, warned] of [
    ['http://id.example/keys', true],
    ['http://localhost.example/keys', true],
    ['http://127.0.0.1.example/keys', true],
    ['http://10.0.0.1/keys', true],
    ['https://id.example/keys', false],
    ['http://localhost:8080/keys', false],
    ['http://id.localhost/keys', false],
    ['http://127.1.2.3/keys', false],
    ['http://[::1]:80/keys', false],
  ] as const) {
    const w = world({ url })
    w.keys.start()
    w.keys.stop()
    expect([url, w.logs.length > 0]).toEqual([url, warned])
  }
})
