/** Rate limits over HTTP: each limit, what is exempt, whose addresses are believed, and what a 429 is. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { SignJWT } from 'jose'
import { freshFolder } from '../support/backends.ts'
import type { Answer } from '../support/http.ts'
import { type InProcess, rawRequest, startInProcess } from '../support/in_process.ts'
import { BASE, freshId, type Item, sessionItem, sessionPath, taskItem } from '../support/translation_data.ts'

type Headers = Record<string, string>

const KEYS = { one: 'the-long-key-that-is-called-one-1', two: 'the-long-key-that-is-called-two-2' }
const API_KEYS = Object.entries(KEYS)
  .map(([name, key]) => `${name} ${key} *:admin`)
  .join('; ')
const JWT_SECRET = 'a secret of the issuer, which is long enough'
const LIMITED = {
  RATE_LIMIT: 'on',
  RATE_LIMIT_PER_ADDRESS: '3',
  RATE_LIMIT_PER_KEY: '6',
  RATE_LIMIT_PER_SESSION: '2',
}
const TRUSTING = { TRUSTED_PROXIES: '127.0.0.1' }
const NAMES = ['limit', 'remaining', 'reset', 'policy'].map((name) => `ratelimit-${name}`)

const running: { service: InProcess; drop(): Promise<void> }[] = []

async function start(env: Record<string, string>): Promise<InProcess> {
  const folder = await freshFolder()
  const service = await startInProcess({ env: { ...folder.env, ...env } })
  running.push({ service, drop: folder.drop })
  return service
}

afterAll(async () => {
  for (const { service, drop } of running) {
    await service.stop()
    await drop()
  }
})

let made = 0
/** Headers of a client that nobody else is. */
const somebody = (): Headers => ({ 'x-forwarded-for': `203.0.113.${++made}` })
const withKey = (name: keyof typeof KEYS, from: Headers = {}): Headers => ({
  ...from,
  'x-api-key': KEYS[name],
})

/** The statuses of so many requests, one after another. */
async function statuses(times: number, ask: () => Promise<{ status: number }>): Promise<number[]> {
  const seen: number[] = []
  for (let n = 0; n < times; n++) seen.push((await ask()).status)
  return seen
}

const LIST = `${BASE}/sessions`
const limitsOf = ({ headers }: Answer<unknown>) => NAMES.map((name) => headers.get(name))

/** What is never counted, and all of it is asked with good input. */
function exemptCalls({ http }: InProcess, headers: Headers): Record<string, () => Promise<Answer<Item>>> {
  const sessionId = freshId()
  const sessions = { sessions: [sessionItem(sessionId)] }
  const tasks = { tasks: [taskItem(sessionId, 'task')] }
  const v1 = '/api/v1/persistence'
  return {
    'POST sessions': () => http.post(`${BASE}/sessions/batch`, sessions, headers),
    'PATCH sessions': () => http.patch(`${BASE}/sessions/batch`, sessions, headers),
    'POST tasks': () => http.post(`${BASE}/tasks/batch`, tasks, headers),
    'PATCH tasks': () => http.patch(`${BASE}/tasks/batch`, tasks, headers),
    flush: () => http.post(`${BASE}/flush`, undefined, headers),
    'POST sessions, version 1': () => http.post(`${v1}/sessions/batch`, sessions, headers),
    'POST tasks, version 1': () => http.post(`${v1}/tasks/batch`, tasks, headers),
    'flush, version 1': () => http.post(`${v1}/flush`, undefined, headers),
    health: () => http.get('/health', headers),
    liveness: () => http.get('/health/live', headers),
    readiness: () => http.get('/health/ready', headers),
    'health of the system': () => http.get('/api/v1/system/health', headers),
    metrics: () => http.get('/api/v1/system/metrics', headers),
  }
}

describe('where nothing is configured', () => {
  test('nobody is counted, and no header speaks of limits', async () => {
    const on = await start(TRUSTING)
    const from = somebody()
    for (let n = 0; n < 150; n++) {
      const answer = await on.http.get(sessionPath('nobody'), from)
      expect(answer.status).toBe(404)
      expect(limitsOf(answer)).toEqual([null, null, null, null])
    }
  })
})

