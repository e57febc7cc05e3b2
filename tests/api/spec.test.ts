/** The spec at /openapi.json says all that there is, and what it says is so; the page at /docs needs nobody else. */
import { beforeAll, describe, expect, test } from 'bun:test'
import { z } from '@hono/zod-openapi'
import { createApp } from '../../src/app.ts'
import type { Router } from '../../src/http/endpoint.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { createLogger } from '../../src/lib/log.ts'
import { deadLetterRoutes } from '../../src/system/dead_letter_routes.ts'
import { instanceRoutes } from '../../src/system/instance_routes.ts'
import { createSystem, type SystemOptions } from '../../src/system/mod.ts'
import { createTranslation, type TranslationOptions } from '../../src/translation/mod.ts'
import { onEachBackend } from '../support/in_process.ts'
import { BASE, type Item, sessionItem, taskItem, translation } from '../support/translation_data.ts'

interface Schema {
  $ref?: string
  type?: string | string[]
  properties?: Record<string, Schema>
  items?: Schema
  anyOf?: Schema[]
  enum?: unknown[]
  example?: unknown
  default?: unknown
  format?: string
}

type Content = Record<string, { schema: Schema; example?: unknown }>

interface Operation {
  operationId: string
  summary: string
  description: string
  tags: string[]
  deprecated?: boolean
  parameters?: { name: string; in: string; required: boolean; description?: string; schema: Schema }[]
  requestBody?: { required?: boolean; description?: string; content: Content }
  responses: Record<string, { description: string; content?: Content; headers?: Record<string, unknown> }>
}

interface Spec {
  openapi: string
  info: Item
  tags: { name: string; description: string }[]
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema> }
}

/** Pages for people; everything else is in the spec. */
const PAGES = ['/docs', '/docs/start.js', '/docs/swagger-ui-bundle.js', '/docs/swagger-ui.css']

/** The routes of the app. Nothing behind them is called: they are only registered. */
function routesOfTheApp(): string[] {
  const log = createLogger({ level: 'error', instance: 'none', write: () => undefined })
  const retention = {
    enabled: false,
    everyMs: 1,
    completedDays: 1,
    failedDays: 1,
    deletedDays: 1,
    incompleteDays: 1,
  }
  const slices = [
    createTranslation({ clock: systemClock, log, retention } as unknown as TranslationOptions),
    createSystem({
      routes: [
        (router: Router) =>
          deadLetterRoutes(router, { collections: [] } as unknown as Parameters<typeof deadLetterRoutes>[1]),
        instanceRoutes({} as unknown as Parameters<typeof instanceRoutes>[0]),
      ],
    } as unknown as SystemOptions),
  ]
  const app = createApp({
    version: '0.0.0',
    bodyLimits: { maxBytes: 1, maxTotalBytes: 1, timeoutMs: 1 },
    log,
    events: { onRequest: () => undefined },
    addressOf: () => null,
    door: { schemes: () => [], admit: () => undefined },
    corsOrigins: [],
    tls: false,
    slices,
  })
  const routes = app.routes.filter(({ method, path }) => method !== 'ALL' && !PAGES.includes(path))
  return [
    ...new Set(routes.map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)),
  ].sort()
}

