/** Every route says what its callers must be allowed to do, and holds them to it. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createApp } from '../../src/app.ts'
import { LEVELS, NAMESPACES, type Scope } from '../../src/auth/principal.ts'
import { createRouter, type Router } from '../../src/http/endpoint.ts'
import { AppError } from '../../src/lib/errors.ts'
import { createLogger } from '../../src/lib/log.ts'
import { freshFolder } from '../support/backends.ts'
import { type InProcess, startInProcess } from '../support/in_process.ts'

interface Operation {
  operationId: string
  security?: Record<string, string[]>[]
  responses: Record<string, unknown>
}

const SCOPES = NAMESPACES.flatMap((namespace) => LEVELS.map((level): Scope => `${namespace}:${level}`))
const keyOf = (scope: Scope) => `a-key-of-32-characters-of-the-scope-${scope.replace(':', '-')}`
const API_KEYS = SCOPES.map((scope) => `${scope.replace(':', '-')} ${keyOf(scope)} ${scope}`).join('; ')

/** What stays open, whoever asks. */
const OPEN = ['getHealth', 'getLiveness', 'getReadiness', 'getSpec']

let on: InProcess
let drop: () => Promise<void>
let operations: { method: string; path: string; operation: Operation }[]

async function operationsOf({ http }: InProcess): Promise<typeof operations> {
  const { body } = await http.get<{ paths: Record<string, Record<string, Operation>> }>('/openapi.json')
  return Object.entries(body.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path: path.replaceAll(/\{\w+\}/g, 'somebody'),
      operation,
    })),
  )
}

/** The scope that a route of the spec asks for. */
const scopeOf = ({ security = [] }: Operation) => security.find(({ ApiKey }) => ApiKey)?.ApiKey?.[0]

beforeAll(async () => {
  const folder = await freshFolder()
  drop = folder.drop
  on = await startInProcess({ env: { ...folder.env, API_KEYS } })
  operations = await operationsOf(on)
})

afterAll(async () => {
  await on.stop()
  await drop()
})

describe('with authentication on', () => {
  test('every operation of the spec is closed, with one scope, but for those that must be open', () => {
    expect(operations.length).toBeGreaterThan(25)
    const open = operations.filter(({ operation }) => (operation.security ?? []).length === 0)
    expect(open.map(({ operation }) => operation.operationId).toSorted()).toEqual(OPEN)
    for (const { operation } of operations) {
      if (OPEN.includes(operation.operationId)) continue
      const scope = scopeOf(operation)
      expect(SCOPES).toContain(scope as Scope)
      expect(operation.security).toEqual([{ ApiKey: [scope!] }])
      expect(Object.keys(operation.responses)).toEqual(expect.arrayContaining(['400', '401', '403', '429']))
    }
  })

  test('nobody comes in without a key, before anything of the request is looked at', async () => {
    for (const { method, path, operation } of operations) {
      const open = OPEN.includes(operation.operationId)
      const body = method === 'GET' ? undefined : '{ this is not JSON'
      const { status, headers, body: problem } = await on.http.request(method, path, body)
      expect([operation.operationId, status]).toEqual([operation.operationId, open ? 200 : 401])
      if (open) continue
      expect(problem.error_code).toBe('UNAUTHENTICATED')
      expect(headers.get('www-authenticate')).toBe('ApiKey realm="persistence-service"')
    }
  })

  test('a key opens the routes of its scope, and no others; admin opens the whole namespace', async () => {
    for (const { method, path, operation } of operations) {
      if (OPEN.includes(operation.operationId)) continue
      const needed = scopeOf(operation)!
      for (const scope of SCOPES) {
        const body = method === 'GET' ? undefined : '{ this is not JSON'
        const answer = await on.http.request(method, path, body, { 'x-api-key': keyOf(scope) })
        const opens = scope === needed || scope === `${needed.split(':')[0]}:admin`
        const outcome = answer.status === 403 ? 'refused' : 'let in'
        expect([operation.operationId, scope, outcome]).toEqual([
          operation.operationId,
          scope,
          opens ? 'let in' : 'refused',
        ])
        expect(answer.status).toBeLessThan(500)
        expect(answer.status).not.toBe(401)
        if (!opens) expect(answer.body).toMatchObject({ error_code: 'FORBIDDEN', scope: needed })
      }
    }
  })

  test('what is not there is not there for everybody: paths are no secret', async () => {
    expect((await on.http.get('/api/v1/nothing')).status).toBe(404)
    expect((await on.http.delete('/api/v1/translation/flush')).status).toBe(405)
  })

  test('who was refused, and why, is in the metrics', async () => {
    const { text } = await on.http.get('/api/v1/system/metrics', { 'x-api-key': keyOf('system:read') })
    const refused = text.split('\n').filter((line) => line.startsWith('persistence_auth_refused_total{'))
    expect(refused.map((line) => line.split(' ')[0]).toSorted()).toEqual([
      'persistence_auth_refused_total{reason="missing"}',
      'persistence_auth_refused_total{reason="scope"}',
    ])
  })
})

