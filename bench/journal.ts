/** (e) What the journal costs when accepting, and how long a full one takes to come back. */
import { burst, type Contestant, HELD } from './accept.ts'
import type { BenchOptions } from './args.ts'
import { atLeast, type Figure, limit, median, pairFigure } from './figures.ts'
import { processFigures } from './process_figures.ts'
import { drain, startService } from './servers.ts'
import { detachable, growth } from './start.ts'
import { createStore } from './store.ts'

const DURABILITIES = ['off', 'normal', 'full'] as const
const MIN_RATIO = { normal: 0.8, full: 0.6 }
const MAX_REPLAY_MS = 5000
const MAX_MORE_MIB = 64
const MAX_BUFFERED_MIB = 300
const MIB = 1024 * 1024

/** Accepting with each kind of journal in turns, and a start with a full one. */
export async function benchJournal(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  return [...(await accepting(options, say)), ...(await replay(options, say))]
}

async function accepting(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack()
  const contestants: Contestant[] = []
  for (const durability of DURABILITIES) {
    const store = await createStore(options)
    stack.defer(store.drop)
    const server = await startService({ ...store.env, ...HELD, BUFFER_JOURNAL: durability })
    stack.defer(server.stop)
    contestants.push({ name: durability, server, settle: () => drain(server.url) })
  }
  for (const contestant of contestants) await burst(contestant, options.quick ? 300 : 1000)
  const found = new Map<string, number[]>(DURABILITIES.map((name) => [name, []]))
  for (let round = 0; round < (options.quick ? 2 : 5); round++) {
    for (const contestant of contestants) {
      const { rowsPerSecond } = await burst(contestant, options.quick ? 800 : 1500)
      found.get(contestant.name)!.push(rowsPerSecond)
      say(`round ${round + 1}, journal ${contestant.name}: ${Math.round(rowsPerSecond)} rows/s`)
    }
  }
  return (['full', 'normal'] as const).map((durability) =>
    pairFigure({
      benchmark: 'e',
      what: `accept with journal ${durability}`,
      unit: 'rows/s',
      ours: found.get(durability)!,
      alternative: { name: 'without a journal', values: found.get('off')! },
      target: atLeast(MIN_RATIO[durability]),
    }),
  )
}

/** Fills the buffer, kills the service, and starts it again, while the backend is away. */
async function replay(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  const rows = options.quick ? 50_000 : 200_000
  const starts: number[] = []
  const replayed: number[] = []
  const buffered: number[] = []
  for (let round = 0; round < (options.quick ? 1 : 3); round++) {
    await using stack = new AsyncDisposableStack()
    const store = await createStore(options)
    stack.defer(store.drop)
    const { env, goAway } = await detachable(store, { rows, stack })
    const service = await startService({ ...env, BUFFER_MAX_ROWS: String(rows * 2) })
    await goAway()
    const grown = await growth(service, rows)
    const before = await processFigures(service.pid)
    await service.kill()
    const again = await startService({ ...env, BUFFER_MAX_ROWS: String(rows * 2) })
    stack.defer(again.kill)
    const after = await processFigures(again.pid)
    starts.push(again.startMs)
    buffered.push(grown)
    if (before && after) replayed.push((after.peakRssBytes - before.rssBytes) / MIB)
    say(
      `round ${round + 1}: ${rows} rows buffered in ${grown.toFixed(0)} MiB, ready again after ${again.startMs.toFixed(0)} ms`,
    )
  }
  const count = rows.toLocaleString('en-US')
  return [
    {
      benchmark: 'e',
      what: `start with ${count} rows in the journal, until ready`,
      unit: 'ms',
      ours: median(starts),
      target: limit(median(starts), MAX_REPLAY_MS, 'ms'),
    },
    {
      benchmark: 'e',
      what: 'peak memory of that start, above the same rows merely buffered',
      unit: 'MiB',
      ours: median(replayed),
      target: limit(median(replayed), MAX_MORE_MIB, 'MiB'),
    },
    {
      benchmark: 'e',
      what: `memory of ${count} buffered rows`,
      unit: 'MiB',
      ours: median(buffered),
      target: limit(median(buffered), MAX_BUFFERED_MIB, 'MiB'),
    },
  ]
}
