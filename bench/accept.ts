/** (a) Accepting tasks, against a bare Hono app that parses and validates with the same schema. */
import type { BenchOptions } from './args.ts'
import { atLeast, type Figure, limit, median, pairFigure } from './figures.ts'
import { goodPerSecond, percentileOf, refused, runLoad } from './load.ts'
import type { LoadResult } from './load_worker.ts'
import { processFigures } from './process_figures.ts'
import { drain, type RunningServer, startBare, startService } from './servers.ts'
import { createStore } from './store.ts'

const PATH = '/api/v1/translation/tasks/batch'
const TASKS = 100
const CONNECTIONS = 16
/** Enough that a stall of the server queues requests, not the generator. */
const PACED_CONNECTIONS = 64
const WARM_UP_MS = 300
const MIN_RATIO = 0.6
const MAX_P99_MS = 10

/** A server under load, and how far its sessions have been numbered. */
export interface Contestant {
  name: string
  server: RunningServer
  /** Sent with every request. */
  headers?: Record<string, string>
  settle(): Promise<void>
}

export interface Burst {
  /** Accepted while it lasted; the buffer takes what is not stored yet. */
  rowsPerSecond: number
  /** Accepted and stored, the time of draining included: what could go on for ever. */
  storedPerSecond: number
  cpuMsPerThousandRows: number
  load: LoadResult
}

/** Flushes hold off: what accepting costs by itself. */
export const HELD = {
  MAX_BUFFER_SIZE: '1000000',
  BUFFER_MAX_ROWS: '1000000',
  BUFFER_MAX_BYTES: String(2 * 1024 ** 3),
  BUFFER_FLUSH_BYTES: String(2 * 1024 ** 3),
  FLUSH_INTERVAL: '3600',
}

let sessions = 0

/** Posts batches for a while, as fast as they are answered, then lets the server store them. */
export async function burst(contestant: Contestant, durationMs: number): Promise<Burst> {
  const { server, headers = {}, settle } = contestant
  const before = await processFigures(server.pid)
  const load = await runLoad({
    target: { type: 'batches', url: server.url, path: PATH, tasks: TASKS, firstSession: sessions, headers },
    connections: CONNECTIONS,
    warmUpMs: WARM_UP_MS,
    durationMs,
    rate: null,
  })
  sessions += CONNECTIONS * 1000
  const after = await processFigures(server.pid)
  const endMs = performance.now()
  await settle()
  const wholeMs = WARM_UP_MS + durationMs + performance.now() - endMs
  const cpuMs = before && after ? after.cpuMs - before.cpuMs : Number.NaN
  return {
    rowsPerSecond: goodPerSecond(load) * TASKS,
    storedPerSecond: ((load.sent * TASKS) / wholeMs) * 1000,
    cpuMsPerThousandRows: (cpuMs / (load.sent * TASKS)) * 1000,
    load,
  }
}

async function paced({ server, settle }: Contestant, rate: number, durationMs: number): Promise<LoadResult> {
  const load = await runLoad({
    target: { type: 'batches', url: server.url, path: PATH, tasks: TASKS, firstSession: sessions },
    connections: PACED_CONNECTIONS,
    warmUpMs: 500,
    durationMs,
    rate,
  })
  sessions += PACED_CONNECTIONS * 1000
  await settle()
  return load
}

