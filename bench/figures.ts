/** What a benchmark found, and the table of it. */

/** What a figure must reach. */
export interface Target {
  text: string
  met: boolean
}

/** One line of the table: our value beside the alternative's, from the same rounds. */
export interface Figure {
  benchmark: string
  what: string
  unit: string
  ours: number
  /** What else could have been used, and its value in the same unit. */
  alternative?: { name: string; value: number }
  /** Ours to the alternative's, the median over pairs of rounds. */
  ratio?: number
  target?: Target
  /** What the medians were made from, for the JSON. */
  rounds?: { ours: readonly number[]; alternative?: readonly number[] }
}

export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

interface PairOptions {
  benchmark: string
  what: string
  unit: string
  /** One value a round. */
  ours: readonly number[]
  alternative: { name: string; values: readonly number[] }
  /** Judges the ratio (ours to the alternative's) and our median. */
  target?: (ratio: number, ours: number) => Target
}

/**
 * A figure from rounds that ran in turns. Noise that lasts longer than a round hits both halves of a pair,
 * so the ratio is the median of the pairs' ratios, not the ratio of the medians.
 */
export function pairFigure({ ours, alternative, target, ...rest }: PairOptions): Figure {
  const ratio = median(ours.map((value, round) => value / alternative.values[round]!))
  const value = median(ours)
  return {
    ...rest,
    ours: value,
    alternative: { name: alternative.name, value: median(alternative.values) },
    ratio,
    ...(target && { target: target(ratio, value) }),
    rounds: { ours, alternative: alternative.values },
  }
}

/** A ratio that must be at least so much. */
export function atLeast(least: number): (ratio: number) => Target {
  return (ratio) => ({ text: `≥ ${least} ×`, met: ratio >= least })
}

/** A ratio that must be at most so much. */
export function atMost(most: number): (ratio: number) => Target {
  return (ratio) => ({ text: `≤ ${most} ×`, met: ratio <= most })
}

/** A value of ours that must stay below or at a limit. */
export function limit(value: number, most: number, unit: string): Target {
  return { text: `≤ ${most} ${unit}`, met: value <= most }
}

const HEADS = ['', 'what', 'ours', 'the alternative', 'ratio', 'target', 'met'] as const

/** The table in Markdown, aligned to be read as plain text too. */
export function tableText(figures: readonly Figure[]): string {
  const lines = [
    [...HEADS],
    ...figures.map((figure) => [
      figure.benchmark,
      figure.what,
      `${numberText(figure.ours)} ${figure.unit}`,
      figure.alternative ? `${numberText(figure.alternative.value)}: ${figure.alternative.name}` : '',
      figure.ratio === undefined ? '' : `${figure.ratio.toFixed(2)} ×`,
      figure.target?.text ?? '',
      figure.target ? (figure.target.met ? 'yes' : 'NO') : '',
    ]),
  ]
  const widths = HEADS.map((_, column) => Math.max(...lines.map((line) => Bun.stringWidth(line[column]!))))
  const row = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell + ' '.repeat(widths[i]! - Bun.stringWidth(cell))).join(' | ')} |`
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`
  return [row(lines[0]!), rule, ...lines.slice(1).map(row)].join('\n')
}

/** Three digits that count; thousands are grouped. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (value === 0 || Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US')
  return String(Number(value.toPrecision(3)))
}
