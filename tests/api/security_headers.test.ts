/** What every answer tells a browser, whatever was asked and whatever became of it. */

import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { freshFolder } from '../support/backends.ts'
import type { Answer } from '../support/http.ts'
import { type InProcess, rawRequest, startInProcess } from '../support/in_process.ts'
import { BASE, sessionItem, taskItem } from '../support/translation_data.ts'

const KEY = 'a-key-of-the-tests-that-is-long-enough'
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']
const JSON_BODY = { 'content-type': 'application/json' }

const POLICY = "default-src 'none'; frame-ancestors 'none'"
const EVERYWHERE: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
}

function expectGuarded({ headers }: Answer<unknown>, own: Record<string, string> = {}): void {
  const wanted = { ...EVERYWHERE, 'content-security-policy': POLICY, 'cache-control': 'no-store', ...own }
  expect(Object.fromEntries(Object.keys(wanted).map((name) => [name, headers.get(name)]))).toEqual(wanted)
  for (const name of ['server', 'x-powered-by', 'strict-transport-security']) {
    expect([name, headers.get(name)]).toEqual([name, null])
  }
}

/** The service with these settings. */
async function serve(env: Record<string, string> = {}) {
  const { env: own, drop } = await freshFolder()
  const running = await startInProcess({ env: { ...own, ...env } })
  return {
    ...running,
    folder: own.DATA_DIR!,
    ask: (method: string, target: string, headers: Record<string, string> = {}, body?: string) =>
      rawRequest(running.url, { method, target, headers, ...(body !== undefined && { body }) }),
    async [Symbol.asyncDispose]() {
      await running.stop()
      await drop()
    },
  }
}

/** Every path of the spec, with an id that is there in the place of each parameter. */
async function pathsOf({ http }: InProcess): Promise<string[]> {
  const { body } = await http.get<{ paths: object }>('/openapi.json')
  return Object.keys(body.paths).map((path) => path.replaceAll(/\{\w+\}/g, 'some'))
}

describe('an answer of the API', () => {
  let on: Awaited<ReturnType<typeof serve>>
  let paths: string[]
  beforeAll(async () => {
    on = await serve()
    paths = await pathsOf(on)
    await on.http.post(`${BASE}/sessions/batch`, { sessions: [sessionItem('some')] })
    await on.http.post(`${BASE}/tasks/batch`, { tasks: [taskItem('some', 'some')] })
    await on.http.post(`${BASE}/flush`)
  })
  afterAll(() => on[Symbol.asyncDispose]())

  test('has them on every route of the spec, by every method, well asked or not', async () => {
    expect(paths.length).toBeGreaterThan(25)
    const seen = new Set<number>()
    for (const path of paths) {
      for (const method of METHODS) {
        for (const body of [undefined, '{}', '{ this is not JSON']) {
          const answer = await on.ask(method, path, body === undefined ? {} : JSON_BODY, body)
          expectGuarded(answer)
          seen.add(answer.status)
        }
      }
    }
    expect([...seen]).toEqual(expect.arrayContaining([200, 400, 404, 405, 415, 422]))
  })

  test('has them where nothing is, and where the request is refused for its size', async () => {
    for (const path of ['/', '/nothing', '/docs/nothing.js', '/%ff', `${BASE}/sessions/nobody`])
      expectGuarded(await on.ask('GET', path))
    await using small = await serve({ MAX_BODY_BYTES: '1024' })
    const answer = await small.ask(
      'POST',
      `${BASE}/tasks/batch`,
      JSON_BODY,
      `{"tasks":"${'x'.repeat(2000)}"}`,
    )
    expect(answer.status).toBe(413)
    expectGuarded(answer)
  })

  test('has them where it is a stream', async () => {
    await on.http.post(`${BASE}/sessions/batch`, { sessions: [sessionItem('streamed')] })
    const answer = await on.ask('POST', `${BASE}/recovery/restore/streamed`, {
      accept: 'application/x-ndjson',
    })
    expect(answer.status).toBe(200)
    expectGuarded(answer)
  })

  test('has them where the store fails, and where the service does', async () => {
    await using soft = await serve({ DELETE_MODE: 'soft' })
    await soft.http.post(`${BASE}/sessions/batch`, { sessions: [sessionItem('some')] })
    await soft.http.post(`${BASE}/flush`)
    using store = new Database(join(soft.folder, 'persistence.sqlite'), { readwrite: true })
    store.run("CREATE TRIGGER t BEFORE INSERT ON translation_sessions BEGIN SELECT RAISE(ABORT, 'no'); END")
    const broken = await soft.ask('DELETE', `${BASE}/sessions/some`)
    expect(broken.status).toBe(500)
    expectGuarded(broken)
    store.run('DROP TABLE translation_tasks')
    const down = await soft.ask('GET', `${BASE}/tasks`)
    expect(down.status).toBe(503)
    expectGuarded(down)
  })

  test('has them where the caller is not let in', async () => {
    await using closed = await serve({
      API_KEYS: `reader ${KEY} translation:read`,
      RATE_LIMIT: 'on',
      RATE_LIMIT_PER_ADDRESS: '2',
    })
    const statuses: number[] = []
    for (const headers of [{ 'x-api-key': KEY }, {}, { 'x-api-key': `${KEY}x` }, {}]) {
      const answer = await closed.ask('POST', `${BASE}/flush`, headers)
      expectGuarded(answer)
      statuses.push(answer.status)
    }
    expect(statuses).toEqual([403, 401, 401, 429])
  })

  test('has them where a browser asks what a page may send', async () => {
    await using opened = await serve({ CORS_ORIGINS: '*' })
    const answer = await opened.ask('OPTIONS', `${BASE}/flush`, {
      origin: 'https://app.example',
      'access-control-request-method': 'POST',
    })
    expect(answer.status).toBe(204)
    expectGuarded(answer)
  })
})

