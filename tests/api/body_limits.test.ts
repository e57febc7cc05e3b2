/** What one request may cost: nesting, values, parameters, unpacking, and the memory of all bodies together. */
import { describe, expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { onEachBackend, rawRequest } from '../support/in_process.ts'
import { converse } from '../support/raw_socket.ts'
import { createScene } from '../support/scene.ts'
import { BASE, freshId, sessionItem, taskItem, taskItems, translation } from '../support/translation_data.ts'

const MIB = 2 ** 20
const LARGEST = 64 * MIB
const MAX_VALUES = 2 ** 20
/** What one request may keep the others waiting for. */
const AT_MOST_MS = 4000
const JSON_TYPE = { 'content-type': 'application/json' }
const GZIPPED = { ...JSON_TYPE, 'content-encoding': 'gzip' }
const SESSIONS = `${BASE}/sessions/batch`

/** Every path that takes a body. */
const BODIES = [
  ['POST', SESSIONS],
  ['PATCH', SESSIONS],
  ['POST', `${BASE}/tasks/batch`],
  ['PATCH', `${BASE}/tasks/batch`],
  ['POST', '/api/v1/persistence/sessions/batch'],
  ['POST', '/api/v1/persistence/tasks/batch'],
  ['POST', `${BASE}/sessions/cleanup`],
  ['DELETE', `${BASE}/sessions/cleanup`],
  ['PATCH', `${BASE}/sessions/body/status`],
  ['POST', `${SESSIONS}?partial=true`],
] as const

/** Texts of so many bytes at most that cost a parser much more than their length. */
const BOMBS: Record<string, (bytes: number) => string> = {
  'arrays that are opened alone': (bytes) => '['.repeat(bytes),
  'arrays in arrays': (bytes) => '['.repeat(bytes / 2) + ']'.repeat(bytes / 2),
  'objects that are opened alone': (bytes) => '{"a":'.repeat(bytes / 5),
  'objects in objects': (bytes) => `${'{"a":'.repeat((bytes - 1) / 6)}1${'}'.repeat((bytes - 1) / 6)}`,
  'empty arrays': (bytes) => `[${'[],'.repeat((bytes - 4) / 3)}[]]`,
  'empty objects': (bytes) => `[${'{},'.repeat((bytes - 4) / 3)}{}]`,
  'objects of one name each': (bytes) => listOf(bytes, (i) => `{"${i.toString(36)}":0}`),
  'an object of countless names': (bytes) =>
    `{${listOf(bytes, (i) => `"${i.toString(36)}":0`).slice(1, -1)}}`,
  'texts that are all different': (bytes) => listOf(bytes, (i) => `"${i.toString(36)}"`),
  'one number': (bytes) => '1'.repeat(bytes),
}

function listOf(bytes: number, item: (i: number) => string): string {
  const items: string[] = []
  for (let i = 0, size = 2; size < bytes - 20; i++) size += items.push(item(i)) && items[i]!.length + 1
  return `[${items.join(',')}]`
}

onEachBackend('body limits', { only: ['sqlite'], env: { MAX_BODIES_BYTES: String(LARGEST) } }, (on) => {
  const api = translation(on)
  const send = (target: string, body: string | Uint8Array, headers: Record<string, string> = JSON_TYPE) =>
    rawRequest(on.url, { method: 'POST', target, headers, body })

  /** Its status, if it came soon enough for those who wait behind it. */
  async function soon(method: string, target: string, body: Uint8Array): Promise<number> {
    const started = performance.now()
    const { status } = await rawRequest(on.url, { method, target, body, headers: JSON_TYPE })
    expect(performance.now() - started).toBeLessThan(AT_MOST_MS)
    return status
  }

  describe('a bomb is answered soon, and never by a failure', () => {
    for (const [name, bomb] of Object.entries(BOMBS)) {
      test(`${name}: refused as the largest body`, async () => {
        expect([400, 413, 422]).toContain(await soon('POST', SESSIONS, Buffer.from(bomb(LARGEST))))
      })

      test(`${name}: as the largest whose values are not counted, everywhere`, async () => {
        const body = Buffer.from(bomb(MAX_VALUES))
        // A cleanup takes an object, whatever else is in it.
        const taken = (target: string) => (target.endsWith('cleanup') ? [200] : [])
        for (const [method, target] of BODIES) {
          expect([400, 422, ...taken(target)]).toContain(await soon(method, target, body))
        }
      })
    }

    for (const [method, target] of BODIES) {
      test(`64 MiB of brackets are 413 at ${method} ${target}`, async () => {
        expect(await soon(method, target, Buffer.alloc(LARGEST, '['))).toBe(413)
      })
    }

    test('within an item, deep in what is dropped, it does no harm; in what is kept it is refused', async () => {
      const deep = `{"a":${'['.repeat(500_000)}${']'.repeat(500_000)}}`
      const batch = (field: string) => {
        const session = JSON.stringify(sessionItem(freshId())).slice(0, -1)
        return `{"sessions":[${session},"${field}":${deep}}]}`
      }
      for (const query of ['', '?partial=true']) {
        const kept = await send(`${SESSIONS}${query}`, batch('metadata'))
        expect(kept.status).toBe(422)
        expect(kept.text).toContain('is nested deeper than 30 levels')
        expect((await send(`${SESSIONS}${query}`, batch('unknown'))).status).toBe(202)
        expect((await send(`${SESSIONS}${query}`, batch('status'))).status).toBe(422)
      }
    })

    test('by its values, whatever is wrong with it besides', async () => {
      const { status, body } = await send(SESSIONS, `[${'0,'.repeat(MAX_VALUES)}`)
      expect([status, body.error_code]).toEqual([413, 'PAYLOAD_TOO_LARGE'])
      expect(body.detail).toBe(`The request body holds more than ${MAX_VALUES} values.`)
    })
  })

  test('a batch of a thousand texts with thousands of commas and brackets each is taken', async () => {
    const session = freshId()
    const tasks = taskItems(session, 1000, { source_text: '[{"a, b, c"}], '.repeat(400) })
    expect((await api.postTasks(tasks)).status).toBe(202)
    expect((await api.flush()).status).toBe(200)
  })

  describe('parameters', () => {
    const names = (count: number) => Array.from({ length: count }, (_, i) => `p${i}=1`).join('&')

    test('more than a hundred are 400 on every path, before anything is made of them', async () => {
      for (const target of ['/health', '/openapi.json', '/none', `${BASE}/sessions`, `${BASE}/tasks`]) {
        const { status, body } = await on.http.get(`${target}?${names(101)}`)
        expect([target, status, body.error_code]).toEqual([target, 400, 'MALFORMED_REQUEST'])
      }
      expect((await on.http.get(`${BASE}/sessions?${'status=pending&'.repeat(101)}`)).status).toBe(400)
    })

    test('a hundred are looked at', async () => {
      expect((await on.http.get(`/health?${names(100)}`)).status).toBe(200)
      expect((await on.http.get(`/health?${names(100)}#&&`)).status).toBe(200)
    })
  })

  describe('gzip', () => {
    const zeros = Bun.gzipSync(new Uint8Array(LARGEST + 1))

    test('a thousand times larger than it looks is 413', async () => {
      expect(zeros.byteLength * 900).toBeLessThan(LARGEST)
      expect((await send(SESSIONS, zeros, GZIPPED)).status).toBe(413)
    })

    test('packed twice is unpacked once: what is in it is no JSON', async () => {
      const twice = Bun.gzipSync(Bun.gzipSync(JSON.stringify({ sessions: [sessionItem(freshId())] })))
      expect((await send(SESSIONS, twice, GZIPPED)).status).toBe(400)
      expect((await send(SESSIONS, twice, { ...GZIPPED, 'content-encoding': 'gzip, gzip' })).status).toBe(415)
    })

    test('a packed bomb of values is 413', async () => {
      const packed = Bun.gzipSync(`[${'[],'.repeat(MAX_VALUES)}0]`)
      expect((await send(SESSIONS, packed, GZIPPED)).status).toBe(413)
    })
  })

  describe('all bodies together', () => {
    const POST = `POST ${SESSIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`
    const whole = (id: string, bytes: number) => JSON.stringify({ sessions: [sessionItem(id)] }).padEnd(bytes)

    /** A request whose body is on its way, all but its last byte, until it is told to come or to go. */
    async function halfSent(headers: string, body: string) {
      const { promise: end, resolve: finish } = Promise.withResolvers<string | null>()
      const heard = converse(on.url, { first: `${POST}${headers}\r\n${body}`, last: end, forMs: 30_000 })
      return { heard, finish }
    }

    /** What a body that takes all the memory there is gets. */
    const all = () => send(SESSIONS, whole(freshId(), LARGEST))

    /** Asks until the body before has been noticed, or is gone. */
    async function turns(status: number) {
      const ends = performance.now() + 10_000
      for (;;) {
        const answer = await all()
        if (answer.status === status || performance.now() > ends) return answer
      }
    }

    test('what has no room is 503 with Retry-After; small ones and those without a body go on', async () => {
      const body = whole(freshId(), 2 * MIB)
      const waiting = await halfSent(
        `Connection: close\r\nContent-Length: ${body.length}\r\n`,
        body.slice(0, -1),
      )
      const refused = await turns(503)
      expect([refused.status, refused.body.error_code]).toEqual([503, 'BUSY'])
      expect(refused.headers.get('retry-after')).toBe('1')
      expect((await api.postSessions([sessionItem(freshId())])).status).toBe(202)
      expect((await on.http.get('/health')).status).toBe(200)
      waiting.finish(' ')
      expect((await waiting.heard).statuses).toEqual([202])
      expect((await all()).status).toBe(202)
    }, 30_000)

    test('heads that ask for all the room and send nothing keep nobody out', async () => {
      const idle = await halfSent(`Connection: close\r\nContent-Length: ${LARGEST}\r\n`, ' ')
      expect((await turns(202)).status).toBe(202)
      idle.finish(null)
    }, 30_000)

    for (const [name, headers, body] of [
      ['of a known length', `Content-Length: ${2 * MIB}\r\n`, ' '.repeat(MIB)],
      ['in chunks', 'Transfer-Encoding: chunked\r\n', `100000\r\n${' '.repeat(MIB)}\r\n`],
    ]) {
      test(`a client that goes away leaves nothing behind: ${name}`, async () => {
        const waiting = await halfSent(headers!, body!)
        expect((await turns(503)).status).toBe(503)
        waiting.finish(null)
        expect((await turns(202)).status).toBe(202)
      }, 30_000)
    }

    test('what is refused leaves nothing behind, whatever it is refused for', async () => {
      const target = `${BASE}/sessions/cleanup`
      const large = ' '.repeat(2 * MIB)
      const parts = (count: number) => Array.from({ length: count }, () => new Uint8Array(MIB).fill(32))
      for (let i = 0; i < 40; i++) {
        expect((await send(SESSIONS, large)).status).toBe(400)
        expect((await send(SESSIONS, '{"sessions":[{}]}'.padEnd(2 * MIB))).status).toBe(422)
        expect((await send(SESSIONS, Bun.gzipSync(large), GZIPPED)).status).toBe(400)
        expect((await send(SESSIONS, large, GZIPPED)).status).toBe(400)
        const untyped = { method: 'POST', target, body: parts(2) }
        expect((await rawRequest(on.url, untyped)).status).toBe(415)
      }
      const endless = { method: 'POST', target: SESSIONS, headers: JSON_TYPE, body: parts(65) }
      for (let i = 0; i < 3; i++) expect((await rawRequest(on.url, endless)).status).toBe(413)
      expect((await all()).status).toBe(202)
    }, 60_000)
  })
})

const noProc = existsSync('/proc/self/status') ? '' : ' (left out: the system has no /proc)'
test.skipIf(noProc !== '')(
  `two hundred large bodies at once, plain and packed, cost no more memory than the few that fit${noProc}`,
  async () => {
    await using scene = createScene()
    const service = await scene.start({ MAX_BODIES_BYTES: String(LARGEST) })
    const peak = () =>
      Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${service.pid}/status`, 'utf8'))?.[1])
    const before = peak()
    const plain = JSON.stringify({ tasks: [taskItem('s', 't')] }).padEnd(16 * MIB)
    const packed = Bun.gzipSync(new Uint8Array(16 * MIB).fill(32))
    const post = (body: string | Uint8Array, headers: Record<string, string>) =>
      fetch(`${service.url}${BASE}/tasks/batch`, { method: 'POST', headers, body })
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => [post(plain, JSON_TYPE), post(packed, GZIPPED)]).flat(),
    )
    const statuses = new Set(answers.map(({ status }) => status))
    expect([...statuses].filter((status) => ![202, 400, 503].includes(status))).toEqual([])
    expect(statuses).toContain(202)
    expect(statuses).toContain(503)
    expect((peak() - before) * 1024).toBeLessThan(8 * LARGEST)
    expect((await fetch(`${service.url}/health`)).status).toBe(200)
  },
  60_000,
)
