/** Rate limits: who is counted by what, how much is let through, and what a refusal says. */
import { afterEach, describe, expect, setSystemTime, test } from 'bun:test'
import { ANYONE, NOBODY, type Principal } from '../../src/auth/principal.ts'
import { createMemoryLimiter } from '../../src/http/memory_limiter.ts'
import {
  createRateLimits,
  type Limit,
  type LimiterOptions,
  noRateLimits,
  type Requester,
} from '../../src/http/rate_limit.ts'
import { AppError } from '../../src/lib/errors.ts'

const keyPrincipal = (name: string): Principal => ({
  ...NOBODY,
  kind: 'api_key',
  id: `key:${name}`,
})
const subject = (name: string): Principal => ({ ...NOBODY, kind: 'jwt', id: `user:${name}`, subject: name })

const LIMITS = { address: 3, key: 5, session: 2 }

function limitsOf(points: Record<Limit, number> = LIMITS) {
  const limited: Limit[] = []
  /** Everything that was counted, in order: limiter and key. */
  const taken: string[] = []
  const limits = createRateLimits({
    points,
    createLimiter(options: LimiterOptions) {
      const limiter = createMemoryLimiter(options)
      return {
        take(key) {
          taken.push(`${options.name} ${key}`)
          return limiter.take(key)
        },
      }
    },
    events: { onLimited: (limit) => limited.push(limit) },
  })
  /** The headers, or the refusal. */
  const ask = async (requester: Partial<Requester>) => {
    const given = { principal: NOBODY, address: '203.0.113.1', session: null, ...requester }
    try {
      return await limits.take(given)
    } catch (error) {
      if (error instanceof AppError) return error
      throw error
    }
  }
  /** How many of so many requests are let through. */
  const letThrough = async (times: number, requester: Partial<Requester>) => {
    const answers = await Promise.all(Array.from({ length: times }, () => ask(requester)))
    return answers.filter((answer) => !(answer instanceof AppError)).length
  }
  return { limits, ask, letThrough, limited, taken }
}

afterEach(() => void setSystemTime())

describe('who is counted by what', () => {
  test('without a credential by the address, whether or not one is needed', async () => {
    const { letThrough } = limitsOf()
    expect(await letThrough(2, { principal: NOBODY })).toBe(2)
    expect(await letThrough(9, { principal: ANYONE })).toBe(1)
    expect(await letThrough(9, { principal: ANYONE, address: '203.0.113.2' })).toBe(3)
  })

  test('with a credential by the key or the subject, wherever it comes from', async () => {
    const { letThrough } = limitsOf()
    for (const principal of [keyPrincipal('a'), keyPrincipal('b'), subject('a')]) {
      expect(await letThrough(3, { principal, address: '203.0.113.1' })).toBe(3)
      expect(await letThrough(9, { principal, address: '203.0.113.2' })).toBe(2)
    }
    expect(await letThrough(9, {})).toBe(3)
  })

  test('IPv6 addresses of one /64 together', async () => {
    const { letThrough } = limitsOf()
    expect(await letThrough(2, { address: '2001:db8::1' })).toBe(2)
    expect(await letThrough(9, { address: '2001:db8::2' })).toBe(1)
    expect(await letThrough(9, { address: '2001:db8:0:1::1' })).toBe(3)
  })

  test('all whose address is not known together', async () => {
    const { letThrough } = limitsOf()
    expect(await letThrough(9, { address: null })).toBe(3)
    expect(await letThrough(9, { address: null, principal: keyPrincipal('a') })).toBe(5)
  })

  test('a session by who asks: nobody uses up what another one has', async () => {
    const { letThrough } = limitsOf()
    const session = 's'
    expect(await letThrough(4, { session, principal: keyPrincipal('a') })).toBe(2)
    expect(await letThrough(4, { session, principal: keyPrincipal('b') })).toBe(2)
    expect(await letThrough(4, { session })).toBe(2)
    expect(await letThrough(4, { session, address: '203.0.113.2' })).toBe(2)
    // A name that looks like another's name and session is still a name.
    expect(await letThrough(4, { session: 's', principal: subject('x y') })).toBe(2)
    expect(await letThrough(4, { session: 'y s', principal: subject('x') })).toBe(2)
  })

  test('the caller first: sessions that were made up are paid for', async () => {
    const { letThrough, limited, taken } = limitsOf()
    for (let n = 0; n < 3; n++) expect(await letThrough(1, { session: `made-up-${n}` })).toBe(1)
    expect(await letThrough(1, { session: 'real' })).toBe(0)
    expect(limited).toEqual(['address'])
    expect(taken.filter((one) => one.startsWith('session')).length).toBe(3)
  })

  test('by no more than 128 characters, however long a name is, and every one by itself', async () => {
    const { letThrough, taken } = limitsOf()
    const long = 'x'.repeat(100_000)
    for (const end of ['a', 'b']) {
      expect(await letThrough(9, { principal: subject(long + end) })).toBe(5)
      expect(await letThrough(9, { principal: keyPrincipal(end), session: long + end })).toBe(2)
    }
    expect(Math.max(...taken.map((one) => one.length))).toBeLessThan(140)
  })
})

