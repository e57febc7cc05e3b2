/** The command line of `bun run bench`. */
import { parseArgs } from 'node:util'

/** The benchmarks, in the order in which `all` runs them. */
export const BENCHMARKS = ['start', 'a', 'b', 'c', 'd', 'e', 'f'] as const
export type BenchmarkName = (typeof BENCHMARKS)[number]

export const STORE_KINDS = ['sqlite', 'mysql', 'mariadb'] as const
export type StoreKind = (typeof STORE_KINDS)[number]

/** What to measure, on what, and how thoroughly. */
export interface BenchOptions {
  benchmarks: readonly BenchmarkName[]
  kind: StoreKind
  /** Server to make databases on; null for sqlite. */
  serverUrl: string | null
  /** Tasks that are stored for (c) and (d). */
  rows: number
  /** Rows of a flush in (b). */
  flushRows: number
  quick: boolean
  jsonFile: string | null
}

/** A command line that can't be followed; the message says what was expected. */
export class UsageError extends Error {}

export const HELP = `Usage: bun run bench [a|b|c|d|e|f|start|all …] [options]

Each figure stands beside its alternative, measured in turns in the same run.

  start  time to the first answer; memory of a full buffer
  a      accepting tasks, against a bare Hono app that parses and validates
  b      flushing, against a bare mysql2 upsert with and without the guard, and LOAD DATA REPLACE
  c      queries, against the same SQL through mysql2
  d      restoring a session, against streaming the same rows
  e      accepting with and without a journal, and starting with a full one
  f      accepting and reading with and without API keys and rate limits

  --backend KIND   sqlite, mysql or mariadb   (mysql where a server is named, else sqlite)
  --url URL        the server, mysql://user:password@host:port; databases of its own are made there and
                   dropped afterwards         (TEST_MYSQL_URL or TEST_MARIADB_URL, else DATABASE_URL)
  --rows N         stored tasks of c and d    (1000000; 100000 with --quick)
  --quick          fewer rows and rounds: two minutes, rough figures
  --json FILE      writes every figure and what it was made from
  --help           prints this
`

const FULL_ROWS = 1_000_000
const QUICK_ROWS = 100_000
const MIN_ROWS = 20_000
const FLUSH_SHARE = 10

/** The options, or `help`. Throws UsageError. */
export function parseBenchArgs(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): BenchOptions | 'help' {
  const { values, positionals } = parse(args)
  if (values.help) return 'help'
  const { kind, serverUrl } = storeOf(values, env)
  const rows =
    values.rows === undefined ? (values.quick ? QUICK_ROWS : FULL_ROWS) : wholeNumber(values.rows, MIN_ROWS)
  return {
    benchmarks: benchmarksOf(positionals),
    kind,
    serverUrl,
    rows,
    flushRows: Math.round(rows / FLUSH_SHARE),
    quick: values.quick,
    jsonFile: values.json ?? null,
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        backend: { type: 'string' },
        url: { type: 'string' },
        rows: { type: 'string' },
        quick: { type: 'boolean', default: false },
        json: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function benchmarksOf(words: readonly string[]): BenchmarkName[] {
  const unknown = words.filter((word) => word !== 'all' && !BENCHMARKS.some((name) => name === word))
  if (unknown.length > 0) {
    throw new UsageError(`${unknown.join(', ')} is no benchmark; expected all, ${BENCHMARKS.join(', ')}`)
  }
  if (words.length === 0 || words.includes('all')) return [...BENCHMARKS]
  return BENCHMARKS.filter((name) => words.includes(name))
}

function storeOf(
  { backend, url }: { backend?: string | undefined; url?: string | undefined },
  env: Readonly<Record<string, string | undefined>>,
): { kind: StoreKind; serverUrl: string | null } {
  const fallback = (url ?? env.TEST_MYSQL_URL ?? env.DATABASE_URL) ? 'mysql' : 'sqlite'
  const kind = STORE_KINDS.find((known) => known === (backend ?? fallback))
  if (!kind) throw new UsageError(`--backend ${backend}: expected ${STORE_KINDS.join(', ')}`)
  if (kind === 'sqlite') return { kind, serverUrl: null }
  const named = kind === 'mysql' ? 'TEST_MYSQL_URL' : 'TEST_MARIADB_URL'
  const serverUrl = url ?? env[named] ?? env.DATABASE_URL
  if (!serverUrl) throw new UsageError(`${kind} needs --url or ${named}`)
  if (URL.parse(serverUrl)?.protocol !== 'mysql:') {
    throw new UsageError('the server: expected mysql://user:password@host:port')
  }
  return { kind, serverUrl }
}

function wholeNumber(text: string, min: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min)) throw new UsageError(`--rows ${text}: expected a whole number from ${min}`)
  return value
}
