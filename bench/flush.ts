/** (b) Flushing a full buffer, against what a program without the service would send to the same table. */
import type { Backend } from '../src/backends/backend.ts'
import { createLedger } from '../src/buffer/ledger.ts'
import { createWriteBuffer } from '../src/buffer/write_buffer.ts'
import type { Row } from '../src/collections/row.ts'
import { ABSENT } from '../src/collections/stamp.ts'
import { translationTasks } from '../src/collections/translation.ts'
import { systemClock } from '../src/lib/clock.ts'
import type { Logger } from '../src/lib/log.ts'
import type { BenchOptions } from './args.ts'
import { atLeast, type Figure, limit, median, numberText, pairFigure } from './figures.ts'
import { type BulkWriter, openWriters } from './flush_writers.ts'
import { countStatements } from './recorder.ts'
import { type BenchStore, createStore, openPrepared } from './store.ts'
import { sessionIdOf, taskRow } from './tasks.ts'

const ROWS_PER_SESSION = 1000
const MIN_RATIO = 0.9
const MAX_CPU_MS = 6
const MIN_FEWER_PERCENT = 99
const SEVERAL = 4
const WARM_UP_ROWS = 5000
const ROW_BY_ROW_ROWS = 500

/** The same table state for everybody: emptied before the inserts, full of them before the updates. */
const PASSES = ['insert', 'update'] as const
type Pass = (typeof PASSES)[number]

interface Measured {
  rowsPerSecond: number
  cpuMsPerThousandRows: number
  statements: number
}

/**
 * Rows as they lie in the buffer; the updates finish what the inserts began. Made anew for each pass, so that
 * the collector has nothing to look through but what the pass needs.
 */
function rowsOf(pass: Pass, count: number): Row[] {
  // Recent, as what waits in a buffer is: what is older than a delete is remembered is not written.
  const fromMs = Date.now() - (pass === 'update' ? 3_600_000 : 7_200_000)
  const state = pass === 'update' ? 'completed' : 'pending'
  return Array.from({ length: count }, (_, n) => {
    const sessionId = sessionIdOf(Math.floor(n / ROWS_PER_SESSION))
    // A request of a hundred tasks has one stamp.
    return taskRow({ sessionId, n: n % ROWS_PER_SESSION, state }, fromMs + Math.floor(n / 100))
  })
}

/** The write buffer with the service's defaults, but for the connections of a flush. */
function ours(backend: Backend, store: BenchStore, connections: number): BulkWriter {
  return {
    name: `write buffer, ${connections} connection${connections > 1 ? 's' : ''}`,
    async prepare(rows) {
      const log: Logger = { debug() {}, info() {}, warn: console.error, error: console.error }
      const limits = { max_rows: rows.length * 2, max_bytes: 4 * 1024 ** 3 }
      const buffer = createWriteBuffer({
        config: { ...store.config.buffer, ...limits, flush_connections: connections },
        collections: [translationTasks],
        storeOf: () => backend.records!,
        coordination: backend.coordination!,
        ledger: createLedger({
          collections: [translationTasks],
          durability: 'off', // what a journal costs is measured by itself
          highWater: () => ABSENT,
          instanceNumber: () => null,
          clockOffsetMs: () => null,
          log,
        }),
        clock: systemClock,
        log,
        onFlush() {},
      })
      await buffer.accept(
        translationTasks,
        rows.map((row) => ({ row, bytes: 1000, items: 1 })),
      )
      return async () => {
        const report = (await buffer.flush()).get(translationTasks.name)
        if (report?.written !== rows.length) {
          throw new Error(`${report?.written} of ${rows.length} rows were written`, {
            cause: report?.failure,
          })
        }
      }
    },
  }
}

async function measure(writer: BulkWriter, rows: readonly Row[]): Promise<Measured> {
  const write = await writer.prepare(rows)
  Bun.gc(true)
  const statements = countStatements()
  const cpuBefore = process.cpuUsage()
  const begunMs = performance.now()
  await write()
  const elapsedMs = performance.now() - begunMs
  const cpu = process.cpuUsage(cpuBefore)
  return {
    rowsPerSecond: (rows.length / elapsedMs) * 1000,
    cpuMsPerThousandRows: (cpu.user + cpu.system) / rows.length,
    statements: statements.stop(),
  }
}

