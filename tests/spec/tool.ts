/** What the tools of `bun run spec` are given, and how they are installed and run. */
import { fileURLToPath } from 'node:url'

/** A running service with authentication on. */
export interface Subject {
  url: string
  specUrl: string
  /** May do everything. */
  key: string
}

/** Says on stdout what it found. @returns 0 where that is nothing. */
export type Tool = (subject: Subject) => Promise<number>

const RETRY_PAUSE_MS = 5_000

/** A folder that keeps a tool, and what it makes, between runs and out of the way of the project's files. */
export function cacheFolder(name: string): string {
  return fileURLToPath(new URL(`../../node_modules/.cache/${name}`, import.meta.url))
}

/** Registries have bad moments: a failed installation is tried once more. */
export async function install(command: readonly string[]): Promise<void> {
  if ((await inherit(command)) === 0) return
  await Bun.sleep(RETRY_PAUSE_MS)
  if ((await inherit(command)) !== 0) throw new Error(`can't be installed: ${command.join(' ')}`)
}

/** Makes a virtual environment of Python that holds `packages`. */
export async function installPython(folder: string, packages: readonly string[]): Promise<void> {
  await install(['python3', '-m', 'venv', '--clear', folder])
  await install([`${folder}/bin/pip`, 'install', '--quiet', '--disable-pip-version-check', ...packages])
}

interface InheritOptions {
  folder?: string
  env?: Record<string, string>
}

/** Runs a command that prints where this process does. @returns its exit code. */
export function inherit(command: readonly string[], options: InheritOptions = {}): Promise<number> {
  const { folder = '.', env = {} } = options
  return Bun.spawn([...command], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdin: 'ignore',
    stdout: 'inherit',
    stderr: 'inherit',
  }).exited
}

/** Runs commands one after the other. @returns the first exit code that is not 0. */
export async function inTurn(steps: readonly (() => Promise<number>)[]): Promise<number> {
  for (const step of steps) {
    const code = await step()
    if (code !== 0) return code
  }
  return 0
}
