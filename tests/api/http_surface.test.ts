/** Methods, unknown paths, problems and request ids: what holds for every path of the service. */
import { beforeAll, describe, expect, test } from 'bun:test'
import type { Answer } from '../support/http.ts'
import { onEachBackend, rawRequest } from '../support/in_process.ts'
import { BASE, freshId, type Item, sessionItem, taskItem, translation } from '../support/translation_data.ts'

/** Each path, and what it offers. */
const PATHS: Readonly<Record<string, readonly string[]>> = {
  [`${BASE}/sessions/batch`]: ['POST', 'PATCH'],
  [`${BASE}/tasks/batch`]: ['POST', 'PATCH'],
  [`${BASE}/flush`]: ['POST'],
  [`${BASE}/sessions`]: ['GET'],
  [`${BASE}/sessions/cleanup`]: ['POST', 'DELETE'],
  [`${BASE}/sessions/some`]: ['GET', 'DELETE'],
  [`${BASE}/sessions/some/tasks`]: ['GET'],
  [`${BASE}/sessions/some/status`]: ['PATCH'],
  [`${BASE}/sessions/some/undelete`]: ['POST'],
  [`${BASE}/tasks`]: ['GET'],
  [`${BASE}/tasks/some`]: ['GET'],
  [`${BASE}/recovery/incomplete-sessions`]: ['GET'],
  [`${BASE}/recovery/restore/some`]: ['POST'],
  [`${BASE}/recovery/status`]: ['GET'],
  [`${BASE}/stats`]: ['GET'],
  '/api/v1/persistence/sessions/batch': ['POST'],
  '/api/v1/persistence/tasks/batch': ['POST'],
  '/api/v1/persistence/flush': ['POST'],
  '/api/v1/persistence/stats': ['GET'],
  '/health': ['GET'],
  '/health/live': ['GET'],
  '/health/ready': ['GET'],
  '/api/v1/system/health': ['GET'],
  '/api/v1/system/metrics': ['GET'],
  '/api/v1/system/config': ['GET'],
  '/openapi.json': ['GET'],
  '/docs': ['GET'],
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']

/** The members that every error has, as RFC 9457 and the API document want them. */
function expectProblem(answer: Answer<Item>, status: number, code: string, more: Item = {}): void {
  expect(answer.status).toBe(status)
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  const { type, title, detail, request_id } = answer.body
  for (const member of [type, title, detail, request_id]) expect(typeof member).toBe('string')
  expect(answer.body).toMatchObject({ status, error_code: code, ...more })
  expect(answer.headers.get('x-request-id')).toBe(String(request_id))
  expect(String(type)).toBe(`urn:persistence:error:${code.toLowerCase()}`)
}

onEachBackend('HTTP surface', {}, (on) => {
  const api = translation(on)
  const call = (method: string, target: string, headers: Record<string, string> = {}) =>
    rawRequest(on.url, { method, target, headers })

  beforeAll(() => api.store([sessionItem('some')], [taskItem('some', 'some')]))

  describe('methods', () => {
    for (const [path, offered] of Object.entries(PATHS)) {
      const allowed = offered.includes('GET') ? [...offered, 'HEAD'] : offered
      const others = METHODS.filter((method) => !allowed.includes(method))

      test(`${path} offers ${offered.join(' and ')}, and says so to ${others.length} others with 405`, async () => {
        for (const method of others) {
          const answer = await call(method, path)
          expect(answer.headers.get('allow')?.split(', ').sort()).toEqual([...allowed].sort())
          if (method === 'HEAD') expect(answer).toMatchObject({ status: 405, text: '' })
          else expectProblem(answer, 405, 'METHOD_NOT_ALLOWED')
        }
      })

      if (offered.includes('GET')) {
        test(`HEAD ${path} is GET without its body`, async () => {
          const [head, get] = [await call('HEAD', path), await call('GET', path)]
          expect(head).toMatchObject({ status: 200, text: '' })
          expect(get.status).toBe(200)
          expect(head.headers.get('content-type')).toBe(get.headers.get('content-type')!)
        })
      }
    }
  })

  describe('unknown paths', () => {
    for (const path of [
      '/',
      '/api',
      '/api/v1',
      '/api/v2/translation/sessions',
      `${BASE}`,
      `${BASE}/`,
      `${BASE}/session`,
      `${BASE}/Sessions`,
      `${BASE}/sessions/`,
      `${BASE}//sessions`,
      `${BASE}/sessions/some/`,
      `${BASE}/sessions//tasks`,
      `${BASE}/sessions/some/tasks/some`,
      `${BASE}/sessions/some/nothing`,
      `${BASE}/tasks/some/more`,
      `${BASE}/recovery`,
      `${BASE}/recovery/restore`,
      `${BASE}/recovery/restore/`,
      '/api/v1/persistence/sessions',
      '/api/v1/persistence/sessions/some',
      '/health/',
      '/docs/nothing.js',
      '/docs/../package.json',
      '/docs/%2e%2e/package.json',
      '/openapi.yaml',
      '/favicon.ico',
      '/%00',
      '/%ff',
      '/%',
      '/../../etc/passwd',
      '/💥'.replace('💥', encodeURIComponent('💥')),
    ]) {
      test(`${path} is 404, whatever the method`, async () => {
        for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']) {
          expectProblem(await call(method, path), 404, 'NOT_FOUND')
        }
      })
    }
  })

  describe('problems', () => {
    test('name the id in question', async () => {
      const missing = freshId()
      const session = { session_id: missing, detail: 'Session not found' }
      for (const [method, below] of [
        ['GET', ''],
        ['DELETE', ''],
        ['GET', '/tasks'],
        ['POST', '/undelete'],
      ] as const) {
        const answer = await call(method, `${BASE}/sessions/${missing}${below}`)
        expectProblem(answer, 404, 'SESSION_NOT_FOUND', session)
      }
      const change = await on.http.patch<Item>(`${BASE}/sessions/${missing}/status`, { status: 'failed' })
      expectProblem(change, 404, 'SESSION_NOT_FOUND', session)
      expectProblem(
        await call('POST', `${BASE}/recovery/restore/${missing}`),
        404,
        'SESSION_NOT_FOUND',
        session,
      )
      const task = { task_id: missing, detail: 'Task not found' }
      expectProblem(await call('GET', `${BASE}/tasks/${missing}`), 404, 'TASK_NOT_FOUND', task)
      const both = { ...task, session_id: 'some' }
      expectProblem(
        await call('GET', `${BASE}/tasks/${missing}?session_id=some`),
        404,
        'TASK_NOT_FOUND',
        both,
      )
    })

    test('have their form for every kind of fault', async () => {
      expectProblem(await call('GET', `${BASE}/sessions?page=0`), 422, 'VALIDATION_FAILED')
      expectProblem(await on.http.post<Item>(`${BASE}/sessions/batch`, '{'), 400, 'MALFORMED_REQUEST')
      expectProblem(await call('POST', `${BASE}/sessions/batch`), 415, 'UNSUPPORTED_MEDIA_TYPE')
      const undelete = await call('POST', `${BASE}/sessions/some/undelete`)
      expectProblem(undelete, 409, 'SESSION_NOT_DELETED', { session_id: 'some' })
    })

    for (const id of ['%00', '%0A', '%20', 'a%20', '%20a', 'batch', 'x'.repeat(65)]) {
      test(`an id in a path that can be none is 422 that names it: ${id.slice(0, 10)}`, async () => {
        for (const [method, target, field] of [
          ['GET', `${BASE}/sessions/${id}/tasks`, 'session_id'],
          ['POST', `${BASE}/sessions/${id}/undelete`, 'session_id'],
          ['POST', `${BASE}/recovery/restore/${id}`, 'session_id'],
          ...(id === 'batch' ? [] : [['GET', `${BASE}/tasks/${id}`, 'task_id'] as const]),
        ] as const) {
          const answer = await call(method, target)
          expectProblem(answer, 422, 'VALIDATION_FAILED')
          expect((answer.body.errors as Item[]).map((fault) => fault.field)).toEqual([field])
        }
      })
    }

    for (const id of ['%', '%f', '%ff', '%c0%af', '%ed%a0%80', '%zz']) {
      test(`a path that is no UTF-8, or badly escaped, fails nothing: ${id}`, async () => {
        for (const target of [
          `${BASE}/sessions/${id}`,
          `${BASE}/tasks/${id}`,
          `${BASE}/sessions/${id}/tasks`,
        ]) {
          expect([400, 404, 422]).toContain((await call('GET', target)).status)
        }
      })
    }
  })

  describe('cleanup is never a session', () => {
    test('where it is read, changed, restored or deleted', async () => {
      expectProblem(await call('GET', `${BASE}/sessions/cleanup`), 405, 'METHOD_NOT_ALLOWED')
      expectProblem(await call('GET', `${BASE}/sessions/cleanup/tasks`), 422, 'VALIDATION_FAILED')
      expectProblem(await call('POST', `${BASE}/recovery/restore/cleanup`), 422, 'VALIDATION_FAILED')
      const status = await on.http.patch<Item>(`${BASE}/sessions/cleanup/status`, { status: 'failed' })
      expectProblem(status, 422, 'VALIDATION_FAILED')
      const answer = await call('DELETE', `${BASE}/sessions/cleanup`)
      expect(answer.body).toEqual({
        status: 'completed',
        deleted_sessions: 0,
        deleted_tasks: 0,
        dry_run: false,
      })
    })
  })

  describe('request ids', () => {
    const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

    for (const id of ['req-123', 'x', 'a/b:c=d;e', '!~', 'x'.repeat(128)]) {
      test(`a given one is given back: ${id.slice(0, 12)}`, async () => {
        for (const target of ['/health', `${BASE}/sessions`, '/nothing', `${BASE}/sessions/${freshId()}`]) {
          const answer = await call('GET', target, { 'x-request-id': id })
          expect(answer.headers.get('x-request-id')).toBe(id)
          if (answer.status === 404) expect(answer.body.request_id).toBe(id)
        }
      })
    }

    for (const [name, id] of Object.entries({
      none: undefined,
      'an empty one': '',
      'a space in it': 'a b',
      'more than 128 characters': 'x'.repeat(129),
      'other letters': 'ü',
      'Chinese letters': '请求',
    })) {
      test(`${name}: one is made, a new one each time`, async () => {
        const headers = id === undefined ? {} : { 'x-request-id': id }
        const made = [await call('GET', '/nothing', headers), await call('GET', '/nothing', headers)]
        for (const answer of made) {
          expect(answer.headers.get('x-request-id')).toMatch(UUID_V7)
          expect(answer.body.request_id).toBe(answer.headers.get('x-request-id')!)
        }
        expect(made[0]!.body.request_id).not.toBe(made[1]!.body.request_id)
      })
    }
  })
})
