/** The machine that the figures hold for. */
import { cpus, loadavg, totalmem } from 'node:os'

/** One line: processor, cores, memory, versions. `load` is the system's before the run, in runnable tasks. */
export function machineLine(databaseVersion: string): string {
  const [first] = cpus()
  const model = first?.model.trim() ?? 'unknown processor'
  const memoryGiB = Math.round(totalmem() / 1024 ** 3)
  const load = loadavg()[0]!.toFixed(1)
  return `${model}, ${cpus().length} cores, ${memoryGiB} GiB; Bun ${Bun.version}, ${databaseVersion}; ${process.platform} ${process.arch}, load before the run ${load}`
}
