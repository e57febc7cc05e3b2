/** Memory and processor time of another process. */
import { readFile, writeFile } from 'node:fs/promises'

/** Figures of a process from the system, where it has /proc: null elsewhere. */
export interface ProcessFigures {
  rssBytes: number
  /** The most it has been since `resetPeak`. */
  peakRssBytes: number
  /** User and system time. */
  cpuMs: number
}

const CLOCK_TICK_MS = 10

export async function processFigures(pid: number): Promise<ProcessFigures | null> {
  try {
    const [status, stat] = await Promise.all([
      readFile(`/proc/${pid}/status`, 'utf8'),
      readFile(`/proc/${pid}/stat`, 'utf8'),
    ])
    const bytesOf = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return {
      rssBytes: bytesOf('VmRSS'),
      peakRssBytes: bytesOf('VmHWM'),
      cpuMs: (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS,
    }
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return null
    throw error
  }
}

/** Makes `peakRssBytes` count from now on. */
export async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5')
}