/** Throughput and latency of `POST /tasks/batch`. */
export async function benchAccept(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  const rounds = options.quick ? 2 : 5
  const burstMs = options.quick ? 800 : 1500
  const pacedMs = options.quick ? 2000 : 4000
  await using stack = new AsyncDisposableStack()
  const bare = await startBare('bare_server.ts')
  stack.defer(bare.stop)
  const [flushing, held] = await Promise.all(
    // Without the journal, as the bare app keeps nothing: what that costs is benchmark e.
    [{}, HELD].map(async (held) => {
      const extra = { ...held, BUFFER_JOURNAL: 'off' }
      const store = await createStore(options)
      stack.defer(store.drop)
      const server = await startService({ ...store.env, ...extra })
      stack.defer(server.stop)
      return server
    }),
  )
  const contestants: Contestant[] = [
    { name: 'bare', server: bare, settle: async () => {} },
    { name: 'service', server: flushing!, settle: () => drain(flushing!.url) },
    { name: 'held', server: held!, settle: () => drain(held!.url) },
  ]
  for (const contestant of contestants) await burst(contestant, options.quick ? 300 : 1000)

  const bursts = new Map<string, Burst[]>(contestants.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const contestant of contestants) {
      const found = await burst(contestant, burstMs)
      bursts.get(contestant.name)!.push(found)
      say(
        `round ${round + 1}, ${contestant.name}: ${Math.round(found.rowsPerSecond)} rows/s, ${found.cpuMsPerThousandRows.toFixed(2)} ms CPU per 1000 rows${refused(found.load) > 0 ? `, ${refused(found.load)} refused` : ''}`,
      )
    }
  }
  const of = (name: string, value: (burst: Burst) => number) => bursts.get(name)!.map(value)
  const rows = (burst: Burst) => burst.rowsPerSecond
  const cpu = (burst: Burst) => burst.cpuMsPerThousandRows

  const stored = (burst: Burst) => burst.storedPerSecond
  const halves = [
    { of: 'what it stores', rate: halfOf(median(of('service', stored))) },
    { of: 'what it accepts', rate: halfOf(median(of('service', rows))) },
  ]
  const latencyFigures: Figure[] = []
  for (const half of halves) {
    const latencies = new Map<string, number[][]>(contestants.map(({ name }) => [name, []]))
    for (let round = 0; round < (options.quick ? 1 : 3); round++) {
      for (const contestant of contestants.slice(0, 2)) {
        const load = await paced(contestant, half.rate, pacedMs)
        latencies.get(contestant.name)!.push(load.latenciesMs)
        say(
          `half of ${half.of} (${half.rate} requests/s), ${contestant.name}: P50 ${percentileOf(load.latenciesMs, 50).toFixed(2)} ms, P99 ${percentileOf(load.latenciesMs, 99).toFixed(2)} ms${refused(load) > 0 ? `, ${refused(load)} refused` : ''}`,
        )
      }
    }
    latencyFigures.push(...[50, 95, 99].map((percent) => latencyFigure(percent, half, latencies)))
  }

  const against = (value: (burst: Burst) => number, unit: string, what: string, name = 'service') =>
    pairFigure({
      benchmark: 'a',
      what,
      unit,
      ours: of(name, value),
      alternative: { name: 'bare Hono + the same schema', values: of('bare', value) },
      ...(unit === 'rows/s' && name === 'service' && { target: atLeast(MIN_RATIO) }),
    })
  return [
    against(rows, 'rows/s', `accept without a journal, ${TASKS} tasks a request, flushing meanwhile`),
    against((burst) => rows(burst) / TASKS, 'requests/s', 'the same in requests'),
    {
      benchmark: 'a',
      what: 'accept and store, draining included',
      unit: 'rows/s',
      ours: median(of('service', stored)),
      rounds: { ours: of('service', stored) },
    },
    against(rows, 'rows/s', 'accept without a journal, nothing flushed', 'held'),
    against(cpu, 'ms', 'CPU of accepting 1000 rows, flushes included'),
    against(cpu, 'ms', 'CPU of accepting 1000 rows, nothing flushed', 'held'),
    ...latencyFigures,
  ]
}

const halfOf = (rowsPerSecond: number) => Math.max(1, Math.floor(rowsPerSecond / TASKS / 2))

function latencyFigure(
  percent: number,
  half: { of: string; rate: number },
  latencies: Map<string, number[][]>,
): Figure {
  const of = (name: string) => latencies.get(name)!.map((round) => percentileOf(round, percent))
  return pairFigure({
    benchmark: 'a',
    what: `accept at half of ${half.of} (${half.rate} requests/s), P${percent}`,
    unit: 'ms',
    ours: of('service'),
    alternative: { name: 'bare, the same rate', values: of('bare') },
    ...(percent === 99 && { target: (_: number, ours: number) => limit(ours, MAX_P99_MS, 'ms') }),
  })
}
