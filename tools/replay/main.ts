/** `bun run replay FILE.jsonl`: acts as Backend V2 against a running service, then verifies what was stored. */
import { HELP, parseReplayArgs, type ReplayOptions } from './args.ts'
import { createClient } from './client.ts'
import { driveSessions } from './driver.ts'
import { ReplayError } from './failure.ts'
import { summariseLatency } from './latency.ts'
import { planSessions } from './plan.ts'
import { createProgress, type Progress } from './progress.ts'
import { type ReplayRow, readRows, type SkippedRow } from './reader.ts'
import { type ReplayReport, reportText } from './report.ts'
import { verifySessions } from './verify.ts'

const EXIT_FAILED = 1
const EXIT_USAGE = 2
const SHOWN_SKIPPED = 10
const WAIT_NOTE_INTERVAL_MS = 5000

/** Reads the rows that can be stored. They stay in memory: totals are sent first, texts compared last. */
async function readFile(file: string): Promise<{ rows: ReplayRow[]; skipped: SkippedRow[] }> {
  const rows: ReplayRow[] = []
  const skipped: SkippedRow[] = []
  for await (const found of readRows(file)) {
    if ('reason' in found) skipped.push(found)
    else rows.push(found)
  }
  if (rows.length === 0) throw new ReplayError(`${file} holds no row that can be stored`)
  return { rows, skipped }
}

/** Says that the service is busy, but not for each connection and every second. */
function waitNotes(progress: Progress): (waitMs: number) => void {
  let notedMs = Number.NEGATIVE_INFINITY
  return (waitMs) => {
    if (performance.now() - notedMs < WAIT_NOTE_INTERVAL_MS) return
    notedMs = performance.now()
    progress.note(`the service is busy (503): trying again in ${waitMs / 1000} s`)
  }
}

async function replay(options: ReplayOptions, progress: Progress): Promise<ReplayReport> {
  const { file, url, batchSize, connections, tasksPerSecond } = options
  const { rows, skipped } = await readFile(file)
  const sessions = planSessions(rows, options)
  const total = sessions.reduce((sum, session) => sum + session.rows.length, 0)
  const replayId = crypto.randomUUID()
  const stop = new AbortController()
  const client = createClient({ url, signal: stop.signal, onWait: waitNotes(progress) })
  const shared = { client, replayId, connections, stop }

  progress.begin('sending', total)
  const begunMs = performance.now()
  await driveSessions(sessions, { ...shared, tasksPerSecond, onCompleted: progress.add })
  const sendMs = performance.now() - begunMs
  const writes = summariseLatency(client.writesMs)

  const flushed = await client.post('/api/v1/translation/flush')
  if (flushed.status !== 'flushed') throw new ReplayError(`the flush answered ${JSON.stringify(flushed)}`)

  progress.begin('verifying', total)
  const tally = await verifySessions(sessions, { ...shared, batchSize, onCompared: progress.add })
  progress.end()
  return {
    file,
    url,
    replay_id: replayId,
    sessions: sessions.length,
    rows_sent: total,
    rows_skipped: skipped.length,
    skipped: skipped.slice(0, SHOWN_SKIPPED),
    send_duration_ms: Math.round(sendMs),
    rows_per_second: Math.round((total / sendMs) * 1000),
    write_latency_ms: writes,
    read_latency_ms: summariseLatency(client.readsMs),
    retries: client.retries(),
    flush_duration_ms: typeof flushed.duration_ms === 'number' ? flushed.duration_ms : null,
    tasks_compared: tally.tasks,
    strings_compared: tally.strings,
    other_values_compared: tally.others,
    differences: tally.differences,
    first_differences: tally.first,
  }
}

/** Runs the command and answers its exit status. */
async function run(args: readonly string[]): Promise<number> {
  let options: ReplayOptions | 'help'
  try {
    options = parseReplayArgs(args)
  } catch (error) {
    if (!(error instanceof ReplayError)) throw error
    process.stderr.write(`replay: ${error.message}\nbun run replay --help says how.\n`)
    return EXIT_USAGE
  }
  if (options === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  // On stderr, so that stdout holds the report alone.
  const progress = createProgress({
    write: (text) => process.stderr.write(text),
    isTerminal: process.stderr.isTTY === true,
    nowMs: () => performance.now(),
  })
  try {
    const report = await replay(options, progress)
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report))
    return report.differences === 0 ? 0 : EXIT_FAILED
  } catch (error) {
    if (!(error instanceof ReplayError)) throw error
    progress.end()
    process.stderr.write(`replay: ${error.message}\n`)
    return EXIT_FAILED
  }
}

process.exitCode = await run(process.argv.slice(2))
