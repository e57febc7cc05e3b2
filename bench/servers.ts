/** Programs under test, each a process of its own: the service, and the bare apps beside it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../tests/support/processes.ts'
import { until } from '../tests/support/waiting.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const START_TIMEOUT_MS = 60_000

export interface RunningServer {
  url: string
  pid: number
  /** From the spawn to the first answer with 200. */
  startMs: number
  /** SIGTERM, and waits for its end. */
  stop(): Promise<void>
  /** SIGKILL, for a service that would wait for its database. */
  kill(): Promise<void>
}

interface LaunchOptions {
  command: readonly string[]
  env: Record<string, string>
  /** Where it answers 200 once it is up. */
  probe: string
  port: number
}

/** Starts the service with its defaults, on loopback; it logs to a file, as it would under a supervisor. */
export function startService(env: Record<string, string>): Promise<RunningServer> {
  return launchService(['src/main.ts'], env, '/health/ready')
}

/** The same, counted as up with the first answer of /health. `args` are those of bun. */
export async function launchService(
  args: readonly string[],
  env: Record<string, string>,
  probe: string,
): Promise<RunningServer> {
  const port = await freePort()
  return launch({
    // --no-orphans: ends with this process, however that ends.
    command: [process.execPath, '--no-orphans', ...args],
    env: { SERVICE_HOST: '127.0.0.1', SERVICE_PORT: String(port), ...env },
    probe,
    port,
  })
}

/** Starts one of the bare servers of this folder; `args` are its own. */
export async function startBare(file: string, args: readonly string[] = []): Promise<RunningServer> {
  const port = await freePort()
  return launch({
    command: [process.execPath, '--no-orphans', join('bench', file), String(port), ...args],
    env: {},
    probe: '/health',
    port,
  })
}

async function launch({ command, env, probe, port }: LaunchOptions): Promise<RunningServer> {
  const folder = await mkdtemp(join(tmpdir(), 'persistence-bench-log-'))
  const log = Bun.file(join(folder, 'log'))
  const url = `http://127.0.0.1:${port}`
  const begunMs = performance.now()
  const child = Bun.spawn([...command], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...env },
    stdin: 'ignore',
    stdout: log,
    stderr: log,
  })
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await child.exited
  }
  const stop = () => end('SIGTERM')
  try {
    const startMs = await firstAnswer(`${url}${probe}`, child, begunMs)
    // It goes on writing to the file that has no name any more; what it printed was of interest till now.
    await rm(folder, { recursive: true })
    return { url, pid: child.pid, startMs, stop, kill: () => end('SIGKILL') }
  } catch (error) {
    const printed = await log.text()
    await stop()
    await rm(folder, { recursive: true, force: true })
    throw new Error(`${command.join(' ')} did not start: ${printed.slice(-2000)}`, { cause: error })
  }
}

/** Milliseconds from `begunMs` until `url` answers 200. */
async function firstAnswer(url: string, child: Bun.Subprocess, begunMs: number): Promise<number> {
  const deadline = begunMs + START_TIMEOUT_MS
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`)
    try {
      const answer = await fetch(url)
      await answer.arrayBuffer()
      if (answer.status === 200) return performance.now() - begunMs
    } catch {
      // Nobody listens yet.
    }
    await Bun.sleep(2)
  }
  throw new Error(`no 200 from ${url} within ${START_TIMEOUT_MS} ms`)
}

interface Health {
  buffer: { total_count: number }
}

/** Flushes the service until nothing is buffered; `headers` are for a service that wants a key. */
export async function drain(url: string, headers: Record<string, string> = {}): Promise<void> {
  await until(
    async () => {
      await (await fetch(`${url}/api/v1/translation/flush`, { method: 'POST', headers })).arrayBuffer()
      const health = (await (await fetch(`${url}/health`)).json()) as Health
      return health.buffer.total_count === 0
    },
    { message: 'the buffer is empty', timeoutMs: 300_000 },
  )
}
