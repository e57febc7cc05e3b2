/** Health, metrics, configuration and the log, as operators meet them. */
import { describe, expect, test } from 'bun:test'
import { freshFolder } from '../support/backends.ts'
import { api as client } from '../support/http.ts'
import { onEachBackend, rawRequest, startInProcess } from '../support/in_process.ts'
import type { LogLine } from '../support/service.ts'
import { BASE, freshId, type Item, sessionItem, taskItems, translation } from '../support/translation_data.ts'

interface Health {
  status: string
  database: string
  buffer: Record<string, unknown> & { conservation: Record<string, unknown>[] }
  backends: Record<string, unknown>[]
  instance_id: string
  uptime_seconds: number
  version: string
}

onEachBackend('health', { env: { INSTANCE_ID: 'one-of-many' } }, (on) => {
  const api = translation(on)

  for (const path of ['/health', '/api/v1/system/health']) {
    test(`${path} tells what is buffered, and that all is well`, async () => {
      await api.flush()
      const id = freshId()
      await api.postSessions([sessionItem(id)])
      await api.postTasks(taskItems(id, 399))
      const before = Date.now()
      const { status, body } = await on.http.get<Health>(path)
      expect(status).toBe(200)
      expect(body).toMatchObject({ status: 'healthy', database: 'healthy', instance_id: 'one-of-many' })
      expect(body.buffer).toMatchObject({
        sessions_count: 1,
        tasks_count: 399,
        total_count: 400,
        capacity: 200_000,
        usage_percent: 0.2,
      })
      expect(body.buffer.oldest_age_seconds).toBeWithin(0, 10)
      expect(Date.parse(String(body.buffer.last_flush))).toBeLessThanOrEqual(before)
      expect(body.backends).toEqual([
        {
          name: on.store.kind,
          type: on.store.kind,
          status: 'healthy',
          latency_ms: body.backends[0]!.latency_ms,
        },
      ])
      expect(Number.isInteger(body.uptime_seconds)).toBe(true)
      expect(body.version).toMatch(/^\d+\.\d+\.\d+$/)
      const tasks = body.buffer.conservation.find(({ collection }) => collection === 'translation_tasks')!
      expect(tasks).toMatchObject({ buffered: 399, balanced: true, dead_lettered: 0, voided: 0 })
      expect(tasks.accepted).toBe(Number(tasks.stored) + Number(tasks.merged) + 399)
      await api.flush()
      expect((await on.http.get<Health>(path)).body.buffer.oldest_age_seconds).toBeNull()
    })
  }

  test('the probes answer what orchestrators ask', async () => {
    const live = await on.http.get('/health/live')
    expect(live).toMatchObject({ status: 200, body: { status: 'alive' } })
    const ready = await on.http.get('/health/ready')
    expect(ready).toMatchObject({ status: 200, body: { status: 'ready', reason: null } })
  })
})

const SECRET = 'planted-s3cret/&"\'%'