/** An app with one slice, and a door that is closed. */
const appWith = (mount: (app: Router) => void) =>
  createApp({
    version: '0.0.0',
    log: createLogger({ level: 'error', instance: 'none', write: () => undefined }),
    events: { onRequest: () => undefined },
    addressOf: () => null,
    door: { schemes: () => ['ApiKey'], admit: () => Promise.reject(new AppError('UNAUTHENTICATED')) },
    corsOrigins: [],
    tls: false,
    bodyLimits: { maxBytes: 1, maxTotalBytes: 1, timeoutMs: 1 },
    slices: [{ mount }],
  })

describe('a route', () => {
  test('that says nothing of its access is no route: the start fails', () => {
    expect(() => appWith((app) => app.get('/api/v1/system/hole', (c) => c.text('all of it')))).toThrow(
      'GET /api/v1/system/hole says nothing of its access: register it by endpoint() or page()',
    )
    expect(() =>
      appWith((app) => {
        const routes = createRouter()
        routes.post('/hole', (c) => c.text('all of it'))
        app.route('/api/v1', routes)
      }),
    ).toThrow('POST /api/v1/hole says nothing of its access')
  })
})

describe('a key in the query string', () => {
  test.each([
    '?api_key=x',
    '?a=1&API-KEY=x',
    '?x-api-key=x',
    '?key=x',
    '?token=x',
    '?access_token',
    '?api_key[]=x',
    '?+api_key=x',
    '?%61pi%5Fkey=x',
    '?authorization=Bearer%20x',
  ])('is refused wherever it stands, whoever asks and whatever for: %s', async (query) => {
    const headers = { 'x-api-key': keyOf('translation:admin') }
    for (const path of ['/api/v1/translation/sessions', '/health/live', '/openapi.json', '/nothing']) {
      const answer = await on.http.get(`${path}${query}`, headers)
      expect([path, answer.status, answer.body.error_code]).toEqual([path, 400, 'MALFORMED_REQUEST'])
    }
  })

  test('is not seen in a text that is searched for', async () => {
    const headers = { 'x-api-key': keyOf('translation:read') }
    for (const text of ['what?bearer', 'a&jwt=b', 'api_key=1', 'token']) {
      const path = `/api/v1/translation/tasks?session_id=s&q=${encodeURIComponent(text)}`
      expect((await on.http.get(path, headers)).status).toBe(200)
    }
  })
})

describe('two credentials', () => {
  test('in one header are as bad as in two', async () => {
    const both = `${keyOf('translation:read')}, ${keyOf('system:read')}`
    const answer = await on.http.get('/api/v1/translation/sessions', { 'x-api-key': both })
    expect([answer.status, answer.body.error_code]).toEqual([400, 'MALFORMED_REQUEST'])
  })
})

describe('with authentication off', () => {
  test('the spec says that no credential is needed, and a key that is sent all the same does no harm', async () => {
    const folder = await freshFolder()
    const off = await startInProcess({ env: folder.env })
    try {
      for (const { operation } of await operationsOf(off)) {
        const { operationId, security } = operation
        const scope = scopeOf(operation)!
        if (!OPEN.includes(operationId))
          expect(security).toEqual([{}, { ApiKey: [scope] }, { Bearer: [scope] }])
      }
      const path = '/api/v1/translation/sessions'
      expect((await off.http.get(path, { 'x-api-key': 'whatever' })).status).toBe(200)
      expect((await off.http.get(path, { authorization: 'Basic whatever' })).status).toBe(200)
    } finally {
      await off.stop()
      await folder.drop()
    }
  })
})
