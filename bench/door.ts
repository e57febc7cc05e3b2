/** (f) What checking keys and counting requests costs: the same service with the door open and closed. */
import { burst, type Contestant, HELD } from './accept.ts'
import type { BenchOptions } from './args.ts'
import { atLeast, type Figure, pairFigure } from './figures.ts'
import { goodPerSecond, refused, runLoad } from './load.ts'
import { drain, startService } from './servers.ts'
import { createStore } from './store.ts'

const MIN_RATIO = 0.95
/** Counted, and answered from memory: the door is as large a part of it as of any request. */
const COUNTED_PATH = '/api/v1/system/buffer'
const CONNECTIONS = 16
const KEY = `psk_${'bench'.repeat(8)}`
const HEADERS = { 'X-API-Key': KEY }
const CLOSED = {
  API_KEYS: `bench ${KEY} translation:write,system:read`,
  RATE_LIMIT: 'on',
  RATE_LIMIT_PER_KEY: '100000000',
}

export async function benchDoor(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack()
  const contestants: Contestant[] = []
  for (const { name, env, headers } of [
    { name: 'open', env: {}, headers: {} },
    { name: 'closed', env: CLOSED, headers: HEADERS },
  ]) {
    const store = await createStore(options)
    stack.defer(store.drop)
    // Without the journal accepting is fastest, and the door the largest part of it.
    const server = await startService({ ...store.env, ...HELD, BUFFER_JOURNAL: 'off', ...env })
    stack.defer(server.stop)
    contestants.push({ name, server, headers, settle: () => drain(server.url, headers) })
  }
  for (const contestant of contestants) await burst(contestant, options.quick ? 300 : 1000)

  const accepted = new Map<string, number[]>(contestants.map(({ name }) => [name, []]))
  const read = new Map<string, number[]>(contestants.map(({ name }) => [name, []]))
  const durationMs = options.quick ? 800 : 1500
  for (let round = 0; round < (options.quick ? 3 : 9); round++) {
    // Who goes first takes turns as well: the second of a pair finds a warmer machine.
    for (const contestant of round % 2 === 0 ? contestants : contestants.toReversed()) {
      const { rowsPerSecond, load } = await burst(contestant, durationMs)
      const requests = await counted(contestant, durationMs)
      accepted.get(contestant.name)!.push(rowsPerSecond)
      read.get(contestant.name)!.push(requests)
      say(
        `round ${round + 1}, ${contestant.name}: ${Math.round(rowsPerSecond)} rows/s accepted, ${Math.round(requests)} counted requests/s${refused(load) > 0 ? `, ${refused(load)} refused` : ''}`,
      )
    }
  }
  return [
    pairFigure({
      benchmark: 'f',
      what: 'accept with an API key and rate limits',
      unit: 'rows/s',
      ours: accepted.get('closed')!,
      alternative: { name: 'without', values: accepted.get('open')! },
      target: atLeast(MIN_RATIO),
    }),
    pairFigure({
      benchmark: 'f',
      what: `GET ${COUNTED_PATH}, which is counted`,
      unit: 'requests/s',
      ours: read.get('closed')!,
      alternative: { name: 'without', values: read.get('open')! },
    }),
  ]
}

async function counted({ server, headers = {} }: Contestant, durationMs: number): Promise<number> {
  const load = await runLoad({
    target: { type: 'gets', url: server.url, paths: [COUNTED_PATH], headers },
    connections: CONNECTIONS,
    warmUpMs: 200,
    durationMs,
    rate: null,
  })
  return goodPerSecond(load)
}
