/** API keys as callers meet them: what is refused and how, and what changes while the service runs. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hashOf } from '../../src/auth/key_line.ts'
import { freshFolder } from '../support/backends.ts'
import { type InProcess, rawRequest, startInProcess } from '../support/in_process.ts'
import { BASE, type Problem, sessionItem } from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

const SESSIONS = `${BASE}/sessions`
const PAST = '2020-01-01T00:00:00Z'
/** A change of the file counts within that. */
const TAKEN_WITHIN_MS = 2000

const keyOf = (name: string) => `psk_${name.padEnd(43, '_')}`
const line = (name: string, scopes: string, more = '') =>
  `${name} sha256:${hashOf(keyOf(name))} ${scopes} ${more}\n`

const LINES = [
  line('reader', 'translation:read'),
  line('writer', 'translation:write'),
  line('admin', '*:admin'),
  line('files', 'storage:admin,users:admin,audit:admin'),
  line('operator', 'system:read'),
  line('revoked', '*:admin', `revoked=${PAST}`),
  line('expired', '*:admin', `expires=${PAST}`),
  // Replaced, and still good for a while.
  `reader sha256:${hashOf(keyOf('reader-before'))} translation:read expires=2100-01-01\n`,
].join('')

interface Running {
  on: InProcess
  /** Of the keys. */
  path: string
}

/** Runs with a file of keys in its data folder, and ends with the test's scope. */
async function start(text: string | null, env: Record<string, string> = {}) {
  const folder = await freshFolder()
  const path = join(folder.env.DATA_DIR!, 'api_keys')
  if (text !== null) await writeFile(path, text)
  const on = await startInProcess({ env: { ...folder.env, ...env } })
  return {
    on,
    path,
    async [Symbol.asyncDispose]() {
      await on.stop()
      await folder.drop()
    },
  }
}

const get = ({ on }: Running, key: string | null, path = SESSIONS) =>
  on.http.get<Problem>(path, key === null ? {} : { 'x-api-key': key })

/** Waits until a key is answered with that status. */
async function becomes(running: Running, name: string, status: number): Promise<void> {
  await until(async () => (await get(running, keyOf(name))).status === status, {
    message: `${name} to be answered ${status}`,
    timeoutMs: TAKEN_WITHIN_MS,
  })
}

async function replaceFile({ path }: Running, text: string): Promise<void> {
  await writeFile(`${path}.draft`, text)
  await rename(`${path}.draft`, path)
}

describe('a credential that is not good', () => {
  let running: Running & AsyncDisposable
  beforeAll(async () => {
    running = await start(LINES)
  })
  afterAll(() => running[Symbol.asyncDispose]())

  test.each([
    ['none', null, 'Send an API key'],
    ['an unknown one', keyOf('nobody'), 'not known'],
    ['an empty one', '', 'not known'],
    ['the name of one', 'reader', 'not known'],
    ['the hash of one', `sha256:${hashOf(keyOf('reader'))}`, 'not known'],
    ['one of 8000 characters', 'x'.repeat(8000), 'not known'],
    ['a revoked one', keyOf('revoked'), 'was revoked'],
    ['an expired one', keyOf('expired'), 'has expired'],
  ])('is answered 401 and told how to do better: %s', async (_, key, detail) => {
    const { status, headers, body, text } = await get(running, key)
    expect(status).toBe(401)
    expect(headers.get('www-authenticate')).toContain('ApiKey realm=')
    expect(headers.get('content-type')).toStartWith('application/problem+json')
    expect(body.error_code).toBe('UNAUTHENTICATED')
    expect(body.detail).toContain(detail)
    expect(text).not.toContain('psk_')
  })

  test('is told apart from a second one, from one in the URL and from a scheme that nobody has', async () => {
    const key = keyOf('reader')
    const { http } = running.on
    const both = await http.get<Problem>(SESSIONS, { 'x-api-key': key, authorization: `Bearer ${key}` })
    const inUrl = await http.get<Problem>(`${SESSIONS}?api_key=${key}`)
    const basic = await http.get<Problem>(SESSIONS, { authorization: `Basic ${btoa(`x:${key}`)}` })
    for (const { status, body, text } of [both, inUrl, basic]) {
      expect([status, body.error_code]).toEqual([400, 'MALFORMED_REQUEST'])
      expect(text).not.toContain('psk_')
    }
    expect(inUrl.body.detail).toContain('query string')
    expect((await http.get(SESSIONS, { authorization: `Bearer ${key}` })).status).toBe(401)
  })

  test('sent twice is two credentials', async () => {
    const key = keyOf('reader')
    const headers = { 'x-api-key': `${key}\r\nx-api-key: ${key}` }
    const { status } = await rawRequest(running.on.url, { method: 'GET', target: SESSIONS, headers })
    expect(status).toBe(400)
  })

  test('does not close what is open', async () => {
    for (const path of ['/health', '/health/live', '/health/ready', '/openapi.json', '/docs']) {
      expect([path, (await get(running, 'rubbish', path)).status]).toEqual([path, 200])
    }
  })

  test('stands nowhere in the log', async () => {
    await get(running, keyOf('nobody'))
    await running.on.http.get(`${SESSIONS}?api_key=${keyOf('reader')}`)
    expect(JSON.stringify(running.on.logs)).not.toContain('psk_')
  })
})

