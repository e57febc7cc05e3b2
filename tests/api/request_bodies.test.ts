/** Bodies: media type, encoding, size, text. What can't be read is 400, 413 or 415, never a failure. */
import { describe, expect, test } from 'bun:test'
import { freshFolder } from '../support/backends.ts'
import { onEachBackend, rawRequest } from '../support/in_process.ts'
import { startService } from '../support/service.ts'
import { BASE, freshId, sessionItem, taskItem, translation } from '../support/translation_data.ts'

const LIMIT_BYTES = 64 * 1024
const JSON_TYPE = { 'content-type': 'application/json' }
const BATCH = `${BASE}/sessions/batch`

const batchOf = (id: string) => JSON.stringify({ sessions: [sessionItem(id)] })
/** A batch that is exactly so large. */
const batchOfBytes = (id: string, bytes: number) => batchOf(id).padEnd(bytes, ' ')
const bytesOf = (text: string) => new TextEncoder().encode(text)

/** Every path that takes a body, with a good one. */
const BODIES = [
  ['POST', BATCH, batchOf('body')],
  ['PATCH', BATCH, '{"sessions":[{"session_id":"body"}]}'],
  ['POST', `${BASE}/tasks/batch`, JSON.stringify({ tasks: [taskItem('body', 't')] })],
  ['PATCH', `${BASE}/tasks/batch`, '{"tasks":[{"session_id":"body","task_id":"t"}]}'],
  ['POST', '/api/v1/persistence/sessions/batch', batchOf('body')],
  ['POST', '/api/v1/persistence/tasks/batch', JSON.stringify({ tasks: [taskItem('body', 't')] })],
  ['POST', `${BASE}/sessions/cleanup`, '{"dry_run":true}'],
  ['DELETE', `${BASE}/sessions/cleanup`, '{"dry_run":true}'],
  ['PATCH', `${BASE}/sessions/body/status`, '{"status":"pending"}'],
] as const