describe('what is let through', () => {
  test('exactly the limit of a thousand requests at once', async () => {
    const { letThrough, limited } = limitsOf({ address: 100, key: 1, session: 1 })
    expect(await letThrough(1000, {})).toBe(100)
    expect(limited.length).toBe(900)
  })

  test('all of it again a minute after the first request, and not before', async () => {
    const start = Date.now()
    setSystemTime(new Date(start))
    const { letThrough } = limitsOf()
    expect(await letThrough(3, {})).toBe(3)
    setSystemTime(new Date(start + 59_999))
    expect(await letThrough(3, {})).toBe(0)
    setSystemTime(new Date(start + 60_000))
    expect(await letThrough(9, {})).toBe(3)
  })

  test('everything where limits are off, with no header', async () => {
    expect(noRateLimits.enabled).toBe(false)
    for (let n = 0; n < 1000; n++) {
      expect(await noRateLimits.take({ principal: NOBODY, address: null, session: 's' })).toEqual({})
    }
  })
})

describe('what the headers say', () => {
  test('the limit, what is left of it, and when it begins anew', async () => {
    const start = Date.now()
    setSystemTime(new Date(start))
    const { ask } = limitsOf()
    const headers = { 'RateLimit-Limit': '3', 'RateLimit-Policy': '3;w=60' }
    expect(await ask({})).toEqual({ ...headers, 'RateLimit-Remaining': '2', 'RateLimit-Reset': '60' })
    setSystemTime(new Date(start + 30_001))
    expect(await ask({})).toEqual({ ...headers, 'RateLimit-Remaining': '1', 'RateLimit-Reset': '30' })
  })

  test('of two limits the one that is nearer, and both policies', async () => {
    const { ask } = limitsOf({ address: 4, key: 1, session: 2 })
    const both = { 'RateLimit-Policy': '4;w=60, 2;w=60' }
    expect(await ask({ session: 's' })).toMatchObject({
      ...both,
      'RateLimit-Limit': '2',
      'RateLimit-Remaining': '1',
    })
    await ask({})
    await ask({})
    expect(await ask({ session: 't' })).toMatchObject({
      ...both,
      'RateLimit-Limit': '4',
      'RateLimit-Remaining': '0',
    })
  })

  test('of two that are as near, the one that lasts longer', async () => {
    const start = Date.now()
    setSystemTime(new Date(start))
    const { ask } = limitsOf({ address: 3, key: 1, session: 2 })
    await ask({})
    setSystemTime(new Date(start + 20_000))
    expect(await ask({ session: 's' })).toMatchObject({ 'RateLimit-Limit': '2', 'RateLimit-Reset': '60' })
  })
})

