/** What a run found, for people and for programs. */
import type { Difference } from './differences.ts'
import type { LatencySummary } from './latency.ts'
import type { SkippedRow } from './reader.ts'

/** What `--json` prints. */
export interface ReplayReport {
  file: string
  url: string
  /** Stands in the metadata of every session of the run. */
  replay_id: string
  sessions: number
  /** Each was written three times: pending, processing, completed. */
  rows_sent: number
  rows_skipped: number
  /** The first few. */
  skipped: SkippedRow[]
  send_duration_ms: number
  rows_per_second: number
  /** Milliseconds; requests answered 503 are in `retries` alone. */
  write_latency_ms: LatencySummary
  read_latency_ms: LatencySummary
  retries: number
  /** As the service measured its flush at the end. */
  flush_duration_ms: number | null
  tasks_compared: number
  strings_compared: number
  /** Numbers, times, nulls and objects. */
  other_values_compared: number
  differences: number
  /** The first few. */
  first_differences: Difference[]
}

/** The report as text, a newline at its end. */
export function reportText(report: ReplayReport): string {
  const { sessions, rows_sent: rows, send_duration_ms: sendMs } = report
  const seconds = (sendMs / 1000).toFixed(2)
  return [
    `sent       ${counted(rows, 'row')} in ${counted(sessions, 'session')}, each row pending, processing, completed`,
    ...skippedLines(report),
    `speed      ${report.rows_per_second} rows/s for ${seconds} s`,
    `writes     ${latencyText(report.write_latency_ms)}`,
    `reads      ${latencyText(report.read_latency_ms)}`,
    `retries    ${report.retries}`,
    `flush      ${report.flush_duration_ms ?? '?'} ms`,
    `verified   ${counted(report.strings_compared, 'string')} compared, ${counted(report.differences, 'difference')}`,
    `           in ${counted(report.tasks_compared, 'task')}; ${counted(report.other_values_compared, 'other value')} compared too`,
    ...differenceLines(report),
    '',
  ].join('\n')
}

function skippedLines({ rows_skipped: count, skipped }: ReplayReport): string[] {
  if (count === 0) return []
  return [
    `skipped    ${counted(count, 'row')} that can't be stored`,
    ...skipped.map(({ line, reason }) => `           line ${line}: ${reason}`),
    ...moreLine(count - skipped.length),
  ]
}

function differenceLines({ differences, first_differences: first }: ReplayReport): string[] {
  return [
    ...first.map(({ session_id, task_id, read_from, field, detail }) =>
      ['          ', session_id, task_id, `(read from ${read_from})`, field, detail]
        .filter((part) => part !== null)
        .join(' '),
    ),
    ...moreLine(differences - first.length),
  ]
}

function moreLine(count: number): string[] {
  return count > 0 ? [`           and ${count} more`] : []
}

function latencyText({ count, p50, p95, p99, max }: LatencySummary): string {
  return `p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms, max ${max} ms (${counted(count, 'request')})`
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
