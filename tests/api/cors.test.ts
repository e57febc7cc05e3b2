/** Pages of other origins: none may call the service, unless its configuration names them. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { freshFolder } from '../support/backends.ts'
import type { Answer } from '../support/http.ts'
import { type InProcess, rawRequest, startInProcess } from '../support/in_process.ts'

const APP = 'https://app.example'
const OTHER = 'https://other.example'
const KEY = 'a-key-of-the-tests-that-is-long-enough'
const TASKS = '/api/v1/translation/tasks/batch'
const LIVE = '/health/live'

type Headers = Record<string, string>

/** The service with these settings, while the tests of a group run. */
function serving(env: Record<string, string>) {
  let running: InProcess
  let drop: () => Promise<void>
  beforeAll(async () => {
    const folder = await freshFolder()
    drop = folder.drop
    running = await startInProcess({ env: { ...folder.env, ...env } })
  })
  afterAll(async () => {
    await running.stop()
    await drop()
  })
  // fetch would hold back some of these headers.
  const ask = (method: string, target: string, headers: Headers = {}) =>
    rawRequest(running.url, { method, target, headers })
  const preflight = (origin: string, target = TASKS, more: Headers = {}) =>
    ask('OPTIONS', target, { origin, 'access-control-request-method': 'POST', ...more })
  return { ask, preflight }
}

const corsHeaders = ({ headers }: Answer<unknown>) =>
  [...headers.keys()].filter((name) => name.startsWith('access-control-'))
const listed = ({ headers }: Answer<unknown>, name: string) => (headers.get(name) ?? '').split(/, */).sort()

describe('without CORS_ORIGINS', () => {
  const { ask, preflight } = serving({})

  test('no answer has a header of CORS, and none varies by origin', async () => {
    for (const answer of [
      await ask('GET', LIVE, { origin: APP }),
      await ask('POST', TASKS, { origin: APP }),
      await ask('GET', '/nothing', { origin: APP }),
      await preflight(APP),
    ]) {
      expect(corsHeaders(answer)).toEqual([])
      expect(answer.headers.get('vary')).toBeNull()
    }
  })

  test('OPTIONS is offered nowhere', async () => {
    expect(await preflight(APP)).toMatchObject({ status: 405, body: { error_code: 'METHOD_NOT_ALLOWED' } })
    expect(await preflight(APP, '/nothing')).toMatchObject({ status: 404 })
  })
})

describe('with CORS_ORIGINS', () => {
  const { ask, preflight } = serving({
    CORS_ORIGINS: `${APP}, http://localhost:5173`,
    API_KEYS: KEY,
    RATE_LIMIT: 'on',
    RATE_LIMIT_PER_ADDRESS: '1',
  })

  test('a page of one of them is told what it may send, without a credential and however often it asks', async () => {
    for (let n = 0; n < 5; n++) {
      for (const origin of [APP, 'http://localhost:5173']) {
        const answer = await preflight(origin)
        expect(answer).toMatchObject({ status: 204, text: '' })
        expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
        expect(answer.headers.get('access-control-max-age')).toBe('600')
        expect(listed(answer, 'access-control-allow-methods')).toEqual([
          'DELETE',
          'GET',
          'HEAD',
          'PATCH',
          'POST',
          'PUT',
        ])
        // biome-ignore format: as one reads them
        expect(listed(answer, 'access-control-allow-headers')).toEqual(['Authorization', 'Content-Encoding', 'Content-Type',
          'If-Match', 'If-None-Match', 'Last-Event-ID', 'Range', 'X-API-Key', 'X-Request-Id'])
        expect(listed(answer, 'vary')).toContain('Origin')
        expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
      }
    }
  })

  test('its requests are answered for it, errors too, with the headers that it may read', async () => {
    const key = { origin: APP, 'x-api-key': KEY }
    const answers = [
      await ask('GET', LIVE, key),
      await ask('GET', '/api/v1/translation/sessions', key),
      await ask('POST', TASKS, key), // 415
      await ask('GET', '/nothing', key),
      await ask('GET', TASKS, key), // 405
      await ask('GET', '/api/v1/translation/sessions', { origin: APP }), // 401, then 429
      await ask('GET', '/api/v1/translation/sessions', { origin: APP }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 415, 404, 405, 401, 429])
    for (const answer of answers) {
      expect(answer.headers.get('access-control-allow-origin')).toBe(APP)
      expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
      expect(listed(answer, 'vary')).toEqual(['Origin'])
      // biome-ignore format: as one reads them
      expect(listed(answer, 'access-control-expose-headers')).toEqual(['Accept-Ranges', 'Allow', 'Content-Range', 'ETag', 'Location',
        'RateLimit-Limit', 'RateLimit-Policy', 'RateLimit-Remaining', 'RateLimit-Reset', 'Retry-After', 'WWW-Authenticate', 'X-Request-Id'])
    }
  })

  test.each([
    OTHER,
    'null',
    'https://app.example.evil',
    'https://app.example:443',
    'http://app.example',
    'https://sub.app.example',
    'HTTPS://APP.EXAMPLE',
    `${APP}, ${OTHER}`,
    APP.slice(0, -1),
    '',
  ])('a page of %p is not let in, and no cache takes its answer for that of one that is', async (origin) => {
    for (const answer of [await preflight(origin), await ask('GET', LIVE, { origin })]) {
      expect(answer.headers.get('access-control-allow-origin')).toBeNull()
      expect(listed(answer, 'vary')).toContain('Origin')
    }
  })

  test('a request that is of no page varies by origin as well, and has no header of CORS', async () => {
    for (const answer of [await ask('GET', LIVE), await ask('GET', '/nothing')]) {
      expect(answer.headers.get('vary')).toBe('Origin')
      expect(corsHeaders(answer)).toEqual([])
    }
  })

  test('OPTIONS that is no question of a browser is a method like any other', async () => {
    const key = { 'x-api-key': KEY }
    expect(await ask('OPTIONS', TASKS, { origin: APP, ...key })).toMatchObject({ status: 405 })
    expect(await ask('OPTIONS', TASKS, { 'access-control-request-method': 'POST', ...key })).toMatchObject({
      status: 405,
    })
  })

  test('a page that is let in still needs a key', async () => {
    const answer = await ask('POST', TASKS, { origin: APP, 'content-type': 'application/json' })
    expect([401, 429]).toContain(answer.status)
  })
})

describe('with CORS_ORIGINS=*', () => {
  const { ask, preflight } = serving({ CORS_ORIGINS: `${APP}, *` })

  test('every page is let in, alike and without credentials', async () => {
    for (const origin of [APP, OTHER, 'null']) {
      for (const answer of [await preflight(origin), await ask('GET', LIVE, { origin })]) {
        expect(answer.headers.get('access-control-allow-origin')).toBe('*')
        expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
        expect(listed(answer, 'vary')).not.toContain('Origin')
      }
    }
  })
})