describe('a refusal', () => {
  const requesters: Record<Limit, Partial<Requester>> = {
    address: {},
    key: { principal: keyPrincipal('a') },
    session: { session: 's' },
  }
  const details: Record<Limit, string> = {
    address: 'More than 3 requests a minute from this address.',
    key: 'More than 5 requests a minute with this credential.',
    session: 'More than 2 queries a minute of this session.',
  }

  for (const limit of ['address', 'key', 'session'] as const) {
    test(`says which limit it was, and when to come back: ${limit}`, async () => {
      const start = Date.now()
      setSystemTime(new Date(start))
      const { ask, letThrough, limited } = limitsOf()
      await letThrough(LIMITS[limit], requesters[limit])
      expect(limited).toEqual([])
      setSystemTime(new Date(start + 12_345))
      const refusal = (await ask(requesters[limit])) as AppError
      expect(refusal.code).toBe('RATE_LIMITED')
      expect(refusal.detail).toBe(details[limit])
      expect(refusal.members).toEqual({ limit })
      expect(refusal.headers).toEqual({
        'Retry-After': '48',
        'RateLimit-Limit': String(LIMITS[limit]),
        'RateLimit-Remaining': '0',
        'RateLimit-Reset': '48',
        'RateLimit-Policy': limit === 'session' ? '3;w=60, 2;w=60' : `${LIMITS[limit]};w=60`,
      })
      expect(limited).toEqual([limit])
    })
  }

  test('asks for a whole second at least, and for no more than the window', async () => {
    const start = Date.now()
    setSystemTime(new Date(start))
    const { ask, letThrough } = limitsOf()
    await letThrough(3, {})
    setSystemTime(new Date(start + 59_999))
    expect(((await ask({})) as AppError).headers['Retry-After']).toBe('1')
    // The machine's clock is set back by an hour.
    setSystemTime(new Date(start - 3_600_000))
    expect(((await ask({})) as AppError).headers['Retry-After']).toBe('60')
  })

  test('does not make the wait longer for who asks on', async () => {
    const start = Date.now()
    setSystemTime(new Date(start))
    const { letThrough } = limitsOf()
    for (let second = 0; second < 60; second++) {
      setSystemTime(new Date(start + second * 1000))
      await letThrough(3, {})
    }
    setSystemTime(new Date(start + 60_000))
    expect(await letThrough(9, {})).toBe(3)
  })
})

describe('counting in memory', () => {
  const options: LimiterOptions = { name: 'address', points: 1, durationSeconds: 60 }

  test('takes no more keys than it may hold: the window that ends next is forgotten, and no other', async () => {
    const limiter = createMemoryLimiter(options, 3)
    const allowed = async (key: string) => (await limiter.take(key)).allowed
    for (const key of ['a', 'b', 'c']) expect(await allowed(key)).toBe(true)
    for (const key of ['a', 'b', 'c']) expect(await allowed(key)).toBe(false)
    expect(await allowed('d')).toBe(true)
    for (const key of ['b', 'c', 'd']) expect(await allowed(key)).toBe(false)
    expect(await allowed('a')).toBe(true)
    for (const key of ['c', 'd', 'a']) expect(await allowed(key)).toBe(false)
  })

  test('does not forget a window because an earlier one of its key began long ago', async () => {
    const start = Date.now()
    setSystemTime(new Date(start))
    const limiter = createMemoryLimiter(options, 3)
    const allowed = async (key: string) => (await limiter.take(key)).allowed
    expect(await allowed('a')).toBe(true)
    setSystemTime(new Date(start + 61_000))
    for (const key of ['a', 'b', 'c']) expect(await allowed(key)).toBe(true)
    for (const key of ['a', 'b', 'c']) expect(await allowed(key)).toBe(false)
  })

  test('keeps its memory however many keys come', async () => {
    const limiter = createMemoryLimiter(options, 1000)
    for (let n = 0; n < 2000; n++) await limiter.take(`warm-up-${n}`)
    Bun.gc(true)
    const before = process.memoryUsage().heapUsed
    for (let n = 0; n < 100_000; n++) await limiter.take(`key-${n}`)
    Bun.gc(true)
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(8 * 2 ** 20)
  })
})
