/** `bun run bench`: measures the service beside what could be used instead, and prints one table. */
import { benchAccept } from './accept.ts'
import { type BenchmarkName, type BenchOptions, HELP, parseBenchArgs, UsageError } from './args.ts'
import { benchDoor } from './door.ts'
import { type Figure, tableText } from './figures.ts'
import { benchFlush } from './flush.ts'
import { benchJournal } from './journal.ts'
import { machineLine } from './machine.ts'
import { benchQueries } from './queries.ts'
import { benchRestore } from './restore.ts'
import { benchStart } from './start.ts'
import { dropStores, storeVersion } from './store.ts'

type Benchmark = (options: BenchOptions, say: (line: string) => void) => Promise<Figure[]>

const RUN: Record<BenchmarkName, Benchmark> = {
  start: benchStart,
  a: benchAccept,
  b: benchFlush,
  c: benchQueries,
  d: benchRestore,
  e: benchJournal,
  f: benchDoor,
}

const EXIT_USAGE = 2
const EXIT_INTERRUPTED = 130

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, async () => {
    await dropStores()
    process.exit(EXIT_INTERRUPTED)
  })
}

async function bench(options: BenchOptions): Promise<void> {
  const machine = machineLine(await storeVersion(options))
  const begunMs = performance.now()
  const figures: Figure[] = []
  for (const name of options.benchmarks) {
    const say = (line: string) =>
      process.stderr.write(
        `${((performance.now() - begunMs) / 1000).toFixed(0).padStart(4)} s  ${name}  ${line}\n`,
      )
    say('begins')
    figures.push(...(await RUN[name](options, say)))
    Bun.gc(true)
  }
  const seconds = Math.round((performance.now() - begunMs) / 1000)
  process.stdout.write(
    `${tableText(figures)}\n\n${machine}; ${options.rows.toLocaleString('en-US')} tasks stored, ${seconds} s in all.\nValues are medians of rounds run in turns; a ratio is the median of each pair of rounds.\n`,
  )
  if (options.jsonFile) {
    const report = { machine, options: { ...options, serverUrl: undefined }, seconds, figures }
    await Bun.write(options.jsonFile, `${JSON.stringify(report, null, 2)}\n`)
  }
}

try {
  const options = parseBenchArgs(process.argv.slice(2), process.env)
  if (options === 'help') process.stdout.write(HELP)
  else await bench(options)
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  process.stderr.write(`bench: ${error.message}\nbun run bench --help says how.\n`)
  process.exitCode = EXIT_USAGE
}