describe('a page of the reference', () => {
  let on: Awaited<ReturnType<typeof serve>>
  beforeAll(async () => {
    on = await serve()
  })
  afterAll(() => on[Symbol.asyncDispose]())

  test('loads scripts and styles from the service alone, and is framed by nobody', async () => {
    const answer = await on.ask('GET', '/docs')
    const policy = answer.headers.get('content-security-policy') ?? ''
    expectGuarded(answer, { 'content-security-policy': policy })
    expect(policy.split('; ').toSorted()).toEqual([
      "base-uri 'none'",
      "connect-src 'self'",
      "default-src 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "img-src 'self' data:",
      "script-src 'self'",
      "style-src 'self' 'unsafe-inline'",
    ])
    // What it loads, the policy lets it load.
    const loaded = [...answer.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, at]) => at!)
    expect(loaded.filter((at) => !at.startsWith('data:')).every((at) => at.startsWith('/docs/'))).toBe(true)
    expect(answer.text).not.toMatch(/<script(?![^>]* src=)|\son\w+=|style=/)
  })

  test('has scripts and styles of their own type, which a browser may keep', async () => {
    const assets = {
      'start.js': 'text/javascript',
      'swagger-ui-bundle.js': 'text/javascript',
      'swagger-ui.css': 'text/css',
    }
    for (const [name, type] of Object.entries(assets)) {
      const answer = await on.ask('GET', `/docs/${name}`)
      expectGuarded(answer, { 'cache-control': 'public, max-age=86400' })
      expect(answer.headers.get('content-type')).toBe(`${type}; charset=utf-8`)
    }
  })
})

test('with TLS of its own, every answer wants it from then on', async () => {
  await using on = await serve({ TLS_CERT_FILE: 'cert.pem', TLS_KEY_FILE: 'key.pem' })
  for (const path of ['/health/live', '/docs', '/nothing']) {
    const { headers } = await on.ask('GET', path)
    expect(headers.get('strict-transport-security')).toBe('max-age=31536000')
  }
})
