/** The app is Bun's alone nowhere: bundled without the embedded backend, it answers under Node. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { RowDataPacket } from 'mysql2/promise'
import { freshDatabase, sqlServers } from '../support/backends.ts'
import { api } from '../support/http.ts'
import { findNode } from '../support/node_runtime.ts'
import { sessionItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const ENTRY = fileURLToPath(new URL('node_entry.ts', import.meta.url))
const LISTENING_TIMEOUT_MS = 20_000
const READY_TIMEOUT_MS = 10_000
const BASE = '/api/v1/translation'

const node = await findNode()
const missing = 'missing' in node ? node.missing : undefined
const title = missing ? `left out: ${missing}` : `Node ${'version' in node ? node.version : ''}`

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'persistence-edge-'))
  await Bun.build({
    entrypoints: [ENTRY],
    outdir: folder,
    target: 'node',
    splitting: true,
    throw: true,
    plugins: [
      {
        name: 'without the embedded backend',
        setup: (build) =>
          void build.onResolve({ filter: /\/sqlite\/\w+\.ts$/ }, ({ path }) => ({ path, external: true })),
      },
    ],
  })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('outside of the embedded backend no bun: module is imported, and the global Bun is not used', async () => {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.js'))
  expect(files.length).toBeGreaterThan(1)
  for (const name of files) {
    const text = await readFile(join(folder, name), 'utf8')
    const found = text.match(/["'`]bun(:\w+)?["'`]|(?<![\w$.])Bun\s*(\.|\[)|typeof Bun\b|globalThis\.Bun\b/g)
    expect({ name, found }).toEqual({ name, found: null })
  }
})

describe.skipIf(missing !== undefined && process.env.CI !== 'true')(title, () => {
  test('without its database: health, readiness, spec, docs, metrics, and every kind of refusal', async () => {
    await using service = await startUnderNode({
      DATABASE_URL: 'mysql://nobody@127.0.0.1:1/nothing',
      MAX_BODY_BYTES: '2000',
    })
    const http = api(service.url)
    const health = await http.get('/health')
    expect(health.status).toBe(200)
    expect(health.body).toMatchObject({ status: 'degraded', database: 'unhealthy' })
    expect((await http.get('/health/live')).status).toBe(200)
    expect((await http.get('/health/ready')).status).toBe(503)
    expect((await http.get('/openapi.json')).body).toMatchObject({ openapi: '3.1.0' })
    for (const [path, word] of [
      ['/docs', '<!doctype html>'],
      ['/docs/swagger-ui.css', '.swagger-ui'],
      ['/docs/swagger-ui-bundle.js', 'SwaggerUIBundle'],
    ] as const) {
      const page = await http.get(path)
      expect([path, page.status, page.text.includes(word)]).toEqual([path, 200, true])
    }
    expect((await http.get('/api/v1/system/metrics')).text).toContain('persistence_api_requests_total')

    const nowhere = await http.get('/nowhere')
    expect([nowhere.status, nowhere.headers.get('content-type')]).toEqual([404, 'application/problem+json'])
    const wrongMethod = await http.request('DELETE', '/openapi.json')
    expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'HEAD, GET'])
    const path = `${BASE}/tasks/batch`
    const items = { tasks: taskItems('s', 1) }
    expect((await http.post(path, 'a=b', { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await http.post(path, '{"tasks": [')).status).toBe(400)
    expect((await http.post(path, { tasks: [{ task_id: 't' }] })).body).toMatchObject({
      status: 422,
      error_code: 'VALIDATION_FAILED',
    })
    expect((await http.post(path, { tasks: taskItems('s', 100) })).status).toBe(413)
    const packed = Bun.gzipSync(JSON.stringify(items))
    for (const [body, headers] of [
      [items, {}],
      [packed, { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
    ] as const) {
      const answer = await http.post(path, body, headers)
      expect(answer.status).toBe(503)
      expect(answer.body).toMatchObject({ error_code: 'NOT_READY' })
    }
    expect((await http.get(`${BASE}/sessions/s`)).status).toBe(503)
    expect(await service.stop()).toBe(0)
  })

  for (const server of sqlServers) {
    test(`on ${server}: migrates, accepts, flushes, reads, restores as a stream, and stores what is left at its end`, async () => {
      const database = await freshDatabase(server)
      try {
        await using service = await startUnderNode({ DATABASE_URL: database.url, FLUSH_INTERVAL: '3600' })
        const http = api(service.url)
        await until(async () => (await http.get('/health/ready')).status === 200, {
          message: () => `ready\n${service.output()}`,
          timeoutMs: READY_TIMEOUT_MS,
        })
        const text = '你好 🐉 مرحبا'
        expect((await http.post(`${BASE}/sessions/batch`, { sessions: [sessionItem('s')] })).status).toBe(202)
        const tasks = taskItems('s', 500, { source_text: text })
        expect((await http.post(`${BASE}/tasks/batch`, { tasks })).status).toBe(202)
        expect((await http.post(`${BASE}/flush`)).body).toMatchObject({
          sessions_written: 1,
          tasks_written: 500,
        })
        const task = await http.get(`${BASE}/tasks/task_7?session_id=s`)
        expect(task.body).toMatchObject({ source_text: text, status: 'pending' })
        const list = await http.get(`${BASE}/sessions/s/tasks?page_size=100`)
        expect(list.body).toMatchObject({ total: 500, total_pages: 5 })
        const restored = await http.post(`${BASE}/recovery/restore/s`, undefined, {
          accept: 'application/x-ndjson',
        })
        expect(restored.text.trim().split('\n').length).toBe(502)
        expect((await http.get('/health')).body).toMatchObject({ status: 'healthy' })

        await http.patch(`${BASE}/tasks/batch`, {
          tasks: [{ session_id: 's', task_id: 'task_7', status: 'completed' }],
        })
        expect(await service.stop()).toBe(0)
        const rows = await database.query<RowDataPacket[]>(
          "SELECT task_id FROM translation_tasks WHERE status = 'completed'",
        )
        expect(rows.map(({ task_id }) => task_id)).toEqual(['task_7'])
      } finally {
        await database.drop()
      }
    })
  }
})

interface EdgeService extends AsyncDisposable {
  url: string
  output(): string
  /** SIGTERM, and the exit code. */
  stop(): Promise<number>
}

