import { afterEach, describe, expect, test } from 'bun:test'
import { createClient, retryAfterMs } from '../../tools/replay/client.ts'
import { createPace, inParallel } from '../../tools/replay/parallel.ts'
import { until } from '../support/waiting.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** A client of a server that gives these answers in turn, the last one again and again. */
function clientOf(...answers: (() => Response)[]) {
  const requests: { method: string; path: string; body: string }[] = []
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request) {
      requests.push({
        method: request.method,
        path: new URL(request.url).pathname,
        body: await request.text(),
      })
      return answers[Math.min(requests.length, answers.length) - 1]!()
    },
  })
  closing.push(() => server.stop(true))
  const stop = new AbortController()
  const waitsMs: number[] = []
  const onWait = (waitMs: number) => void waitsMs.push(waitMs)
  const url = `http://127.0.0.1:${server.port}`
  const client = createClient({ url, signal: stop.signal, onWait, patienceMs: 2000 })
  return { client, requests, waitsMs, stop }
}

const busy = (retryAfter: string) => () =>
  Response.json({ detail: 'The buffer is full.' }, { status: 503, headers: { 'Retry-After': retryAfter } })
const fine = () => Response.json({ count: 1 })

describe('a request', () => {
  test('is repeated with the same body after a 503 that says when, and counted as a retry', async () => {
    const { client, requests, waitsMs } = clientOf(busy('0'), busy('0'), fine)
    expect(await client.post('/x', { a: '龙' })).toEqual({ count: 1 })
    expect(requests.map(({ body }) => body)).toEqual(Array(3).fill('{"a":"龙"}'))
    expect([client.retries(), waitsMs, client.writesMs.length]).toEqual([2, [0, 0], 1])
  })
  test('is given up when the waits go past its patience', async () => {
    const { client } = clientOf(busy('60'))
    await expect(client.post('/x', {})).rejects.toThrow('POST /x: 503 The buffer is full. (tried for 0 s)')
  })
  test('is not repeated after a 503 that says no time', async () => {
    const { client } = clientOf(() => new Response('gone', { status: 503 }))
    await expect(client.post('/x', {})).rejects.toThrow('POST /x: 503 gone')
  })
  test('that is refused fails with the detail and each fault', async () => {
    const errors = [{ field: 'tasks[3].row_index', message: 'row_index is required' }]
    const { client } = clientOf(() =>
      Response.json({ detail: '1 field.', errors, request_id: 'r1' }, { status: 422 }),
    )
    await expect(client.post('/x', {})).rejects.toThrow(
      'POST /x: 422 1 field.; tasks[3].row_index: row_index is required; request r1',
    )
  })
  test('of a flush that misses instances fails with their names', async () => {
    const { client } = clientOf(() =>
      Response.json({ status: 'error', missing_instances: ['a', 'b'] }, { status: 504 }),
    )
    await expect(client.post('/flush')).rejects.toThrow('missing instances: a, b')
  })
  test('for what is not there finds null', async () => {
    const { client } = clientOf(() => Response.json({ detail: 'Not found' }, { status: 404 }))
    await expect(await client.find('/x')).toBeNull()
    await expect(client.post('/x', {})).rejects.toThrow('404')
  })
  test('fails when the answer is not JSON', async () => {
    const { client } = clientOf(() => new Response('<html>'))
    await expect(client.find('/x')).rejects.toThrow('GET /x: the answer is not JSON: <html>')
  })
  test('fails by name when nobody listens', async () => {
    const { client, stop } = clientOf(fine)
    await closing.pop()!()
    await expect(client.find('/x')).rejects.toThrow(/GET http:\/\/127\.0\.0\.1:\d+\/x: /)
    stop.abort()
  })
  test('on its way ends with the run, for the reason of the run', async () => {
    const { client, requests, stop } = clientOf(busy('1'))
    const failed = client.post('/x', {}).catch((error) => error)
    stop.abort(new Error('another failed'))
    expect((await failed).message).toBe('another failed')
    expect(requests.length).toBeLessThanOrEqual(1)
  })
  test('that waits ends with the run, for the reason of the run', async () => {
    const { client, requests, waitsMs, stop } = clientOf(busy('1'))
    const failed = client.post('/x', {}).catch((error) => error)
    await until(() => waitsMs.length === 1, { message: 'the request waits' })
    stop.abort(new Error('another failed'))
    expect((await failed).message).toBe('another failed')
    expect(requests).toHaveLength(1)
  })
})

test('Retry-After is read as seconds or as a date, and as nothing else', () => {
  const nowMs = Date.UTC(2025, 8, 30, 10, 0, 0)
  expect(retryAfterMs('3', nowMs)).toBe(3000)
  expect(retryAfterMs('Tue, 30 Sep 2025 10:00:05 GMT', nowMs)).toBe(5000)
  expect(retryAfterMs('Tue, 30 Sep 2025 09:00:00 GMT', nowMs)).toBe(0)
  expect(retryAfterMs('soon', nowMs)).toBeNull()
  expect(retryAfterMs(null, nowMs)).toBeNull()
})

describe('several workers', () => {
  test('do every item once, as many at a time as told', async () => {
    const done: number[] = []
    let [running, most] = [0, 0]
    await inParallel(Array(20).keys(), { width: 3, stop: new AbortController() }, async (item) => {
      most = Math.max(most, ++running)
      await Promise.resolve()
      running--
      done.push(item)
    })
    expect(done.toSorted((a, b) => a - b)).toEqual([...Array(20).keys()])
    expect(most).toBe(3)
  })
  test('begin nothing after the first error, which is the one that is told', async () => {
    const begun: number[] = []
    const stop = new AbortController()
    const work = async (item: number) => {
      begun.push(item)
      await Promise.resolve()
      if (item === 3) throw new Error('the third')
    }
    await expect(inParallel(Array(100).keys(), { width: 2, stop }, work)).rejects.toThrow('the third')
    expect(begun.length).toBeLessThan(10)
    expect(stop.signal.aborted).toBe(true)
  })
})

describe('a pace', () => {
  test('of 0 never waits', () => {
    expect(createPace(0).reserveMs(1000, 5)).toBe(0)
  })
  test('is kept from one piece of work to the next', () => {
    const pace = createPace(50)
    expect([pace.reserveMs(100, 0), pace.reserveMs(100, 0), pace.reserveMs(50, 500)]).toEqual([0, 2000, 3500])
  })
  test('is not caught up with after a stall', () => {
    const pace = createPace(100)
    pace.reserveMs(100, 0)
    expect([pace.reserveMs(100, 60_000), pace.reserveMs(100, 60_000)]).toEqual([0, 1000])
  })
})