describe('a service that has never reached its database', () => {
  test('is alive but not ready, degraded, takes nothing, and keeps its secrets', async () => {
    const { env, drop } = await freshFolder()
    const service = await startInProcess({
      // Nobody listens on port 1 of loopback.
      env: { ...env, DB_HOST: '127.0.0.1', DB_PORT: '1', DB_PASSWORD: SECRET, DB_USER: 'somebody' },
      waitFor: 'listening',
    })
    try {
      const http = client(service.url)
      expect((await http.get('/health/live')).status).toBe(200)
      const ready = await http.get('/health/ready')
      expect(ready).toMatchObject({ status: 503, body: { status: 'not_ready' } })
      expect(ready.body.reason).toEqual(expect.any(String))
      const health = await http.get<Health>('/health')
      expect(health.status).toBe(200)
      expect(health.body).toMatchObject({ status: 'degraded', database: 'unhealthy' })
      expect(health.body.backends).toMatchObject([{ name: 'mysql', status: 'starting' }])

      const write = await http.post(`${BASE}/sessions/batch`, { sessions: [sessionItem('x')] })
      expect(write.status).toBe(503)
      expect(write.body).toMatchObject({ error_code: 'NOT_READY' })
      expect(Number(write.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      const start = performance.now()
      for (const path of [
        'sessions',
        'sessions/x',
        'tasks',
        'tasks/x',
        'stats',
        'recovery/status',
        'recovery/incomplete-sessions',
      ]) {
        const read = await http.get(`${BASE}/${path}`)
        expect(read.status).toBe(503)
        expect(read.headers.get('content-type')).toBe('application/problem+json')
        expect(read.body).toMatchObject({ error_code: 'BACKEND_UNAVAILABLE', status: 503 })
        expect(Number(read.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      }
      expect((await http.post(`${BASE}/flush`)).status).toBe(503)
      expect(performance.now() - start).toBeLessThan(5000)

      const config = await http.get('/api/v1/system/config')
      expect(config.status).toBe(200)
      expect(JSON.stringify(config.body)).toContain('"password":"***"')
      for (const text of [
        config.text,
        JSON.stringify(service.logs),
        (await http.get('/api/v1/system/metrics')).text,
      ]) {
        expect(text).not.toContain('planted')
      }
    } finally {
      await service.stop()
      await drop()
    }
  })
})

onEachBackend('configuration', { env: { MAX_BUFFER_SIZE: '777', DELETE_MODE: 'soft' } }, (on) => {
  test('shows what the service runs with', async () => {
    const { status, body } = await on.http.get('/api/v1/system/config')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      buffer: { max_buffer_size: 777, flush_interval: 3600 },
      translation: { delete_mode: 'soft' },
      storage: { routes: { translation_sessions: on.store.kind, translation_tasks: on.store.kind } },
    })
  })

  test('never shows a password', async () => {
    const { text } = await on.http.get('/api/v1/system/config')
    if (on.store.kind === 'mysql') expect(text).toContain('"password":"***"')
    expect(text).not.toMatch(/"password":"(?!\*\*\*")/)
    expect(text).not.toMatch(/:\/\/[^*"]+@/)
  })
})

onEachBackend('request log', {}, (on) => {
  const api = translation(on)

  /** The lines of one request, which is sent with an id of its own. */
  async function linesOf(method: string, target: string, body?: unknown): Promise<LogLine[]> {
    const id = freshId('req')
    const headers = { 'x-request-id': id, ...(body !== undefined && { 'content-type': 'application/json' }) }
    await rawRequest(on.url, {
      method,
      target,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    return on.logs.filter(({ request_id }) => request_id === id)
  }

  test('a write is one line with the documented fields', async () => {
    const session = freshId()
    const lines = await linesOf('POST', `${BASE}/tasks/batch`, { tasks: taskItems(session, 3) })
    expect(lines.length).toBe(1)
    const [line] = lines as [LogLine]
    expect(line).toMatchObject({
      level: 'INFO',
      service: 'persistence-service',
      endpoint: `${BASE}/tasks/batch`,
      method: 'POST',
      session_id: session,
      meta: { count: 3, status: 202 },
    })
    expect(line.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(line.instance).toBe((await on.http.get<Health>('/health')).body.instance_id)
    expect(line.message).toEqual(expect.any(String))
    expect(line.meta!.duration_ms).toEqual(expect.any(Number))
  })

  test("a write's line says how much is buffered, as documented", async () => {
    await api.flush()
    const [line] = await linesOf('POST', `${BASE}/tasks/batch`, { tasks: taskItems(freshId(), 3) })
    expect(line!.meta).toMatchObject({ count: 3, buffer_size: 3 })
  })

  test('a batch of several sessions names none', async () => {
    const items = [sessionItem(freshId()), sessionItem(freshId())]
    const [line] = await linesOf('POST', `${BASE}/sessions/batch`, { sessions: items })
    expect(line!.session_id).toBeUndefined()
    expect(line!.meta).toMatchObject({ count: 2 })
  })

  test('the endpoint is the pattern of the route, whatever the id; the session has a field of its own', async () => {
    for (const [method, below, pattern] of [
      ['GET', '', ''],
      ['GET', '/tasks', '/tasks'],
      ['POST', '/undelete', '/undelete'],
      ['DELETE', '', ''],
    ] as const) {
      const id = `a/${freshId()} x`
      const lines = await linesOf(method, `${BASE}/sessions/${encodeURIComponent(id)}${below}`)
      expect(lines.length).toBe(1)
      expect(lines[0]).toMatchObject({
        endpoint: `${BASE}/sessions/{session_id}${pattern}`,
        method,
        session_id: id,
      })
    }
    const [task] = await linesOf('GET', `${BASE}/tasks/some`)
    expect(task).toMatchObject({ endpoint: `${BASE}/tasks/{task_id}` })
  })

  test('a refused request is one line that says why', async () => {
    const [bad] = await linesOf('GET', `${BASE}/sessions?page=0`)
    expect(bad).toMatchObject({ level: 'INFO', meta: { status: 422, error_code: 'VALIDATION_FAILED' } })
    const lines = await linesOf('GET', '/nothing/at/all')
    expect(lines.length).toBe(1)
    expect(lines[0]).toMatchObject({ meta: { status: 404, error_code: 'NOT_FOUND' } })
    const [method] = await linesOf('PUT', `${BASE}/sessions`)
    expect(method).toMatchObject({ method: 'PUT', meta: { status: 405 } })
  })

  test('probes and scrapes that succeed are no lines', async () => {
    for (const path of [
      '/health',
      '/health/live',
      '/health/ready',
      '/api/v1/system/health',
      '/api/v1/system/metrics',
    ]) {
      expect(await linesOf('GET', path)).toEqual([])
    }
  })

  test('a restore, and a status change, are one line each', async () => {
    const id = freshId()
    await api.store([sessionItem(id)])
    for (const [method, target, body] of [
      ['POST', `${BASE}/recovery/restore/${id}`, undefined],
      ['PATCH', `${BASE}/sessions/${id}/status`, { status: 'failed' } as Item],
    ] as const) {
      const lines = await linesOf(method, target, body)
      expect(lines.length).toBe(1)
      expect(lines[0]).toMatchObject({ session_id: id, meta: { status: 200 } })
    }
  })
})
