/** Line coverage of src, from bun's LCOV report. */
import { readFile } from 'node:fs/promises'

/** Lines that can run, and those that did. */
export interface FileCoverage {
  path: string
  lines: number
  hit: number
}

/**
 * Reads the report and adds the files under src that no test loaded, at 0: bun leaves them out, which
 * would make an untested file raise the figure. Files that hold types alone have no line that runs.
 */
export async function readCoverage(lcovPath: string): Promise<FileCoverage[]> {
  const report = await readFile(lcovPath, 'utf8').catch(() => '')
  const files = new Map<string, FileCoverage>()
  let path = ''
  for (const line of report.split('\n')) {
    if (line.startsWith('SF:')) path = line.slice(3)
    const count = /^DA:\d+,(\d+)/.exec(line)?.[1]
    if (count === undefined || !path.startsWith('src/')) continue
    const file = files.get(path) ?? { path, lines: 0, hit: 0 }
    file.lines += 1
    if (count !== '0') file.hit += 1
    files.set(path, file)
  }
  const transpiler = new Bun.Transpiler({ loader: 'ts' })
  for await (const unseen of new Bun.Glob('src/**/*.ts').scan()) {
    if (files.has(unseen) || unseen.endsWith('.d.ts')) continue
    const code = transpiler.transformSync(await readFile(unseen, 'utf8'))
    const lines = code.split('\n').filter((line) => line.trim() !== '').length
    if (lines > 0) files.set(unseen, { path: unseen, lines, hit: 0 })
  }
  return [...files.values()]
}

/** Hit lines of all files in per cent; 100 where nothing can run. */
export function coveredPercent(files: readonly FileCoverage[]): number {
  const lines = files.reduce((sum, file) => sum + file.lines, 0)
  const hit = files.reduce((sum, file) => sum + file.hit, 0)
  return lines === 0 ? 100 : (hit / lines) * 100
}