describe('while the issuer of tokens can not be reached', () => {
  test('made-up tokens are counted as wrong ones are', async () => {
    const env = { JWT_JWKS_URL: 'http://127.0.0.1:9/keys', RATE_LIMIT: 'on', RATE_LIMIT_PER_ADDRESS: '2' }
    const on = await start(env)
    const token = [{ alg: 'RS256', kid: 'x' }, { sub: 'x', exp: 4_000_000_000 }, {}]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    const seen = await statuses(4, () => on.http.get(LIST, { authorization: `Bearer ${token}` }))
    expect(seen).toEqual([503, 503, 429, 429])
  })
})

describe('with the numbers of the architecture document', () => {
  test('a thousand requests at once: a hundred are let through, of one session ten', async () => {
    const on = await start({ RATE_LIMIT: 'on', ...TRUSTING })
    const countOf = async (path: string) => {
      const from = somebody()
      const answers = await Promise.all(Array.from({ length: 1000 }, () => on.http.get(path, from)))
      return answers.filter(({ status }) => status !== 429).length
    }
    expect(await countOf(LIST)).toBe(100)
    expect(await countOf(sessionPath('some'))).toBe(10)
  })
})

describe('without authentication', () => {
  let on: InProcess
  beforeAll(async () => {
    on = await start({ ...LIMITED, ...TRUSTING })
  })

  test('an address has its limit, another address its own', async () => {
    for (const from of [somebody(), somebody()]) {
      expect(await statuses(5, () => on.http.get(LIST, from))).toEqual([200, 200, 200, 429, 429])
    }
  })

  test('an address is counted over all routes that are not exempt, whatever they answer', async () => {
    const from = somebody()
    const answers = [
      await on.http.get(`${LIST}?page=0`, from),
      await on.http.post(`${BASE}/sessions/cleanup`, '{', from),
      await on.http.get('/api/v1/persistence/stats', from),
      await on.http.get('/openapi.json', from),
    ]
    expect(answers.map(({ status }) => status)).toEqual([422, 400, 200, 429])
    expect(answers.map((answer) => answer.headers.get('ratelimit-remaining'))).toEqual(['2', '1', '0', '0'])
  })

  test('what no route takes is counted as well, and the pages', async () => {
    const from = somebody()
    const answers = [
      await on.http.get('/nothing', from),
      await on.http.get(`${BASE}/tasks/batch`, from),
      await on.http.get('/docs', from),
      await on.http.get('/nothing', from),
    ]
    expect(answers.map(({ status }) => status)).toEqual([404, 405, 200, 429])
    const unreadable = await on.http.get('/health?api_key=x', somebody())
    expect([unreadable.status, unreadable.headers.get('ratelimit-remaining')]).toEqual([400, '2'])
  })

  test('IPv6 addresses of one /64 are one', async () => {
    const from = (address: string) => ({ 'x-forwarded-for': address })
    const asked = ['[2001:db8::1]:80', '2001:db8::2', '2001:db8::3:4', '2001:DB8::5', '2001:db8:0:1::1']
    const seen = []
    for (const address of asked) seen.push((await on.http.get(LIST, from(address))).status)
    expect(seen).toEqual([200, 200, 200, 429, 200])
  })

  test('a session has its limit over all its queries, another session its own, another caller too', async () => {
    const [from, other] = [somebody(), somebody()]
    const path = sessionPath('some')
    const answers = [
      await on.http.get(path, from),
      await on.http.get(`${BASE}/tasks?session_id=some`, from),
      await on.http.post(`${BASE}/recovery/restore/some`, undefined, from),
    ]
    expect(answers.map(({ status }) => status)).toEqual([404, 200, 429])
    expect(answers[2]!.body.limit).toBe('session')
    expect(await statuses(3, () => on.http.get(`${path}/tasks`, other))).toEqual([404, 404, 429])
    const next = somebody()
    const seen = []
    for (const id of ['a', 'b', 'c', 'd']) seen.push(await on.http.get(sessionPath(id, '/tasks'), next))
    expect(seen.map(({ status }) => status)).toEqual([404, 404, 404, 429])
    expect(seen.at(-1)!.body.limit).toBe('address')
  })

  test('what is exempt is never refused, says nothing of limits, and uses nothing up', async () => {
    const from = somebody()
    for (const [name, ask] of Object.entries(exemptCalls(on, from))) {
      for (let n = 0; n < 5; n++) {
        const answer = await ask()
        expect([name, answer.status < 300]).toEqual([name, true])
        expect([name, ...limitsOf(answer)]).toEqual([name, null, null, null, null])
      }
    }
    expect((await on.http.get(LIST, from)).headers.get('ratelimit-remaining')).toBe('2')
    await statuses(5, () => on.http.get(LIST, from))
    for (const [name, ask] of Object.entries(exemptCalls(on, from))) {
      expect([name, (await ask()).status < 300]).toEqual([name, true])
    }
  })

  test('a 429 is a problem that says which limit it was and when to come back, as the spec declares it', async () => {
    const from = somebody()
    await statuses(3, () => on.http.get(LIST, from))
    const { status, headers, body } = await on.http.get(LIST, from)
    expect(status).toBe(429)
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(body).toEqual({
      type: 'urn:persistence:error:rate_limited',
      title: 'Too many requests',
      status: 429,
      detail: 'More than 3 requests a minute from this address.',
      error_code: 'RATE_LIMITED',
      request_id: headers.get('x-request-id')!,
      limit: 'address',
    })
    const waitSeconds = Number(headers.get('retry-after'))
    expect(waitSeconds).toBeWithin(50, 61)
    expect(NAMES.map((name) => headers.get(name))).toEqual(['3', '0', String(waitSeconds), '3;w=60'])
  })

  test('every answer to a counted request says what is left, a streamed one too', async () => {
    const sessionId = freshId()
    await on.http.post(`${BASE}/sessions/batch`, { sessions: [sessionItem(sessionId)] })
    await on.http.post(`${BASE}/flush`)
    const ndjson = { ...somebody(), accept: 'application/x-ndjson' }
    const answer = await on.http.post(`${BASE}/recovery/restore/${sessionId}`, undefined, ndjson)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('ratelimit-remaining')).toBe('1')
    expect(answer.headers.get('ratelimit-policy')).toBe('3;w=60, 2;w=60')
  })

  test('the spec has the headers where a limit can be met, and defines them once', async () => {
    type Responses = Record<string, { headers?: Record<string, { $ref?: string }> }>
    const { body } = await on.http.get<{
      paths: Record<string, Record<string, { responses: Responses }>>
      components: { headers: Record<string, unknown> }
    }>('/openapi.json', somebody())
    const names = ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset', 'RateLimit-Policy']
    expect(Object.keys(body.components.headers).toSorted()).toEqual(names.toSorted())
    const declared = (path: string, method: string, status: string) =>
      Object.keys(body.paths[path]![method]!.responses[status]?.headers ?? {})
    expect(declared(LIST, 'get', '200')).toEqual(names)
    expect(declared(LIST, 'get', '422')).toEqual(names)
    expect(declared(LIST, 'get', '429')).toEqual([...names, 'Retry-After'])
    expect(declared(`${BASE}/tasks/batch`, 'post', '401')).toEqual([...names, 'WWW-Authenticate'])
    expect(declared(`${BASE}/tasks/batch`, 'post', '202')).toEqual([])
    expect(declared(`${BASE}/tasks/batch`, 'post', '429')).toEqual([...names, 'Retry-After'])
    expect(body.paths['/health']!.get!.responses['429']).toBeUndefined()
  })

  test('refusals are in the metrics by limit, and in the log with the address', async () => {
    const from = somebody()
    const refused = async () => {
      const { text } = await on.http.get('/api/v1/system/metrics')
      return Number(/^persistence_rate_limited_total\{limit="session"\} (\d+)$/m.exec(text)?.[1] ?? 0)
    }
    const before = await refused()
    expect(await statuses(3, () => on.http.get(sessionPath('logged'), from))).toEqual([404, 404, 429])
    expect((await refused()) - before).toBe(1)
    const line = on.logs.findLast(({ endpoint }) => endpoint === `${LIST}/{session_id}`)!
    expect(line.meta).toMatchObject({
      status: 429,
      error_code: 'RATE_LIMITED',
      address: from['x-forwarded-for']!,
    })
    expect(line.meta).not.toHaveProperty('principal')
  })
})

