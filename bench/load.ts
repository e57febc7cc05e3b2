/** Runs the load generator and reads what it measured. */
import { fileURLToPath } from 'node:url'
import { percentile } from '../tools/replay/latency.ts'
import type { LoadJob, LoadResult } from './load_worker.ts'

const WORKER = fileURLToPath(new URL('load_worker.ts', import.meta.url))

/** Runs a job in a process of its own. Throws with what it printed when it fails. */
export async function runLoad(job: LoadJob): Promise<LoadResult> {
  const child = Bun.spawn([process.execPath, '--no-orphans', WORKER], {
    stdin: new Blob([JSON.stringify(job)]),
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  if (code !== 0) throw new Error(`the load generator ended with ${code}: ${err.slice(-2000)}`)
  return JSON.parse(out) as LoadResult
}

/** Requests a second that were answered with 2xx. */
export function goodPerSecond(result: LoadResult): number {
  return (result.latenciesMs.length / result.measuredMs) * 1000
}

/** The answers that were not 2xx. */
export function refused({ statuses }: LoadResult): number {
  return Object.entries(statuses).reduce((sum, [status, n]) => (Number(status) < 300 ? sum : sum + n), 0)
}

export function percentileOf(valuesMs: readonly number[], percent: number): number {
  return percentile(Float64Array.from(valuesMs).sort(), percent)
}
