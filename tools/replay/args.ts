/** The command line of `bun run replay`. */
import { parseArgs } from 'node:util'
import { ReplayError } from './failure.ts'

/** What to replay, where to, and how fast. */
export interface ReplayOptions {
  file: string
  /** Base URL of the service, without a slash at its end. */
  url: string
  /** Tasks a second; 0 is as fast as possible. */
  tasksPerSecond: number
  /** Sessions to deal the rows to; null is one session a sheet. */
  sessions: number | null
  /** Tasks a request, 1 to 1000. */
  batchSize: number
  connections: number
  json: boolean
}

/** What `--help` prints. */
export const HELP = `Usage: bun run replay FILE.jsonl [options]

Acts as Backend V2 against a running service: posts translation sessions and their tasks (pending, then
processing, then completed), flushes, and verifies through the query API that every string is stored byte
for byte. A small file to try it with: tools/replay/sample.jsonl

FILE.jsonl holds one JSON object a line: sheet, row, context (text or null), source, target.
A row with a text that can't be stored (over 65,535 bytes, or no valid Unicode) is skipped and reported.

  --url URL          the service                                 (http://127.0.0.1:8001)
  --rate N           tasks a second on average, batch by batch;
                     0 = as fast as possible                     (0)
  --sessions N       deal the rows one by one to exactly N sessions instead of one session a sheet;
                     a file of fewer than N rows is dealt again until each session has one
  --batch N          tasks a request, 1 to 1000                  (100)
  --connections N    requests at the same time, 1 to 256         (4)
  --json             print the report as JSON on stdout
  --help             print this

503 with Retry-After is waited for and tried again; any other error ends the run.
Exit status: 0 all stored as sent, 1 differences or an error, 2 a wrong command line.
`

/** The options, or `help`. Throws ReplayError with what is wrong and what was expected. */
export function parseReplayArgs(args: readonly string[]): ReplayOptions | 'help' {
  const { values, positionals } = parse(args)
  if (values.help) return 'help'
  const [file, ...others] = positionals
  if (file === undefined || others.length > 0) {
    throw new ReplayError(`expected one FILE.jsonl, got ${positionals.length}`)
  }
  return {
    file,
    url: baseUrl(values.url),
    tasksPerSecond: rate(values.rate),
    sessions: values.sessions === undefined ? null : whole('--sessions', values.sessions, 1_000_000),
    batchSize: whole('--batch', values.batch, 1000),
    connections: whole('--connections', values.connections, 256),
    json: values.json,
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        url: { type: 'string', default: 'http://127.0.0.1:8001' },
        rate: { type: 'string', default: '0' },
        sessions: { type: 'string' },
        batch: { type: 'string', default: '100' },
        connections: { type: 'string', default: '4' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    throw new ReplayError(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

function baseUrl(text: string): string {
  const url = URL.parse(text)
  if (url && /^https?:$/.test(url.protocol) && !url.search && !url.hash) return url.href.replace(/\/+$/, '')
  throw new ReplayError(`--url: expected an http or https URL without a query, got '${text}'`)
}

function rate(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text)
  throw new ReplayError(`--rate: expected tasks a second, 0 or more, got '${text}'`)
}

function whole(name: string, text: string, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (value >= 1 && value <= max) return value
  throw new ReplayError(`${name}: expected a whole number from 1 to ${max}, got '${text}'`)
}