describe('where no proxy is trusted', () => {
  test('X-Forwarded-For changes nothing', async () => {
    const on = await start(LIMITED)
    expect(await statuses(5, () => on.http.get(LIST, somebody()))).toEqual([200, 200, 200, 429, 429])
    expect(on.logs.at(-1)!.meta!.address).toBe('127.0.0.1')
  })
})

describe('behind a trusted proxy', () => {
  test('what a client writes into X-Forwarded-For itself changes nothing', async () => {
    const on = await start({ ...LIMITED, ...TRUSTING })
    const client = '198.51.100.7'
    const asked = [`1.1.1.1, ${client}`, `2.2.2.2,${client}`, `${client}, 127.0.0.1`, `unknown, ${client}:99`]
    const seen = []
    for (const value of asked) seen.push((await on.http.get(LIST, { 'x-forwarded-for': value })).status)
    expect(seen).toEqual([200, 200, 200, 429])
    // Two headers are one list.
    const two = `1.1.1.1\r\nX-Forwarded-For: ${client}`
    const answer = await rawRequest(on.url, {
      method: 'GET',
      target: LIST,
      headers: { 'x-forwarded-for': two },
    })
    expect(answer.status).toBe(429)
    const long = { 'x-forwarded-for': `${'1.1.1.1, '.repeat(500)}${client}` }
    expect((await on.http.get(LIST, long)).status).toBe(429)
  })
})

