/** The service inside the test process: the real house and real HTTP, but counted by bun's coverage. */
import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createConnection } from 'mysql2/promise'
import packageJson from '../../package.json' with { type: 'json' }
import { readKeyFile } from '../../src/auth/key_file.ts'
import { COLLECTIONS } from '../../src/collections/catalog.ts'
import { serverOptions } from '../../src/compose/server_options.ts'
import { compose, type Service } from '../../src/compose.ts'
import { loadConfig } from '../../src/config/mod.ts'
import { uuidv7 } from '../../src/lib/ids.ts'
import { createLogger } from '../../src/lib/log.ts'
import { type BackendUnderTest, type FreshEnv, recordBackends } from './backends.ts'
import { type Answer, type Api, api } from './http.ts'
import type { LogLine } from './service.ts'
import { until } from './waiting.ts'

/** A timer must not flush, or clean up, what a test has just set up. */
const QUIET_ENV = {
  FLUSH_INTERVAL: '3600',
  RETENTION_ENABLED: 'false',
  SHUTDOWN_TIMEOUT: '5',
}

/** A service that runs in this process. */
export interface InProcess {
  url: string
  http: Api
  service: Service
  /** The lines of its log so far. */
  logs: LogLine[]
  /** Stores what is buffered (5 s), then ends. */
  stop(): Promise<void>
}

interface StartOptions {
  env: Record<string, string>
  /** `listening` is for a service that can't be ready: its database is not there. */
  waitFor?: 'ready' | 'listening'
}

/**
 * Builds the service from its environment, as src/main.ts does, and serves it on a free port of loopback.
 * A flush comes only on request, at 1000 rows or at a terminal session, unless FLUSH_INTERVAL says otherwise.
 * Throws when it does not get ready within 30 s.
 */
export async function startInProcess({ env, waitFor = 'ready' }: StartOptions): Promise<InProcess> {
  const config = loadConfig({
    env: { ...QUIET_ENV, ...env },
    readFile: (path) => readFileSync(path, 'utf8'),
    readKeyFile,
    collections: [...COLLECTIONS],
  })
  const logs: LogLine[] = []
  const instanceId = config.service.instance_id ?? `instance-${uuidv7()}`
  const log = createLogger({
    level: config.service.log_level,
    instance: instanceId,
    write: (line) => logs.push(JSON.parse(line)),
  })
  const service = await compose({ config, instanceId, version: packageJson.version, log })
  const server = Bun.serve({
    ...serverOptions({ service: config.service, tls: null, fetch: service.fetch, log }),
    hostname: '127.0.0.1',
    port: 0,
  })
  const url = `http://127.0.0.1:${server.port}`
  const stop = async () => {
    await service.shutdown()
    await server.stop(true)
  }
  service.start()
  try {
    if (waitFor === 'ready') {
      await until(async () => (await fetch(`${url}/health/ready`)).status === 200, {
        timeoutMs: 30_000,
        message: () =>
          `the service did not get ready\n${logs.map((line) => JSON.stringify(line)).join('\n')}`,
      })
    }
  } catch (error) {
    await stop()
    throw error
  }
  return { url, http: api(url), service, logs, stop }
}

/** The stored tables, past the service. */
export interface Store {
  kind: 'sqlite' | 'mysql'
  /** Runs one statement with `?` parameters; the rows of a query, none for a change. */
  run<T = Record<string, unknown>>(
    statement: string,
    params?: readonly (string | number | Uint8Array)[],
  ): Promise<T[]>
  /** Milliseconds since the epoch as a column of times holds them. */
  time(ms: number): string | number
  /** Runs a change and keeps what it locks until the answered function is called. Servers alone can. */
  lock?(statement: string, params: readonly string[]): Promise<() => Promise<void>>
}

function sqliteStore(path: string): Store {
  return {
    kind: 'sqlite',
    time: (ms) => ms,
    async run(statement, params = []) {
      const database = new Database(path, { readwrite: true })
      try {
        database.run('PRAGMA busy_timeout = 5000')
        return database.query(statement).all(...params) as never
      } finally {
        database.close()
      }
    },
  }
}

function mysqlStore(uri: string): Store {
  return {
    kind: 'mysql',
    time: (ms) => new Date(ms).toISOString().slice(0, 23).replace('T', ' '),
    async run(statement, params = []) {
      const connection = await createConnection({ uri, timezone: 'Z', charset: 'utf8mb4' })
      try {
        const values = params.map((value) => (value instanceof Uint8Array ? Buffer.from(value) : value))
        const [rows] = await connection.query(statement, values)
        return (Array.isArray(rows) ? rows : []) as never
      } finally {
        await connection.end()
      }
    },
    async lock(statement, params) {
      const connection = await createConnection({ uri })
      await connection.beginTransaction()
      await connection.query(statement, [...params])
      return async () => {
        await connection.rollback()
        await connection.end()
      }
    },
  }
}

function storeOf(env: Record<string, string>): Store {
  return env.DATABASE_URL
    ? mysqlStore(env.DATABASE_URL)
    : sqliteStore(join(env.DATA_DIR!, 'persistence.sqlite'))
}

/** A service on one of the backends, with its stores; there while the tests of its file run. */
export interface OnBackend {
  readonly backend: BackendUnderTest['name']
  readonly url: string
  readonly http: Api
  readonly logs: LogLine[]
  readonly store: Store
}

