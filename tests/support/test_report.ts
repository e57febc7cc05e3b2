/** What the runner says at the end. */
import { coveredPercent, type FileCoverage } from './coverage.ts'

const WORST_FILES = 15

/** Tests by outcome; `failed` counts files that could not be loaded too. */
export interface Counts {
  passed: number
  failed: number
  skipped: number
}

/**
 * Reads the figures that `bun test` prints last. An exit other than 0 without a failed test (a crash, no
 * test found) counts as one failure, so that the figures never look better than the exit code.
 */
export function readCounts(output: string, exitCode: number): Counts {
  const summary = Bun.stripANSI(output).split('\n').slice(-40)
  const figure = (word: string) => {
    const line = summary.findLast((text) => new RegExp(`^ *\\d+ ${word}$`).test(text))
    return Number.parseInt(line ?? '0', 10)
  }
  const failed = figure('fail')
  return {
    passed: figure('pass'),
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    skipped: figure('skip') + figure('todo'),
  }
}

/** `12 passed, 0 failed`, and the skipped ones where there are any. */
export function closingLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd())
    .join('\n')
}

/** The figure for src, after the files that most lack tests. */
export function coverageText(files: readonly FileCoverage[]): string {
  const worst = files
    .filter(({ lines, hit }) => hit < lines)
    .sort((a, b) => b.lines - b.hit - (a.lines - a.hit))
    .slice(0, WORST_FILES)
    .map((file) => [
      file.path,
      `${coveredPercent([file]).toFixed(1)} %`,
      `${file.lines - file.hit} lines not run`,
    ])
  return `\nLine coverage of src: ${coveredPercent(files).toFixed(2)} %; most lines not run:\n${table(worst)}`
}
