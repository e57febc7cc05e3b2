/** What no client of good will sends: each has its answer, or none, and the service is as before. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { type Instance, instance } from '../support/instance.ts'
import { converse, type Heard } from '../support/raw_socket.ts'
import { createScene, type Scene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { sessionItem } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const TIMEOUT_MS = 1000
/** Bun's clock for the first head of a connection: ten seconds, in steps of four. */
const HEAD_MS = 12_500
const SLACK_MS = 2500

const FLUSH = 'POST /api/v1/translation/flush HTTP/1.1\r\n'
const BATCH =
  'POST /api/v1/translation/sessions/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
const HOST = 'Host: x\r\n'
const CHUNKED = 'Transfer-Encoding: chunked\r\n'
/** What must not be answered: it is the body of another, or follows on what can't be trusted. */
const SMUGGLED = 'GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n'

const flush = (headers: string, body = '') => `${FLUSH}${HOST}${headers}\r\n${body}${SMUGGLED}`
const chunks = (body: string) => `${BATCH}${CHUNKED}\r\n${body}${SMUGGLED}`

/** How long a request is, said in two ways, or in one that somebody else reads differently. */
const LENGTHS: Record<string, string> = {
  'Content-Length and Transfer-Encoding': flush(`Content-Length: 6\r\n${CHUNKED}`, '0\r\n\r\n'),
  'Transfer-Encoding and Content-Length': flush(`${CHUNKED}Content-Length: 6\r\n`, '0\r\n\r\n'),
  'two lengths': flush('Content-Length: 3\r\nContent-Length: 5\r\n', 'abcde'),
  'one length, twice': flush('Content-Length: 3\r\nContent-Length: 3\r\n', 'abc'),
  'a list of lengths': flush('Content-Length: 3, 3\r\n', 'abc'),
  'a length with a sign': flush('Content-Length: +3\r\n', 'abc'),
  'a length below zero': flush('Content-Length: -1\r\n'),
  'a length in hexadecimal': flush('Content-Length: 0x3\r\n', 'abc'),
  'a length with an exponent': flush('Content-Length: 1e3\r\n', 'abc'),
  'a length with a blank in it': flush('Content-Length: 3 0\r\n', 'abc'),
  'a length that no number holds': flush(`Content-Length: ${'9'.repeat(23)}\r\n`, 'abc'),
  'no length after its name': flush('Content-Length: \r\n'),
  'a blank before the colon of a length': flush('Content-Length : 3\r\n', 'abc'),
  'a blank before the colon of an encoding': flush('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'),
  'an encoding after a tab, with a length': flush(
    'Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n',
    '0\r\n\r\n',
  ),
  'an encoding after a vertical tab': flush('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'),
  'an encoding in quotes': flush('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'),
  'an encoding with a parameter': flush('Transfer-Encoding: chunked;x=1\r\n', '0\r\n\r\n'),
  'an encoding that looks like chunked': flush('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
  'an encoding that is not known here': flush('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'),
  'the encoding identity': flush('Transfer-Encoding: identity\r\n'),
  'chunked, twice': flush(`${CHUNKED}${CHUNKED}`, '0\r\n\r\n'),
  'chunked, then identity': flush(`${CHUNKED}Transfer-Encoding: identity\r\n`, '0\r\n\r\n'),
  'an encoding on a folded line': flush('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'),
  'an encoding in HTTP/1.0': flush(CHUNKED, '0\r\n\r\n').replace('HTTP/1.1', 'HTTP/1.0'),
  'a chunk of no size': chunks('\r\nabc\r\n0\r\n\r\n'),
  'a chunk of less than nothing': chunks('-3\r\nabc\r\n0\r\n\r\n'),
  'a chunk with a prefix': chunks('0x3\r\nabc\r\n0\r\n\r\n'),
  'a chunk larger than numbers are': chunks('FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n'),
  'a chunk longer than it says': chunks('3\r\nabcdef\r\n0\r\n\r\n'),
  'chunks with bare line feeds': chunks('3\nabc\n0\n\n'),
  'a chunk with a line feed in its extension': chunks('3;a\nabc\r\n0\r\n\r\n'),
}

/** Heads that two programs may read differently. */
const HEADS: Record<string, string> = {
  'no host': `${FLUSH}\r\n${SMUGGLED}`,
  'no host in HTTP/1.0': `GET /evil/health/live HTTP/1.0\r\n\r\n${SMUGGLED}`,
  'two hosts': flush('Host: y\r\n'),
  'one host, twice': flush(HOST),
  'a list of hosts': `GET /evil/health/live HTTP/1.1\r\nHost: a, b\r\n\r\n${SMUGGLED}`,
  'an empty host': `GET /evil/health/live HTTP/1.1\r\nHost: \r\n\r\n${SMUGGLED}`,
  'a host with a path': `GET /evil/health/live HTTP/1.1\r\nHost: x/y?\r\n\r\n${SMUGGLED}`,
  'a host with a user': `GET /evil/health/live HTTP/1.1\r\nHost: a@b\r\n\r\n${SMUGGLED}`,
  'a host with a blank': `GET /evil/health/live HTTP/1.1\r\nHost: a b\r\n\r\n${SMUGGLED}`,
  'a folded line': flush('X: a\r\n b\r\n'),
  'a line that begins with a blank': flush(' Content-Length: 3\r\n', 'abc'),
  'a line feed alone between headers': `${FLUSH}Host: x\nContent-Length: 3\r\n\r\nabc${SMUGGLED}`,
  'a carriage return alone in a value': flush(`X: a\r${CHUNKED}`, '0\r\n\r\n'),
  'a NUL in a value': flush('X: a\0b\r\n'),
  'a NUL in a name': flush('X\0: b\r\n'),
  'a line without a colon': flush('Xabc\r\n'),
  'a header without a name': flush(': b\r\n'),
  'a method that is none': `G@T /health/live HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`,
  'what HTTP/2 begins with': `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${SMUGGLED}`,
  'TLS on a plain port': `\x16\x03\x01\x00\x00asdf\r\n\r\n${SMUGGLED}`,
}

const VERSIONS: Record<string, string> = {
  'no version': `GET /health/live\r\n\r\n${SMUGGLED}`,
  'HTTP/0.9': `GET /health/live HTTP/0.9\r\n${HOST}\r\n${SMUGGLED}`,
  'HTTP/1.2': `GET /health/live HTTP/1.2\r\n${HOST}\r\n${SMUGGLED}`,
  'a blank in the target': `GET /health /live HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`,
  'line feeds alone': `${FLUSH.trimEnd()}\nHost: x\n\n${SMUGGLED}`,
}

const live = (target: string, headers: string) => `GET ${target} HTTP/1.1\r\n${HOST}${headers}\r\n`

/** More than a head may be. */
const LARGE: Record<string, string> = {
  'a header of 1 MB': live('/health/live', `X: ${'a'.repeat(1_000_000)}\r\n`),
  'a thousand headers': live(
    '/health/live',
    Array.from({ length: 1000 }, (_, i) => `X-${i}: a\r\n`).join(''),
  ),
  '10,000 parameters': live(`/health/live?${'a&'.repeat(10_000)}`, ''),
  'a megabyte without a line end': 'A'.repeat(1_000_000),
}

const REFUSED: [kind: string, status: number, cases: Record<string, string>][] = [
  ['a length', 400, LENGTHS],
  ['a head', 400, HEADS],
  ['a version', 505, VERSIONS],
  ['too much', 431, LARGE],
]

const body = (headers: string) => `${BATCH}${headers}\r\n`
const good = JSON.stringify({ sessions: [sessionItem('slow-but-good')] }).padEnd(500_000)

/** Who takes too long, and what becomes of it: a status, or a connection that ends without a word. */
const SLOW: Record<
  string,
  { says: Parameters<typeof converse>[1]; status: number | null; withinMs: number }
> = {
  'nothing at all': { says: { first: '' }, status: null, withinMs: HEAD_MS },
  'a head that stops': { says: { first: 'GET / HT' }, status: null, withinMs: HEAD_MS },
  'a head, a byte a second': {
    says: { first: live('/', 'X: ').trimEnd(), later: { pieces: 'a', everyMs: 1000 } },
    status: null,
    withinMs: HEAD_MS,
  },
  'a head, a line a second': {
    says: { first: live('/', '').trimEnd(), later: { pieces: '\r\nX: a', everyMs: 1000 } },
    status: null,
    withinMs: HEAD_MS,
  },
  'a body that never comes': {
    says: { first: body('Content-Length: 1000\r\n') },
    status: 408,
    withinMs: TIMEOUT_MS,
  },
  'a body, a byte now and then': {
    says: { first: body('Content-Length: 1000\r\n'), later: { pieces: ' ', everyMs: 200 } },
    status: 408,
    withinMs: TIMEOUT_MS,
  },
  'a large body, a byte now and then': {
    says: { first: body('Content-Length: 60000000\r\n'), later: { pieces: ' ', everyMs: 200 } },
    status: 408,
    withinMs: TIMEOUT_MS,
  },
  'a body in chunks, a byte now and then': {
    says: { first: body(CHUNKED), later: { pieces: '1\r\n \r\n', everyMs: 200 } },
    status: 408,
    withinMs: TIMEOUT_MS,
  },
  'a gzip body that stops in its head': {
    says: { first: `${body('Content-Encoding: gzip\r\nContent-Length: 1000\r\n')}\x1f\x8b\x08` },
    status: 408,
    withinMs: TIMEOUT_MS,
  },
  'a large body that stops before its end': {
    says: { first: `${body('Content-Length: 3000000\r\n')}${' '.repeat(2_900_000)}` },
    status: 408,
    withinMs: TIMEOUT_MS * 2,
  },
}

describe('hostile requests', () => {
  let scene: Scene
  let service: Service
  let on: Instance
  let startBytes: number
  let slow: Map<string, Promise<Heard>>
  let steady: Promise<Heard>[]

  beforeAll(async () => {
    scene = createScene()
    service = await scene.start({ CLIENT_TIMEOUT: String(TIMEOUT_MS / 1000) })
    on = instance(service)
    await on.sessions([sessionItem('kept')])
    startBytes = await residentBytes(on)
    // All at once: what they have in common is that they take their time.
    slow = new Map(
      Object.entries(SLOW).map(([name, { says, withinMs }]) => [
        name,
        converse(service.url, { ...says, forMs: withinMs + SLACK_MS }),
      ]),
    )
    const pieces = good.match(/.{10000}/g)!
    const until = (text: string) => text.endsWith('}')
    steady = [
      { first: body(`Content-Length: ${good.length}\r\n`), later: { pieces, everyMs: 100 } },
      {
        first: body(CHUNKED),
        later: { pieces: [...pieces.map((piece) => `2710\r\n${piece}\r\n`), '0\r\n\r\n'], everyMs: 100 },
      },
    ].map((says) => converse(service.url, { ...says, until, forMs: 20_000 }))
  })
  afterAll(() => scene[Symbol.asyncDispose]())

  for (const [kind, status, cases] of REFUSED) {
    describe(`${kind} is ${status}, and nothing after it is answered`, () => {
      for (const [name, first] of Object.entries(cases)) {
        test(name, async () => {
          const { statuses, closed } = await converse(service.url, { first })
          expect({ statuses, closed }).toEqual({ statuses: [status], closed: true })
        })
      }
    })
  }

  for (const [name, headers, text] of [
    ['a length', 'Content-Length: 3\r\n', 'abc'],
    ['chunks', CHUNKED, '3\r\nabc\r\n0\r\n\r\n'],
    ['chunks, in capitals', CHUNKED.toUpperCase(), '3\r\nabc\r\n0\r\n\r\n'],
  ]) {
    test(`a request that is as it should be is answered: ${name}`, async () => {
      const first = `${FLUSH}${HOST}Connection: close\r\n${headers}\r\n${text}`
      expect(await converse(service.url, { first })).toMatchObject({ statuses: [200], closed: true })
    })
  }

  describe('who takes too long is cut off', () => {
    for (const [name, { status, withinMs }] of Object.entries(SLOW)) {
      test(name, async () => {
        const { statuses, closed, text, afterMs } = await slow.get(name)!
        expect({ statuses, closed }).toEqual({ statuses: status === null ? [] : [status], closed: true })
        if (status !== null) expect(text).toContain('"error_code":"REQUEST_TIMEOUT"')
        expect(afterMs).toBeGreaterThan(TIMEOUT_MS - 50)
        expect(afterMs).toBeLessThan(withinMs + SLACK_MS)
      }, 20_000)
    }
  })

  test('who sends steadily is not, though it takes five times as long', async () => {
    for (const { statuses, afterMs } of await Promise.all(steady)) {
      expect(afterMs).toBeGreaterThan(TIMEOUT_MS * 4)
      expect(statuses).toEqual([202])
    }
  }, 20_000)

  test('afterwards the service is well, every row is accounted for, and the memory is back', async () => {
    await Promise.all([...slow.values(), ...steady])
    expect((await on.health()).status).toBe('healthy')
    expect((await on.flush()).status).toBe(200)
    expect(await on.balance()).toMatchObject({ balanced: true })
    expect((await on.session('kept')).status).toBe(200)
    expect((await on.session('slow-but-good')).status).toBe(200)
    expect(service.logs.filter(({ level }) => level !== 'INFO')).toEqual([])
    await until(async () => (await residentBytes(on)) < startBytes + 100 * 2 ** 20, {
      message: 'the memory is back',
      timeoutMs: 20_000,
    })
  }, 60_000)
})

/** The memory that the service holds. */
async function residentBytes(on: Instance): Promise<number> {
  const { text } = await on.http.get('/api/v1/system/metrics')
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1])
}
