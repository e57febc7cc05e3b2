/** How the service is served: what a connection may take its time for, and what nobody is told. */
import { expect, test } from 'bun:test'
import { isLoopback, serverOptions } from '../../src/compose/server_options.ts'
import { loadConfig } from '../../src/config/mod.ts'
import { createLogger } from '../../src/lib/log.ts'

type Fetch = Parameters<typeof serverOptions>[0]['fetch']

function options(fetch: Fetch, env: Record<string, string> = {}) {
  const lines: Record<string, unknown>[] = []
  const log = createLogger({
    level: 'info',
    instance: 'test',
    write: (line) => lines.push(JSON.parse(line)),
  })
  const { service } = loadConfig({ env, readFile: () => '', collections: [] })
  return { lines, ...serverOptions({ service, tls: null, fetch, log }) }
}

/** A connection that writes down which clocks it was given. */
function connection() {
  const clocks: number[] = []
  return {
    clocks,
    requestIP: () => ({ address: '192.0.2.1' }),
    timeout: (_: Request, seconds: number) => void clocks.push(seconds),
  }
}

const request = new Request('http://x/')

test('no clock runs while a request is worked on; the idle one does from its answer on, failed or not', async () => {
  const seen: number[][] = []
  const good = connection()
  const answers = options(() => {
    seen.push([...good.clocks])
    return new Response('done')
  })
  expect(await (await answers.fetch(request, good)).text()).toBe('done')
  expect([seen, good.clocks]).toEqual([[[0]], [0, 79]])

  const bad = connection()
  const failing = options(() => Promise.reject(new TypeError('broken')))
  await expect(failing.fetch(request, bad)).rejects.toThrow('broken')
  expect(bad.clocks).toEqual([0, 79])
})

test('an idle connection outlives the 60 s of the proxies before it, and a longer CLIENT_TIMEOUT', () => {
  const idle = (env: Record<string, string>) => options(() => new Response(), env).idleTimeout
  expect(idle({})).toBe(79)
  expect(idle({ CLIENT_TIMEOUT: '1' })).toBe(79)
  expect(idle({ CLIENT_TIMEOUT: '99.5' })).toBe(104)
  // Bun refuses more than 255.
  expect(idle({ CLIENT_TIMEOUT: '240' })).toBe(244)
})

test('a request can ask for its address, and for the end of its connection', async () => {
  const end = connection()
  const { fetch } = options((_, { peerAddress, hangUp }) => {
    hangUp?.()
    return new Response(peerAddress?.())
  })
  expect(await (await fetch(request, end)).text()).toBe('192.0.2.1')
  expect(end.clocks).toEqual([0, 1, 79])
})

test('what fails outside of the app is a problem that says nothing of it; the log has it, under the same id', async () => {
  const { lines, ...served } = options(() => {
    throw new TypeError('the secret of src/main.ts')
  })
  const server = Bun.serve({ ...served, hostname: '127.0.0.1', port: 0 })
  try {
    const answer = await fetch(server.url)
    expect(answer.status).toBe(500)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    const problem = (await answer.json()) as Record<string, unknown>
    expect(problem).toMatchObject({ status: 500, error_code: 'INTERNAL_ERROR' })
    expect(JSON.stringify(problem)).not.toContain('secret')
    expect(answer.headers.get('x-request-id')).toBe(problem.request_id as string)
    expect(lines).toMatchObject([{ level: 'ERROR', request_id: problem.request_id }])
    expect(JSON.stringify(lines)).toContain('the secret of src/main.ts')
  } finally {
    await server.stop(true)
  }
})

test('an answer that takes longer than the idle clock is waited for', async () => {
  // Bun's clock moves in steps of four seconds: with 1 it would end the connection within that.
  const { lines, ...served } = options(async () => {
    await Bun.sleep(4200)
    return new Response('done')
  })
  const server = Bun.serve({ ...served, idleTimeout: 1, hostname: '127.0.0.1', port: 0 })
  try {
    expect(await (await fetch(server.url)).text()).toBe('done')
  } finally {
    await server.stop(true)
  }
}, 20_000)

test('only what no other machine can reach is loopback', () => {
  expect(['localhost', '127.0.0.1', '127.1.2.3', '::1'].filter((host) => !isLoopback(host))).toEqual([])
  expect(
    ['0.0.0.0', '::', '10.0.0.1', '192.168.0.1', 'example.com', '127.0.0.1.example.com', '1127.0.0.1'].filter(
      isLoopback,
    ),
  ).toEqual([])
})