describe('with authentication', () => {
  let on: InProcess
  beforeAll(async () => {
    on = await start({ ...LIMITED, ...TRUSTING, API_KEYS, JWT_SECRET })
  })

  test('a key has its limit wherever it comes from, another key its own, and their addresses theirs', async () => {
    const from = somebody()
    for (const name of ['one', 'two'] as const) {
      expect(await statuses(4, () => on.http.get(LIST, withKey(name, from)))).toEqual([200, 200, 200, 200])
      expect(await statuses(3, () => on.http.get(LIST, withKey(name, somebody())))).toEqual([200, 200, 429])
    }
    expect(await statuses(4, () => on.http.get(LIST, from))).toEqual([401, 401, 401, 429])
  })

  test('a wrong credential, none, and one that cannot be read count by the address, and end in 429', async () => {
    const from = somebody()
    const wrong: Headers[] = [
      { 'x-api-key': 'a-key-that-nobody-has-given-out' },
      { authorization: 'Basic eDp5' },
      {},
      { authorization: 'Bearer a.b.c' },
      { 'x-api-key': 'another-that-nobody-has-given-out' },
    ]
    const answers = []
    for (const headers of wrong) answers.push(await on.http.get(LIST, { ...from, ...headers }))
    expect(answers.map(({ status }) => status)).toEqual([401, 400, 401, 429, 429])
    expect(answers.map(({ headers }) => headers.get('ratelimit-remaining'))).toEqual([
      '2',
      '1',
      '0',
      '0',
      '0',
    ])
    expect(answers.at(-1)!.body.limit).toBe('address')
    // Also where a good one would not be counted.
    expect((await on.http.post(`${BASE}/flush`, undefined, { ...from, ...wrong[0] })).status).toBe(429)
    expect((await on.http.get('/health', from)).status).toBe(200)
  })

  test('a good credential comes in from an address that has used up its limit', async () => {
    const from = somebody()
    expect(await statuses(4, () => on.http.get(LIST, from))).toEqual([401, 401, 401, 429])
    const token = await tokenOf('bob')
    expect((await on.http.get(LIST, { ...from, authorization: `Bearer ${token}` })).status).toBe(200)
  })

  test('a subject has its limit over all its tokens, a session of it too, and the log says who asked', async () => {
    const path = sessionPath('logged')
    const ask = async (target: string) =>
      on.http.get(target, { ...somebody(), authorization: `Bearer ${await tokenOf('alice')}` })
    expect(await statuses(3, () => ask(path))).toEqual([404, 404, 429])
    expect(on.logs.at(-1)).toMatchObject({
      user_id: 'alice',
      meta: { principal: 'user:alice', error_code: 'RATE_LIMITED' },
    })
    expect(await statuses(4, () => ask(LIST))).toEqual([200, 200, 200, 429])
  })

  test('a scope that is missing costs what anything else costs', async () => {
    const from = { ...somebody(), authorization: `Bearer ${await tokenOf('carol', 'storage:read')}` }
    expect(await statuses(7, () => on.http.get(LIST, from))).toEqual([403, 403, 403, 403, 403, 403, 429])
  })

  test('who was not let in is in the log by the address', async () => {
    const from = somebody()
    await on.http.get(LIST, from)
    expect(on.logs.at(-1)!.meta).toMatchObject({
      address: from['x-forwarded-for']!,
      principal: 'anonymous',
      error_code: 'UNAUTHENTICATED',
    })
  })
})

function tokenOf(subject: string, scope = '*:admin'): Promise<string> {
  return new SignJWT({ scope })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(JWT_SECRET))
}