/** Throughput, CPU and statements of a flush. */
export async function benchFlush(options: BenchOptions, say: (line: string) => void): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack()
  const store = await createStore(options)
  stack.defer(store.drop)
  const backend = await openPrepared(store)
  stack.defer(() => backend.close())
  const writers = await openWriters(store)
  stack.defer(writers.close)
  const several = options.kind === 'sqlite' ? [] : [ours(backend, store, SEVERAL)]
  const one = ours(backend, store, 1)
  const contestants = [one, ...several, ...writers.bulk]
  const count = options.flushRows

  const found = new Map(
    contestants.map(({ name }) => [name, { insert: [] as Measured[], update: [] as Measured[] }]),
  )
  for (const contestant of contestants) await (await contestant.prepare(rowsOf('insert', WARM_UP_ROWS)))()
  for (let round = 0; round < (options.quick ? 1 : 3); round++) {
    // Whoever goes first meets a colder server: everybody does, once.
    const order = contestants.map((_, i) => contestants[(i + round) % contestants.length]!)
    for (const contestant of order) {
      await writers.empty()
      for (const pass of PASSES) {
        const measured = await measure(contestant, rowsOf(pass, count))
        found.get(contestant.name)![pass].push(measured)
        say(
          `round ${round + 1}, ${pass}s, ${contestant.name}: ${Math.round(measured.rowsPerSecond)} rows/s, ${measured.cpuMsPerThousandRows.toFixed(2)} ms CPU per 1000 rows`,
        )
      }
    }
  }
  const byRow = await rowByRow(writers.rowByRow, writers.empty)
  say(`row by row: ${Math.round(byRow)} rows/s`)

  const of = (name: string, pass: Pass, value: (measured: Measured) => number) =>
    found.get(name)![pass].map(value)
  const rate = (measured: Measured) => measured.rowsPerSecond
  const cpu = (measured: Measured) => measured.cpuMsPerThousandRows
  const figures: Figure[] = []
  for (const pass of PASSES) {
    for (const mine of [one, ...several]) {
      for (const other of writers.bulk) {
        figures.push(
          pairFigure({
            benchmark: 'b',
            what: `${pass}s, ${mine.name}`,
            unit: 'rows/s',
            ours: of(mine.name, pass, rate),
            alternative: { name: other.name, values: of(other.name, pass, rate) },
            ...(other === writers.bulk[0] && { target: atLeast(mine === one ? MIN_RATIO : 1) }),
          }),
        )
      }
    }
    figures.push(
      pairFigure({
        benchmark: 'b',
        what: `${pass}s, our CPU per 1000 rows, 1 connection`,
        unit: 'ms',
        ours: of(one.name, pass, cpu),
        alternative: { name: writers.bulk[0]!.name, values: of(writers.bulk[0]!.name, pass, cpu) },
        target: (_, value) => limit(value, MAX_CPU_MS, 'ms'),
      }),
    )
  }
  const statements = median(of(one.name, 'insert', (measured) => measured.statements))
  const fewer = (1 - statements / count) * 100
  figures.push(
    {
      benchmark: 'b',
      what: `statements for ${numberText(count)} rows`,
      unit: '',
      ours: statements,
      alternative: { name: 'row by row', value: count },
      ratio: statements / count,
      target: { text: `≥ ${MIN_FEWER_PERCENT} % fewer`, met: fewer >= MIN_FEWER_PERCENT },
    },
    {
      benchmark: 'b',
      what: 'inserts, write buffer, 1 connection',
      unit: 'rows/s',
      ours: median(of(one.name, 'insert', rate)),
      alternative: { name: 'row by row, the same guard', value: byRow },
      ratio: median(of(one.name, 'insert', rate)) / byRow,
    },
  )
  return figures
}

async function rowByRow(writer: BulkWriter, empty: () => Promise<void>): Promise<number> {
  await empty()
  const { rowsPerSecond } = await measure(writer, rowsOf('insert', ROW_BY_ROW_ROWS))
  return rowsPerSecond
}