interface EachBackendOptions {
  env?: Record<string, string>
  /** Messages of ERROR lines that the tests bring about on purpose. */
  expectedErrors?: readonly string[]
  /** Backends to leave out. */
  only?: readonly BackendUnderTest['name'][]
}

/**
 * Runs tests on every record backend of this run: one service with fresh stores for all of them. At the end
 * no row may be unaccounted for, and no request may have failed inside the service.
 */
export function onEachBackend(
  title: string,
  options: EachBackendOptions,
  define: (on: OnBackend) => void,
): void {
  const { env = {}, expectedErrors = [], only } = options
  for (const backend of recordBackends) {
    if (only && !only.includes(backend.name)) continue
    describe(`${title}, ${backend.name}`, () => {
      let fresh: FreshEnv
      let running: InProcess
      let store: Store
      let startLines = 0
      beforeAll(async () => {
        fresh = await backend.freshEnv()
        running = await startInProcess({ env: { ...fresh.env, ...env } })
        startLines = running.logs.length
        store = storeOf(fresh.env)
      })
      afterAll(async () => {
        await running.stop()
        await fresh.drop()
      })
      define({
        backend: backend.name,
        get url() {
          return running.url
        },
        get http() {
          return running.http
        },
        get logs() {
          return running.logs
        },
        get store() {
          return store
        },
      })
      test('at the end every row is accounted for, and nothing failed inside', async () => {
        const { body } = await running.http.get<{ buffer: { conservation: { balanced: boolean }[] } }>(
          '/health',
        )
        expect(body.buffer.conservation.filter(({ balanced }) => !balanced)).toEqual([])
        const failures = running.logs
          .slice(startLines)
          .filter(({ level, message }) => level === 'ERROR' && !expectedErrors.includes(message))
        expect(failures).toEqual([])
      })
    })
  }
}

interface RawRequest {
  method: string
  /** Goes out as it is: what `fetch` would resolve away, or encode, stays. */
  target: string
  headers?: Readonly<Record<string, string>>
  /** With its Content-Length; parts go out as chunks, without. */
  body?: string | Uint8Array | readonly Uint8Array[]
  /**
   * Runs at the first bytes of the answer; nothing more is read until it says so. Where it hangs up, the
   * text of the answer is what came until then.
   */
  atFirstBytes?: () => Promise<'read on' | 'hang up'>
}

/** A request byte for byte as given, on a connection of its own. Throws when no whole answer comes within 30 s. */
export async function rawRequest(url: string, request: RawRequest): Promise<Answer<Record<string, unknown>>> {
  const { hostname, port, host } = new URL(url)
  const { method, target, headers = {}, body } = request
  const chunked = Array.isArray(body)
  const whole = chunked || body === undefined ? null : Buffer.from(body as string)
  const lines = {
    host,
    connection: 'close',
    ...(chunked && { 'transfer-encoding': 'chunked' }),
    ...(whole && { 'content-length': String(whole.byteLength) }),
    ...headers,
  }
  const head = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`)
  const received: Buffer[] = []
  let hungUp = false
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>()
  const socket = connect({ host: hostname, port: Number(port) })
  const late = setTimeout(() => reject(new Error(`no answer to ${method} ${target}`)), 30_000)
  socket.on('data', (chunk: Buffer) => {
    received.push(chunk)
    if (received.length > 1 || !request.atFirstBytes) return
    socket.pause()
    request.atFirstBytes().then((next) => {
      hungUp = next === 'hang up'
      if (hungUp) socket.destroy()
      else socket.resume()
    }, reject)
  })
  socket.on('close', () => resolve())
  // A server may answer, and close, before it has read a body that is too large.
  socket.on('error', (error) => (received.length > 0 ? resolve() : reject(error)))
  socket.write(`${method} ${target} HTTP/1.1\r\n${head.join('')}\r\n`)
  if (whole) socket.write(whole)
  if (chunked) {
    for (const part of body as Uint8Array[]) {
      socket.write(`${part.byteLength.toString(16)}\r\n`)
      socket.write(part)
      socket.write('\r\n')
    }
    socket.write('0\r\n\r\n')
  }
  try {
    await ended
  } finally {
    clearTimeout(late)
    socket.destroy()
  }
  return answerOf(Buffer.concat(received), { whole: !hungUp })
}

function answerOf(bytes: Buffer, { whole }: { whole: boolean }): Answer<Record<string, unknown>> {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) throw new Error(`no HTTP answer: ${bytes.toString()}`)
  const [first, ...lines] = bytes.subarray(0, end).toString().split('\r\n')
  const headers = new Headers(
    lines.map((line): [string, string] => [
      line.slice(0, line.indexOf(':')),
      line.slice(line.indexOf(':') + 1).trim(),
    ]),
  )
  const rest = bytes.subarray(end + 4)
  const text = (headers.get('transfer-encoding') === 'chunked' ? joinChunks(rest) : rest).toString()
  const isJson = /^application\/([\w.-]+\+)?json\b/.test(headers.get('content-type') ?? '')
  const body = isJson && whole && text !== '' ? JSON.parse(text) : undefined
  return { status: Number(first!.split(' ')[1]), headers, body, text }
}

function joinChunks(bytes: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at)
    const size = Number.parseInt(bytes.subarray(at, lineEnd).toString(), 16)
    if (lineEnd < 0 || !(size > 0)) return Buffer.concat(parts)
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
    at = lineEnd + 2 + size + 2
  }
}