onEachBackend('request bodies', { env: { MAX_BODY_BYTES: String(LIMIT_BYTES) } }, (on) => {
  const api = translation(on)
  const send = (
    body: string | Uint8Array | readonly Uint8Array[] | undefined,
    headers: Record<string, string> = JSON_TYPE,
  ) => rawRequest(on.url, { method: 'POST', target: BATCH, headers, ...(body !== undefined && { body }) })

  describe('media type', () => {
    for (const type of [
      'application/json',
      'Application/JSON',
      'application/json; charset=utf-8',
      'application/json;charset=UTF-8',
      'application/json; charset="utf-8"',
      'application/json ; charset=utf-8',
      'application/json;',
      'application/json; odd=1; charset=utf-8',
      'application/vnd.api+json',
    ]) {
      test(`${type} is taken`, async () => {
        const id = freshId()
        expect((await send(batchOf(id), { 'content-type': type })).status).toBe(202)
        expect((await api.session(id)).status).toBe(200)
      })
    }

    for (const type of [
      '',
      'text/plain',
      'text/json',
      'application/jsonp',
      'application/json-patch',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/json, text/plain',
      'json',
    ]) {
      test(`${type || 'none'} is 415 that says what is taken`, async () => {
        const answer = await send(batchOf('refused'), type ? { 'content-type': type } : {})
        expect(answer.status).toBe(415)
        expect(answer.body.error_code).toBe('UNSUPPORTED_MEDIA_TYPE')
        expect(answer.headers.get('accept')).toBe('application/json')
      })
    }

    for (const [method, target, body] of BODIES) {
      test(`${method} ${target} takes JSON alone`, async () => {
        const post = (type: string) =>
          rawRequest(on.url, { method, target, body, headers: { 'content-type': type } })
        expect((await post('text/plain')).status).toBe(415)
        expect((await post('application/json')).status).toBeLessThan(300)
      })
    }
  })

  describe('text', () => {
    for (const [name, body] of Object.entries({
      'an empty body': '',
      'white space': ' \n',
      'a cut-off object': '{"sessions":[',
      'something behind': '{"sessions":[]}x',
      'a trailing comma': '{"sessions":[],}',
      'single quotes': "{'sessions':[]}",
      'a form': 'sessions=1',
      'a raw line end within a text': '{"sessions":["a\nb"]}',
    })) {
      test(`${name} is 400`, async () => {
        for (const query of ['', '?partial=true', '?wait=true']) {
          const answer = await rawRequest(on.url, {
            method: 'POST',
            target: `${BATCH}${query}`,
            headers: JSON_TYPE,
            body,
          })
          expect(answer.status).toBe(400)
          expect(answer.body).toMatchObject({ error_code: 'MALFORMED_REQUEST', status: 400 })
        }
      })
    }

    for (const body of [
      '[]',
      'null',
      '5',
      '"text"',
      'true',
      '{}',
      '{"sessions":null}',
      '{"sessions":{}}',
      '{"sessions":"a"}',
      '{"Sessions":[]}',
    ]) {
      test(`${body} is JSON, but no batch: 422`, async () => {
        for (const query of ['', '?partial=true']) {
          const answer = await rawRequest(on.url, {
            method: 'POST',
            target: `${BATCH}${query}`,
            headers: JSON_TYPE,
            body,
          })
          expect(answer.status).toBe(422)
          expect(answer.body).toMatchObject({ error_code: 'VALIDATION_FAILED', status: 422 })
        }
      })
    }

    for (const [name, bytes] of Object.entries({
      'a lone continuation byte': [0x80],
      'an overlong form': [0xc0, 0xaf],
      'an encoded surrogate': [0xed, 0xa0, 0x80],
      'a code beyond Unicode': [0xf4, 0x90, 0x80, 0x80],
      'a cut-off character': [0xe4, 0xbd],
    })) {
      test(`invalid UTF-8 is 400: ${name}`, async () => {
        const [before, after] = batchOf('bad').split('bad.xlsx')
        const answer = await send(Buffer.concat([bytesOf(before!), Uint8Array.from(bytes), bytesOf(after!)]))
        expect(answer.status).toBe(400)
        expect(answer.body.detail).toContain('UTF-8')
      })
    }

    test('UTF-16 is 400', async () => {
      expect((await send(Buffer.from(batchOf('bad'), 'utf16le'))).status).toBe(400)
    })

    test('a byte order mark before the JSON is no harm', async () => {
      const id = freshId()
      expect((await send(`\ufeff${batchOf(id)}`)).status).toBe(202)
      expect((await api.session(id)).status).toBe(200)
    })

    test('a name twice in an object counts as JSON has it: the last one', async () => {
      const id = freshId()
      const body = batchOf(id).replace('"filename"', '"filename":"first","filename"')
      expect((await send(body)).status).toBe(202)
      expect((await api.session(id)).body.filename).toBe(`${id}.xlsx`)
    })
  })

  describe('encoding', () => {
    const gzipped = { ...JSON_TYPE, 'content-encoding': 'gzip' }

    test('gzip is unpacked, with its length and in chunks', async () => {
      for (const headers of [gzipped, { ...JSON_TYPE, 'content-encoding': 'GZIP' }]) {
        const [whole, parts] = [freshId(), freshId()]
        expect((await send(Bun.gzipSync(batchOf(whole)), headers)).status).toBe(202)
        const packed = Bun.gzipSync(batchOf(parts))
        expect((await send([packed.subarray(0, 20), packed.subarray(20)], headers)).status).toBe(202)
        expect((await api.session(whole)).status).toBe(200)
        expect((await api.session(parts)).status).toBe(200)
      }
    })

    test('identity is no encoding', async () => {
      expect((await send(batchOf(freshId()), { ...JSON_TYPE, 'content-encoding': 'identity' })).status).toBe(
        202,
      )
    })

    const packed = Bun.gzipSync(batchOf('corrupt'))
    const flipped = Buffer.from(packed)
    flipped[flipped.length >> 1]! ^= 0xff
    const checksum = Buffer.from(packed)
    checksum[checksum.length - 5]! ^= 0xff
    for (const [name, body] of Object.entries({
      'no gzip at all': bytesOf(batchOf('corrupt')),
      'one flipped byte': flipped,
      'a wrong checksum': checksum,
      'cut off in the middle': packed.subarray(0, packed.length >> 1),
      'cut off before its checksum': packed.subarray(0, packed.length - 8),
      nothing: new Uint8Array(),
    })) {
      test(`corrupt gzip is 400: ${name}`, async () => {
        const answer = await send(body, gzipped)
        expect(answer.status).toBe(400)
        expect(answer.body.error_code).toBe('MALFORMED_REQUEST')
      })
    }

    for (const encoding of ['deflate', 'br', 'zstd', 'gzip, gzip', 'x', 'gzip2']) {
      test(`${encoding} is 415 that says what is taken`, async () => {
        const answer = await send(batchOf('refused'), { ...JSON_TYPE, 'content-encoding': encoding })
        expect(answer.status).toBe(415)
        expect(answer.headers.get('accept-encoding')).toBe('gzip')
      })
    }
  })

  describe('size', () => {
    const chunks = (text: string) => text.match(/[\s\S]{1,10000}/g)!.map(bytesOf)

    test('a body of exactly the limit is taken: by its length, in chunks, unpacked', async () => {
      const ids = [freshId(), freshId(), freshId()] as const
      const gzipped = { ...JSON_TYPE, 'content-encoding': 'gzip' }
      expect((await send(batchOfBytes(ids[0], LIMIT_BYTES))).status).toBe(202)
      expect((await send(chunks(batchOfBytes(ids[1], LIMIT_BYTES)))).status).toBe(202)
      expect((await send(Bun.gzipSync(batchOfBytes(ids[2], LIMIT_BYTES)), gzipped)).status).toBe(202)
      for (const id of ids) expect((await api.session(id)).status).toBe(200)
    })

    for (const [name, bytes] of Object.entries({
      'one byte more': LIMIT_BYTES + 1,
      'three times the limit': LIMIT_BYTES * 3,
      'a hundred times the limit': LIMIT_BYTES * 100,
    })) {
      test(`${name} is 413: by its length, in chunks without one, and gzip counted unpacked`, async () => {
        const text = batchOfBytes(freshId(), bytes)
        const answers = [
          await send(text),
          await send(chunks(text)),
          await send(Bun.gzipSync(text), { ...JSON_TYPE, 'content-encoding': 'gzip' }),
          await send([Bun.gzipSync(text)], { ...JSON_TYPE, 'content-encoding': 'gzip' }),
        ]
        for (const answer of answers) {
          expect(answer.status).toBe(413)
          expect(answer.headers.get('content-type')).toBe('application/problem+json')
          expect(answer.body).toMatchObject({ status: 413, error_code: 'PAYLOAD_TOO_LARGE' })
        }
      })
    }

    test('a gzip bomb, small on the wire and 300 times the limit unpacked, is 413', async () => {
      const bomb = Bun.gzipSync(new Uint8Array(LIMIT_BYTES * 300))
      expect(bomb.byteLength).toBeLessThan(LIMIT_BYTES / 2)
      const gzipped = { ...JSON_TYPE, 'content-encoding': 'gzip' }
      for (const body of [bomb, [bomb]]) expect((await send(body, gzipped)).status).toBe(413)
    })

    test('holds without a media type too, in chunks, where a body may be left out', async () => {
      const target = `${BASE}/sessions/cleanup`
      const send = (body: Uint8Array[]) => rawRequest(on.url, { method: 'POST', target, body })
      expect((await send(chunks(' '.repeat(LIMIT_BYTES * 3)))).status).toBe(413)
      expect((await send(chunks('{}'))).status).toBe(415)
    })

    for (const [method, target] of BODIES.slice(1)) {
      test(`${method} ${target} has the same limit`, async () => {
        const body = ' '.repeat(LIMIT_BYTES + 1)
        expect((await rawRequest(on.url, { method, target, body, headers: JSON_TYPE })).status).toBe(413)
      })
    }
  })

  describe('no body', () => {
    test('is fine where none is needed', async () => {
      for (const [method, target] of [
        ['POST', `${BASE}/flush`],
        ['POST', `${BASE}/sessions/cleanup`],
        ['DELETE', `${BASE}/sessions/cleanup`],
      ] as const) {
        expect((await rawRequest(on.url, { method, target })).status).toBe(200)
        expect((await rawRequest(on.url, { method, target, headers: JSON_TYPE, body: '' })).status).toBe(200)
      }
    })

    test('is 415 without a type, and 400 with one, where one is needed', async () => {
      for (const [method, target] of BODIES.filter(([, path]) => !path.endsWith('cleanup'))) {
        expect((await rawRequest(on.url, { method, target })).status).toBe(415)
        expect((await rawRequest(on.url, { method, target, headers: JSON_TYPE, body: '' })).status).toBe(400)
      }
    })
  })
})

test('as its users run it, too: a body of many times the limit is answered 413 with a problem', async () => {
  const { env, drop } = await freshFolder()
  const service = await startService({ env: { ...env, MAX_BODY_BYTES: String(LIMIT_BYTES) } })
  try {
    for (const times of [1.5, 3, 100]) {
      const body = batchOfBytes(freshId(), LIMIT_BYTES * times)
      const answer = await rawRequest(service.url, {
        method: 'POST',
        target: BATCH,
        headers: JSON_TYPE,
        body,
      })
      expect(answer.status).toBe(413)
      expect(answer.body).toMatchObject({ status: 413, error_code: 'PAYLOAD_TOO_LARGE' })
    }
  } finally {
    await service.stop()
    await drop()
  }
})