async function startUnderNode(env: Record<string, string>): Promise<EdgeService> {
  if ('missing' in node) throw new Error(node.missing)
  const child = Bun.spawn([node.path, join(folder, 'node_entry.js')], {
    // The journal is Bun's: without it a 202 is as safe as its process.
    env: { PATH: process.env.PATH ?? '', DATA_DIR: folder, BUFFER_JOURNAL: 'off', ...env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  let printed = ''
  const read = [child.stdout, child.stderr].map(async (stream) => {
    const decoder = new TextDecoder()
    for await (const chunk of stream) printed += decoder.decode(chunk, { stream: true })
  })
  const end = async () => {
    child.kill('SIGKILL')
    await Promise.all([child.exited, ...read])
  }
  try {
    const port = await until(
      () => /"port":(\d+)/.exec(printed)?.[1] ?? (child.exitCode !== null && 'ended'),
      { timeoutMs: LISTENING_TIMEOUT_MS, message: () => `the bundle listens\n${printed}` },
    )
    if (port === 'ended') throw new Error(`the bundle ended with ${child.exitCode}\n${printed}`)
    return {
      url: `http://127.0.0.1:${port}`,
      output: () => printed,
      async stop() {
        child.kill('SIGTERM')
        return child.exited
      },
      [Symbol.asyncDispose]: end,
    }
  } catch (error) {
    await end()
    throw error
  }
}
