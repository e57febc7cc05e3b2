/** (c) Queries over HTTP, against the same statements straight through the driver. */
import { compose } from '../src/compose.ts'
import { createLogger } from '../src/lib/log.ts'
import type { BenchOptions } from './args.ts'
import { openDirect, type RecordedRequest, replay } from './direct.ts'
import { atMost, type Figure, pairFigure } from './figures.ts'
import { goodPerSecond, percentileOf, refused, runLoad } from './load.ts'
import { type QueryKind, queryKinds } from './query_kinds.ts'
import { connectRaw, getRequest } from './raw_http.ts'
import { record } from './recorder.ts'
import { seed, sessionsOf } from './seed.ts'
import { startService } from './servers.ts'
import { type BenchStore, createStore, openPrepared } from './store.ts'

const MAX_RATIO = 1.3
const MAX_DEEP_RATIO = 1.3
const BLOCK = 20
/** A service answers millions: what counts is the code that its engine has compiled for good. */
const WARM_UP_REQUESTS = 1000
const CONNECTIONS = 100
/** The service's own default. */
const POOL_SIZE = 10
const TAKES = 3
const NOTHING = '/health/live'

/** Latencies of one kind of request, by round. */
interface Latencies {
  http: number[][]
  direct: number[][]
}

/** Latency of each kind of query, and queries a second at 100 connections. */
export async function benchQueries(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack()
  const store = await createStore(options)
  stack.defer(store.drop)
  const sessions = sessionsOf(options.rows)
  const backend = await openPrepared(store)
  const begunMs = performance.now()
  await seed(backend, sessions, 'mixed')
  await backend.close()
  const kinds = await queryKinds(store, sessions, options.rows)
  say(
    `${options.rows} tasks in ${sessions.length} sessions stored in ${((performance.now() - begunMs) / 1000).toFixed(0)} s`,
  )
  const recorded = await recordAll(store, kinds)
  const service = await startService(store.env)
  stack.defer(service.stop)
  const target = store.url ?? store.file!

  const rounds = options.quick ? 2 : 5
  const requests = options.quick ? 100 : 300
  const latencies = new Map<string, Latencies>(kinds.map(({ name }) => [name, { http: [], direct: [] }]))
  const http = await connectRaw(service.url)
  stack.defer(http.close)
  const direct = await openDirect({ url: target, poolSize: POOL_SIZE })
  stack.defer(direct.close)

  const viaHttp = (kind: QueryKind, n: number) => viaPath(kind.paths[n % kind.paths.length]!)
  async function viaPath(path: string): Promise<number> {
    const request = getRequest(service.url, path)
    const startMs = performance.now()
    const answer = await http.send(request)
    const elapsedMs = performance.now() - startMs
    if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}: ${answer.text()}`)
    return elapsedMs
  }
  async function viaDriver(kind: QueryKind, n: number): Promise<number> {
    const of = recorded.get(kind.name)!
    const startMs = performance.now()
    await replay(direct, of[n % of.length]!)
    return performance.now() - startMs
  }

  for (let round = -1; round < rounds; round++) {
    for (const kind of kinds) {
      const found = { http: [] as number[], direct: [] as number[] }
      for (let n = 0; n < (round < 0 ? WARM_UP_REQUESTS : requests); n += BLOCK) {
        for (let i = n; i < n + BLOCK; i++) found.http.push(await viaHttp(kind, i))
        for (let i = n; i < n + BLOCK; i++) found.direct.push(await viaDriver(kind, i))
      }
      if (round < 0) continue // until everything is hot
      latencies.get(kind.name)!.http.push(found.http)
      latencies.get(kind.name)!.direct.push(found.direct)
    }
  }
  for (const { name } of kinds) {
    const of = latencies.get(name)!
    say(
      `${name}: P50 ${percentileOf(of.http.flat(), 50).toFixed(2)} ms, through the driver ${percentileOf(of.direct.flat(), 50).toFixed(2)} ms; ${statementsOf(recorded.get(name)![0]!)} statements a request`,
    )
  }
  const figures: Figure[] = [await nothingFigure(viaPath, requests)]
  figures.push(
    ...kinds.flatMap(({ name }) =>
      [50, 95].map((percent) => latencyFigure(name, percent, latencies.get(name)!)),
    ),
  )
  figures.push(deepFigure(latencies))
  for (const kind of kinds.filter(({ underLoad }) => underLoad)) {
    figures.push(await loadFigure(kind, { service: service.url, target, recorded, options, say }))
  }
  return figures
}

const statementsOf = (request: RecordedRequest) => request.reduce((sum, wave) => sum + wave.length, 0)

/**
 * What each request makes the service send, in the state that lasts: a list's total is kept for a while where
 * counting was slow, so of several recordings the shortest counts.
 */
async function recordAll(
  store: BenchStore,
  kinds: readonly QueryKind[],
): Promise<Map<string, RecordedRequest[]>> {
  const log = createLogger({ level: 'error', instance: 'bench-recorder', write: console.error })
  const service = await compose({ config: store.config, instanceId: 'bench-recorder', version: 'bench', log })
  service.start()
  await service.prepared
  const recorded = new Map<string, RecordedRequest[]>()
  try {
    for (const { name, paths } of kinds) {
      const found: RecordedRequest[] = []
      for (const path of paths) {
        const get = async () => {
          const answer = await service.fetch(new Request(`http://localhost${path}`))
          if (answer.status !== 200)
            throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`)
          await answer.arrayBuffer()
        }
        const takes: RecordedRequest[] = []
        for (let take = 0; take < TAKES; take++) takes.push(await record(get))
        takes.sort((a, b) => statementsOf(a) - statementsOf(b))
        found.push(takes[0]!)
      }
      recorded.set(name, found)
    }
  } finally {
    await service.shutdown()
  }
  return recorded
}

function latencyFigure(name: string, percent: number, { http, direct }: Latencies): Figure {
  return pairFigure({
    benchmark: 'c',
    what: `${name}, P${percent}`,
    unit: 'ms',
    ours: http.map((round) => percentileOf(round, percent)),
    alternative: {
      name: 'the same SQL by the driver',
      values: direct.map((round) => percentileOf(round, percent)),
    },
    ...(percent === 95 && { target: atMost(MAX_RATIO) }),
  })
}

/** What HTTP costs on this machine before there is any query in it. */
async function nothingFigure(viaPath: (path: string) => Promise<number>, requests: number): Promise<Figure> {
  const found: number[] = []
  for (let n = 0; n < requests; n++) found.push(await viaPath(NOTHING))
  return {
    benchmark: 'c',
    what: `a request without a query (${NOTHING}), P50`,
    unit: 'ms',
    ours: percentileOf(found, 50),
    rounds: { ours: found },
  }
}

/** Page 10,000 to page 1: both ours. */
function deepFigure(latencies: Map<string, Latencies>): Figure {
  const of = (name: string) => latencies.get(name)!.http.map((round) => percentileOf(round, 95))
  return pairFigure({
    benchmark: 'c',
    what: 'tasks by cursor, page 10,000, P95',
    unit: 'ms',
    ours: of('tasks by cursor, page 10,000'),
    alternative: { name: 'page 2 by cursor', values: of('tasks by cursor, page 2') },
    target: atMost(MAX_DEEP_RATIO),
  })
}

interface LoadOptions {
  service: string
  target: string
  recorded: Map<string, RecordedRequest[]>
  options: BenchOptions
  say(line: string): void
}

async function loadFigure(
  kind: QueryKind,
  { service, target, recorded, options, say }: LoadOptions,
): Promise<Figure> {
  const shared = {
    connections: CONNECTIONS,
    warmUpMs: 300,
    durationMs: options.quick ? 1000 : 2500,
    rate: null,
  }
  const found = { ours: [] as number[], alternative: [] as number[] }
  for (let round = 0; round < (options.quick ? 1 : 3); round++) {
    const ours = await runLoad({ ...shared, target: { type: 'gets', url: service, paths: kind.paths } })
    if (refused(ours) > 0) throw new Error(`${kind.name}: answers ${JSON.stringify(ours.statuses)}`)
    const direct = await runLoad({
      ...shared,
      target: {
        type: 'statements',
        url: target,
        requests: recorded.get(kind.name)!,
        poolSize: POOL_SIZE,
      },
    })
    found.ours.push(goodPerSecond(ours))
    found.alternative.push(goodPerSecond(direct))
    say(
      `${kind.name}, ${CONNECTIONS} connections: ${Math.round(goodPerSecond(ours))}/s, P95 ${percentileOf(ours.latenciesMs, 95).toFixed(1)} ms; the driver ${Math.round(goodPerSecond(direct))}/s`,
    )
  }
  return pairFigure({
    benchmark: 'c',
    what: `${kind.name}, ${CONNECTIONS} connections`,
    unit: 'queries/s',
    ours: found.ours,
    alternative: { name: 'the same SQL by the driver', values: found.alternative },
  })
}