describe('a good key', () => {
  let running: Running & AsyncDisposable
  beforeAll(async () => {
    running = await start(LINES)
  })
  afterAll(() => running[Symbol.asyncDispose]())

  test('does what its scopes say: a writer need not be able to read', async () => {
    const { http } = running.on
    const batch = { sessions: [sessionItem('of-a-writer')] }
    const as = (name: string) => ({ 'x-api-key': keyOf(name) })
    expect((await http.post(`${SESSIONS}/batch`, batch, as('writer'))).status).toBe(202)
    expect((await http.post(`${BASE}/flush`, undefined, as('writer'))).status).toBe(200)
    expect((await http.get(`${SESSIONS}/of-a-writer`, as('reader'))).status).toBe(200)
    const refused = await http.get<Problem>(`${SESSIONS}/of-a-writer`, as('writer'))
    expect(refused.status).toBe(403)
    expect(refused.body).toMatchObject({ error_code: 'FORBIDDEN', scope: 'translation:read' })
    expect(refused.body.detail).toContain('translation:read')
  })

  test('of one namespace opens nothing of another', async () => {
    for (const [name, path, scope] of [
      ['files', SESSIONS, 'translation:read'],
      ['files', '/api/v1/system/config', 'system:read'],
      ['operator', SESSIONS, 'translation:read'],
      ['reader', '/api/v1/system/buffer', 'system:read'],
      ['operator', '/api/v1/system/dead-letters', 'system:admin'],
    ] as const) {
      const { status, body } = await get(running, keyOf(name), path)
      expect([name, path, status, body.scope]).toEqual([name, path, 403, scope])
    }
    expect((await get(running, keyOf('operator'), '/api/v1/system/config')).status).toBe(200)
    expect((await get(running, keyOf('admin'), '/api/v1/system/dead-letters')).status).toBe(200)
  })

  test('may be one of several of its name', async () => {
    for (const name of ['reader', 'reader-before']) {
      expect((await get(running, keyOf(name))).status).toBe(200)
    }
  })

  test('is not shown by the configuration, wherever it is set', async () => {
    await using own = await start(null, { API_KEYS: keyOf('inline') })
    const { status, text } = await get(own, keyOf('inline'), '/api/v1/system/config')
    expect(status).toBe(200)
    expect(text).not.toContain('psk_')
    expect(text).toContain('"api_keys":"***"')
  })
})

describe('without a restart', () => {
  test('the first key closes the door, and a key that is added, revoked or replaced counts', async () => {
    await using running = await start(null)
    expect((await get(running, null)).status).toBe(200)
    await replaceFile(running, line('one', 'translation:read'))
    await until(async () => (await get(running, null)).status === 401, {
      message: 'the door to be closed',
      timeoutMs: TAKEN_WITHIN_MS,
    })
    await becomes(running, 'one', 200)

    await writeFile(running.path, line('one', 'translation:read', `revoked=${PAST}`) + line('two', '*:read'))
    await becomes(running, 'two', 200)
    expect((await get(running, keyOf('one'))).body.detail).toContain('revoked')

    await replaceFile(running, line('two', 'audit:read'))
    await becomes(running, 'two', 403)
  })

  test('a faulty file leaves the good keys of before, and lets in nobody new', async () => {
    await using running = await start(line('one', 'translation:read'))
    await replaceFile(running, `${line('two', '*:admin')}this is no key\n`)
    await until(() => running.on.logs.some(({ message }) => message.startsWith('API keys not taken')), {
      message: 'the fault to be logged',
      timeoutMs: TAKEN_WITHIN_MS,
    })
    expect((await get(running, keyOf('one'))).status).toBe(200)
    expect((await get(running, keyOf('two'))).status).toBe(401)
    expect((await get(running, null)).status).toBe(401)
  })

  test('a deleted file opens nothing', async () => {
    await using running = await start(line('one', 'translation:read'))
    await rm(running.path)
    await until(() => running.on.logs.some(({ message }) => message.startsWith('API keys not read')), {
      message: 'the loss to be logged',
      timeoutMs: TAKEN_WITHIN_MS,
    })
    expect((await get(running, keyOf('one'))).status).toBe(200)
    expect((await get(running, null)).status).toBe(401)
    expect((await get(running, keyOf('two'))).status).toBe(401)
  })
})
