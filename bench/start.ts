/** How long a start takes, and what a full buffer costs in memory while the database is away. */
import { openProxy } from '../tests/support/proxy.ts'
import type { BenchOptions } from './args.ts'
import { type Figure, limit, pairFigure } from './figures.ts'
import { processFigures } from './process_figures.ts'
import { connectRaw } from './raw_http.ts'
import { launchService, type RunningServer, startBare, startService } from './servers.ts'
import { type BenchStore, createStore } from './store.ts'
import { batchRequest } from './tasks.ts'

const MAX_START_MS = 500
const PATH = '/api/v1/translation/tasks/batch'
const TASKS = 100
const TASKS_PER_SESSION = 1000
const MIB = 1024 * 1024

/** Starts, and memory. */
export async function benchStart(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  return [...(await starts(options, say)), await memory(options, say)]
}

async function starts(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  const store = await createStore(options)
  const found = { direct: [] as number[], command: [] as number[], bare: [] as number[] }
  try {
    for (let round = 0; round < (options.quick ? 3 : 5); round++) {
      const service = await launchService(['src/main.ts'], store.env, '/health')
      await service.stop()
      const command = await launchService(['run', 'start'], store.env, '/health')
      await command.stop()
      const bare = await startBare('bare_server.ts')
      await bare.stop()
      found.direct.push(service.startMs)
      found.command.push(command.startMs)
      found.bare.push(bare.startMs)
      say(
        `round ${round + 1}: bun src/main.ts ${service.startMs.toFixed(0)} ms, bun run start ${command.startMs.toFixed(0)} ms, bare ${bare.startMs.toFixed(0)} ms`,
      )
    }
  } finally {
    await store.drop()
  }
  const figure = (what: string, ours: number[]) =>
    pairFigure({
      benchmark: 'start',
      what,
      unit: 'ms',
      ours,
      alternative: { name: 'a bare Hono app', values: found.bare },
      target: (_, value) => limit(value, MAX_START_MS, 'ms'),
    })
  return [
    figure('bun src/main.ts until /health answers', found.direct),
    figure('bun run start until /health answers', found.command),
  ]
}

/** Fills the buffer to its default limit while the backend can't be reached. */
async function memory(options: BenchOptions, say: (line: string) => void): Promise<Figure> {
  await using stack = new AsyncDisposableStack()
  const store = await createStore(options)
  stack.defer(store.drop)
  const rows = options.quick ? 50_000 : store.config.buffer.max_rows
  const { env, goAway } = await detachable(store, { rows, stack })
  const service = await startService(env)
  stack.defer(service.kill)
  const keeping = await startBare('bare_server.ts', ['keep'])
  stack.defer(keeping.stop)
  await goAway()
  const ours = await growth(service, rows)
  const alternative = await growth(keeping, rows)
  say(`${rows} buffered rows: ${ours.toFixed(0)} MiB, as parsed objects ${alternative.toFixed(0)} MiB`)
  return pairFigure({
    benchmark: 'start',
    what: `memory of ${rows.toLocaleString('en-US')} buffered rows${store.url ? ', database away' : ''}`,
    unit: 'MiB',
    ours: [ours],
    alternative: { name: 'the parsed items in a Map', values: [alternative] },
  })
}

/** An environment in which the store can be made to take nothing any more. */
export async function detachable(
  store: BenchStore,
  { rows, stack }: { rows: number; stack: AsyncDisposableStack },
): Promise<{ env: Record<string, string>; goAway(): Promise<void> }> {
  if (store.url !== null) {
    const proxy = await openProxy({ to: store.url })
    stack.defer(proxy.close)
    return { env: { ...store.env, DATABASE_URL: proxy.url }, goAway: proxy.refuse }
  }
  // A file can't go away: nothing makes the buffer flush instead.
  const held = { FLUSH_INTERVAL: '3600', MAX_BUFFER_SIZE: String(rows), BUFFER_FLUSH_BYTES: '268435456' }
  return { env: { ...store.env, ...held }, goAway: async () => {} }
}

/** MiB by which a server grows while it accepts so many rows. */
export async function growth(server: RunningServer, rows: number): Promise<number> {
  const before = await processFigures(server.pid)
  const connection = await connectRaw(server.url)
  const request = batchRequest({ path: PATH, host: new URL(server.url).host, tasks: TASKS })
  for (let n = 0; n < rows; n += TASKS) {
    const answer = await connection.send(
      request.next(Math.floor(n / TASKS_PER_SESSION), n % TASKS_PER_SESSION),
    )
    if (answer.status !== 202) throw new Error(`row ${n} was answered ${answer.status}: ${answer.text()}`)
  }
  connection.close()
  const after = await processFigures(server.pid)
  return before && after ? (after.rssBytes - before.rssBytes) / MIB : Number.NaN
}