onEachBackend('spec', {}, (on) => {
  const api = translation(on)
  let spec: Spec
  let operations: { name: string; method: string; path: string; operation: Operation }[]

  beforeAll(async () => {
    await api.store(
      [sessionItem('550e8400-e29b-41d4-a716-446655440000')],
      [taskItem('550e8400-e29b-41d4-a716-446655440000', 'task_001')],
    )
    const answer = await on.http.get<Spec>('/openapi.json')
    expect(answer.headers.get('content-type')).toBe('application/json')
    spec = answer.body
    operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        name: `${method.toUpperCase()} ${path}`,
        method: method.toUpperCase(),
        path,
        operation,
      })),
    )
  })

  /** What a schema of the spec takes. */
  const schemaOf = (schema: Schema) =>
    z.fromJSONSchema(
      JSON.parse(
        JSON.stringify({ ...schema, $defs: spec.components.schemas }).replaceAll(
          '#/components/schemas/',
          '#/$defs/',
        ),
      ),
    )
  const faultsOf = (schema: Schema, value: unknown): string[] =>
    schemaOf(schema)
      .safeParse(value)
      .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? []

  const resolved = (schema: Schema): Schema =>
    schema.$ref ? { ...spec.components.schemas[schema.$ref.split('/').at(-1)!], ...schema } : schema

  /** An example of a schema, made of the examples of its parts. */
  function exampleOf(given: Schema): unknown {
    const schema = resolved(given)
    if (schema.example !== undefined) return schema.example
    if (schema.properties) {
      return Object.fromEntries(
        Object.entries(schema.properties).map(([name, part]) => [name, exampleOf(part)]),
      )
    }
    if (schema.items) return [exampleOf(schema.items)]
    if (schema.anyOf) return exampleOf(schema.anyOf[0]!)
    if (schema.format === 'date-time') return '2025-09-30T10:15:30.000Z'
    const [type] = [schema.type].flat()
    return (
      schema.default ??
      schema.enum?.[0] ??
      { boolean: false, integer: 0, number: 0, object: {} }[type!] ??
      'text'
    )
  }

  /** Every schema within the spec, with the place where it stands. */
  function* schemasIn(value: unknown, place: string): Generator<[string, Schema]> {
    if (typeof value !== 'object' || value === null) return
    const { type, $ref, enum: words } = value as Schema
    if (typeof type === 'string' || Array.isArray(type) || $ref !== undefined || words)
      yield [place, value as Schema]
    for (const [name, part] of Object.entries(value)) {
      if (name !== 'example') yield* schemasIn(part, `${place}.${name}`)
    }
  }

  test('is OpenAPI 3.1, and has every route of the app and no other', () => {
    expect(spec.openapi).toMatch(/^3\.1\.\d+$/)
    expect(operations.map(({ name }) => name).sort()).toEqual(routesOfTheApp())
  })

  test('every operation has an id of its own, words for people, and a known tag', () => {
    const ids = operations.map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    const tags = spec.tags.map(({ name }) => name)
    for (const { operation } of operations) {
      expect(operation.operationId).toMatch(/^[a-z][a-zA-Z0-9]+$/)
      expect(operation.summary.length).toBeGreaterThan(5)
      expect(operation.description.length).toBeGreaterThan(5)
      expect(operation.tags.length).toBe(1)
      expect(tags).toContain(operation.tags[0]!)
      for (const { description, schema } of operation.parameters ?? []) {
        expect((description ?? schema.example) !== undefined).toBe(true)
      }
    }
  })

  test('the paths of version 1, and DELETE of cleanup, are deprecated, and nothing else is', () => {
    const deprecated = operations.filter(({ operation }) => operation.deprecated).map(({ name }) => name)
    const want = operations.filter(
      ({ name, path }) =>
        path.startsWith('/api/v1/persistence/') || name === `DELETE ${BASE}/sessions/cleanup`,
    )
    expect(deprecated).toEqual(want.map(({ name }) => name))
  })

  test('every operation declares its errors, each as a problem', () => {
    for (const { operation, path } of operations) {
      const errors = Object.entries(operation.responses).filter(([status]) => Number(status) >= 400)
      const statuses = errors.map(([status]) => status)
      expect(statuses).toContain('500')
      if (operation.requestBody)
        expect(statuses).toEqual(expect.arrayContaining(['400', '413', '415', '422']))
      if (operation.parameters?.length) expect(statuses).toContain('422')
      if (path.includes('{')) expect(statuses).toContain('404')
      for (const [status, { content, headers, description }] of errors) {
        expect(description).not.toBe('')
        if (path === '/health/ready') continue
        // The flush's own answer, as far as it got: `status: error`.
        if (path.endsWith('/flush') && status === '504') continue
        expect(content!['application/problem+json']!.schema.$ref).toBe('#/components/schemas/Problem')
        if (status === '503') expect(Object.keys(headers ?? {})).toContain('Retry-After')
      }
    }
  })

  test('every path parameter is declared, and required', () => {
    for (const { operation, path } of operations) {
      const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
      expect(declared.map(({ name }) => name)).toEqual(names as string[])
      for (const { required } of declared) expect(required).toBe(true)
    }
  })

  describe('examples', () => {
    test('of every schema, parameter and answer are valid', () => {
      const wrong: string[] = []
      let seen = 0
      for (const [place, schema] of schemasIn(spec, 'spec')) {
        if (schema.example === undefined) continue
        seen++
        wrong.push(...faultsOf(schema, schema.example).map((fault) => `${place} ${fault}`))
      }
      for (const { name, operation } of operations) {
        for (const [status, { content = {} }] of Object.entries(operation.responses)) {
          for (const { schema, example } of Object.values(content)) {
            if (example === undefined) continue
            seen++
            wrong.push(...faultsOf(schema, example).map((fault) => `${name} ${status} ${fault}`))
          }
        }
      }
      expect(wrong).toEqual([])
      expect(seen).toBeGreaterThan(100)
    })

    test('of every component make a valid whole', () => {
      const wrong = Object.entries(spec.components.schemas).flatMap(([name, schema]) =>
        faultsOf(schema, exampleOf(schema)).map((fault) => `${name} ${fault}`),
      )
      expect(wrong).toEqual([])
    })

    test('of every request are taken by the service', async () => {
      for (const { name, method, path, operation } of operations.filter(
        (each) => each.operation.requestBody,
      )) {
        const body = exampleOf(operation.requestBody!.content['application/json']!.schema)
        const target = path.replaceAll(/\{(\w+)\}/g, (_, parameter) => {
          const found = operation.parameters!.find((each) => each.name === parameter)
          return String(exampleOf(found!.schema))
        })
        const answer = await on.http.request(method, target, body)
        expect(`${name} ${answer.status} ${answer.text}`).toMatch(new RegExp(`^${method} \\S+ 20[02] `))
      }
    })
  })

  test('what null clears may be null in every item, sparse or not', () => {
    const session = ['session_id', 'filename', 'file_path', 'status', 'llm_provider']
    const task = [
      'session_id',
      'task_id',
      'batch_id',
      'sheet_name',
      'row_index',
      'column_name',
      'source_text',
      'status',
    ]
    const required = { SessionInput: session, SessionPatch: session, TaskInput: task, TaskPatch: task }
    const refusingNull = Object.keys(required).map((name) => {
      const fields = Object.entries(spec.components.schemas[name]!.properties!)
      return [
        name,
        fields
          .filter(([, schema]) => faultsOf(schema, null).length > 0)
          .map(([field]) => field)
          .sort(),
      ]
    })
    expect(Object.fromEntries(refusingNull)).toEqual(
      Object.fromEntries(Object.entries(required).map(([name, fields]) => [name, fields.toSorted()])),
    )
  })

  describe('what is answered is what the spec says', () => {
    const id = '550e8400-e29b-41d4-a716-446655440000'
    const task = taskItem(id, 'task_001')
    const calls: readonly [method: string, path: string, target: string, body?: unknown][] = [
      ['POST', `${BASE}/sessions/batch`, `${BASE}/sessions/batch`, { sessions: [sessionItem(id)] }],
      ['POST', `${BASE}/sessions/batch`, `${BASE}/sessions/batch`, { sessions: [] }],
      ['POST', `${BASE}/sessions/batch`, `${BASE}/sessions/batch`, '{'],
      ['POST', `${BASE}/tasks/batch`, `${BASE}/tasks/batch?wait=true`, { tasks: [task] }],
      ['POST', `${BASE}/tasks/batch`, `${BASE}/tasks/batch?partial=true`, { tasks: [task, {}] }],
      [
        'PATCH',
        `${BASE}/tasks/batch`,
        `${BASE}/tasks/batch`,
        { tasks: [{ session_id: id, task_id: 'task_001' }] },
      ],
      ['POST', `${BASE}/flush`, `${BASE}/flush`],
      ['GET', `${BASE}/sessions`, `${BASE}/sessions?page_size=1`],
      ['GET', `${BASE}/sessions`, `${BASE}/sessions?page=0`],
      ['GET', `${BASE}/sessions/{session_id}`, `${BASE}/sessions/${id}`],
      ['GET', `${BASE}/sessions/{session_id}`, `${BASE}/sessions/nobody`],
      ['GET', `${BASE}/sessions/{session_id}/tasks`, `${BASE}/sessions/${id}/tasks`],
      ['GET', `${BASE}/tasks`, `${BASE}/tasks`],
      ['GET', `${BASE}/tasks/{task_id}`, `${BASE}/tasks/task_001`],
      ['GET', `${BASE}/recovery/incomplete-sessions`, `${BASE}/recovery/incomplete-sessions`],
      ['POST', `${BASE}/recovery/restore/{session_id}`, `${BASE}/recovery/restore/${id}`],
      ['GET', `${BASE}/recovery/status`, `${BASE}/recovery/status`],
      [
        'PATCH',
        `${BASE}/sessions/{session_id}/status`,
        `${BASE}/sessions/${id}/status`,
        { status: 'failed' },
      ],
      ['POST', `${BASE}/sessions/{session_id}/undelete`, `${BASE}/sessions/${id}/undelete`],
      ['GET', `${BASE}/stats`, `${BASE}/stats`],
      ['POST', `${BASE}/sessions/cleanup`, `${BASE}/sessions/cleanup`, { dry_run: true }],
      ['GET', '/api/v1/persistence/stats', '/api/v1/persistence/stats'],
      ['GET', '/health', '/health'],
      ['GET', '/health/live', '/health/live'],
      ['GET', '/health/ready', '/health/ready'],
      ['GET', '/api/v1/system/health', '/api/v1/system/health'],
      ['GET', '/api/v1/system/config', '/api/v1/system/config'],
      ['DELETE', `${BASE}/sessions/{session_id}`, `${BASE}/sessions/${id}`],
    ]
    for (const [method, path, target, body] of calls) {
      const words = `${method} ${target.replace(id, '{id}')}${body === undefined ? '' : ` ${JSON.stringify(body).slice(0, 30)}`}`
      test(words, async () => {
        const answer = await on.http.request(method, target, body)
        const declared = spec.paths[path]![method.toLowerCase()]!.responses[String(answer.status)]
        expect(declared).toBeDefined()
        const { schema } = declared!.content![answer.headers.get('content-type')!]!
        expect(faultsOf(schema, answer.body)).toEqual([])
      })
    }
  })
})

