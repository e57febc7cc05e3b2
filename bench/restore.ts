/** (d) Restoring one large session, against streaming the same rows with nothing around them. */
import type { BenchOptions } from './args.ts'
import { atLeast, type Figure, limit, median, pairFigure } from './figures.ts'
import { type ProcessFigures, processFigures, resetPeak } from './process_figures.ts'
import { seed } from './seed.ts'
import { type RunningServer, startBare, startService } from './servers.ts'
import { createStore, openPrepared } from './store.ts'
import { sessionIdOf } from './tasks.ts'

const MIN_RATIO = 0.5
const MAX_GROWTH_MIB = 64
const MIB = 1024 * 1024
const SMALL_ROWS = 10_000
const WARM_UPS = 2

interface Download {
  rowsPerSecond: number
  bytes: number
  cpuMsPerThousandRows: number
  /** How far the server's memory rose above what it held after the warm-up, at most. */
  growthMib: number
}

interface Source {
  name: string
  server: RunningServer
  method: string
  /** The session's id follows. */
  base: string
  accept: string
  /** What the last bytes must say: that everything came. */
  endsWith(rows: number): string
}

/** Time, memory and processor time of a restore. */
export async function benchRestore(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack()
  const store = await createStore(options)
  stack.defer(store.drop)
  const sessionId = sessionIdOf(0)
  const backend = await openPrepared(store)
  const begunMs = performance.now()
  const small = { sessionId: sessionIdOf(1), tasks: SMALL_ROWS }
  await seed(backend, [{ sessionId, tasks: options.rows }, small], 'unfinished')
  await backend.close()
  say(`a session of ${options.rows} tasks stored in ${((performance.now() - begunMs) / 1000).toFixed(0)} s`)

  const service = await startService(store.env)
  stack.defer(service.stop)
  const raw = await startBare('raw_stream_server.ts', [store.url ?? store.file!])
  stack.defer(raw.stop)
  const restore = {
    server: service,
    method: 'POST',
    base: '/api/v1/translation/recovery/restore/',
  }
  const sources: Source[] = [
    {
      ...restore,
      name: 'JSON',
      accept: 'application/json',
      endsWith: (rows) => `"tasks_count":${rows},`,
    },
    {
      ...restore,
      name: 'NDJSON',
      accept: 'application/x-ndjson',
      endsWith: (rows) => `{"tasks_count":${rows},`,
    },
    { name: 'raw', server: raw, method: 'GET', base: '/', accept: '*/*', endsWith: () => '}\n' },
  ]

  // What a process needs the first time is not what a session's size costs.
  for (let n = 0; n < WARM_UPS; n++)
    for (const source of sources) await fetchAll(source, { ...small, baseBytes: 0 })
  const bases = new Map<RunningServer, number>()
  for (const server of [service, raw])
    bases.set(server, (await processFigures(server.pid))?.rssBytes ?? Number.NaN)

  const found = new Map<string, Download[]>(sources.map(({ name }) => [name, []]))
  for (let round = 0; round < (options.quick ? 2 : 3); round++) {
    for (const source of sources) {
      const download = await fetchAll(source, {
        sessionId,
        tasks: options.rows,
        baseBytes: bases.get(source.server)!,
      })
      found.get(source.name)!.push(download)
      say(
        `round ${round + 1}, ${source.name}: ${Math.round(download.rowsPerSecond)} rows/s, ${Math.round(download.bytes / MIB)} MiB, memory + ${download.growthMib.toFixed(0)} MiB, ${download.cpuMsPerThousandRows.toFixed(2)} ms CPU per 1000 rows`,
      )
    }
  }
  const of = (name: string, value: (download: Download) => number) => found.get(name)!.map(value)
  return ['JSON', 'NDJSON'].flatMap((name) => [
    pairFigure({
      benchmark: 'd',
      what: `restore of ${options.rows.toLocaleString('en-US')} tasks, ${name}`,
      unit: 'rows/s',
      ours: of(name, (download) => download.rowsPerSecond),
      alternative: {
        name: 'raw stream of the rows',
        values: of('raw', (download) => download.rowsPerSecond),
      },
      target: atLeast(MIN_RATIO),
    }),
    pairFigure({
      benchmark: 'd',
      what: `CPU per 1000 rows, ${name}`,
      unit: 'ms',
      ours: of(name, (download) => download.cpuMsPerThousandRows),
      alternative: { name: 'raw', values: of('raw', (download) => download.cpuMsPerThousandRows) },
    }),
    growthFigure(
      name,
      of(name, (download) => download.growthMib),
      of('raw', (download) => download.growthMib),
    ),
  ])
}

/** The worst round counts. */
function growthFigure(name: string, ours: readonly number[], raw: readonly number[]): Figure {
  const worst = Math.max(...ours)
  return {
    benchmark: 'd',
    what: `memory above that after small restores, at most, ${name}`,
    unit: 'MiB',
    ours: worst,
    alternative: { name: `raw; median ${median(ours).toFixed(0)}`, value: Math.max(...raw) },
    target: limit(worst, MAX_GROWTH_MIB, 'MiB'),
    rounds: { ours, alternative: raw },
  }
}

const TAIL_BYTES = 512

async function fetchAll(
  source: Source,
  { sessionId, tasks: rows, baseBytes }: { sessionId: string; tasks: number; baseBytes: number },
): Promise<Download> {
  const { pid, url } = source.server
  const before = await processFigures(pid)
  if (before) await resetPeak(pid)
  const begunMs = performance.now()
  const answer = await fetch(`${url}${source.base}${sessionId}`, {
    method: source.method,
    headers: { accept: source.accept },
  })
  if (answer.status !== 200)
    throw new Error(`${source.name} answered ${answer.status}: ${await answer.text()}`)
  let bytes = 0
  let tail = Buffer.alloc(0)
  for await (const chunk of answer.body!) {
    bytes += chunk.byteLength
    tail = Buffer.concat([tail, chunk.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES)
  }
  const elapsedMs = performance.now() - begunMs
  if (!tail.toString().includes(source.endsWith(rows)))
    throw new Error(`${source.name} was cut off: …${tail.toString()}`)
  const after = await processFigures(pid)
  return {
    rowsPerSecond: (rows / elapsedMs) * 1000,
    bytes,
    cpuMsPerThousandRows: between(before, after, ({ cpuMs }) => cpuMs) / (rows / 1000),
    growthMib: after ? (after.peakRssBytes - baseBytes) / MIB : Number.NaN,
  }
}

function between(
  before: ProcessFigures | null,
  after: ProcessFigures | null,
  value: (figures: ProcessFigures) => number,
): number {
  return before && after ? value(after) - value(before) : Number.NaN
}