onEachBackend('docs page', { only: ['sqlite'] }, (on) => {
  const ADDRESS = /\b(?:src|href)="([^"]*)"/g

  test('loads all it needs from the service itself', async () => {
    const page = await on.http.get('/docs')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-type')).toMatch(/^text\/html/)
    expect(page.text).not.toMatch(/https?:/)
    const addresses = [...page.text.matchAll(ADDRESS)]
      .map(([, address]) => address!)
      .filter((address) => !address.startsWith('data:'))
    expect(addresses.length).toBeGreaterThan(1)
    for (const address of addresses) {
      expect(address).toMatch(/^\/docs\//)
      const asset = await on.http.get(address)
      expect(asset.status).toBe(200)
      const type = address.endsWith('.css') ? 'text/css' : 'text/javascript'
      expect(asset.headers.get('content-type')).toBe(`${type}; charset=utf-8`)
      expect(asset.headers.get('x-content-type-options')).toBe('nosniff')
      expect(asset.text.length).toBeGreaterThan(50)
    }
  })

  test('shows the spec of this service, and asks no validator elsewhere', async () => {
    const { text } = await on.http.get('/docs/start.js')
    expect(text).toContain("'/openapi.json'")
    expect(text).toContain('validatorUrl: null')
    expect(text).not.toMatch(/https?:/)
    expect((await on.http.get('/docs/swagger-ui-bundle.js')).text).toContain('SwaggerUIBundle')
    expect((await on.http.get('/docs/swagger-ui.css')).text).toContain('.swagger-ui')
  })

  test('is not let to reach anybody else, even if it wanted to', async () => {
    const policy = (await on.http.get('/docs')).headers.get('content-security-policy')!
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toMatch(/https?:|\*/)
  })
})
