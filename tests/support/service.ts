/** The service as its users run it: a process of its own, driven through HTTP and signals. */
import { fileURLToPath } from 'node:url'
import { until } from './waiting.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 30_000

/** A line of the service's log; ARCHITECTURE's fields, `meta` for the rest. */
export interface LogLine {
  level: string
  message: string
  instance: string
  timestamp: string
  meta?: Record<string, unknown>
  [field: string]: unknown
}

interface ProcessOptions {
  /** The whole environment but for PATH and HOME; nothing of the developer's reaches the service. */
  env: Record<string, string>
  /** After `src/main.ts`, as in `['migrate']`. */
  args?: readonly string[]
}

interface StartOptions extends ProcessOptions {
  /** `listening` is for a service that can't be ready yet (its database is down). */
  waitFor?: 'ready' | 'listening'
}

interface ServiceProcess {
  pid: number
  /** The JSON lines of stdout so far. */
  logs: LogLine[]
  /** Everything that it printed, stdout and stderr, for messages. */
  output(): string
  /** Its exit code; 128 + the signal's number where one ended it. */
  exited: Promise<number>
  signal(name: NodeJS.Signals): void
}

/** A service that answers. */
export interface Service extends ServiceProcess {
  url: string
  /** SIGTERM, then the exit code; SIGKILL and an error when that takes more than 30 s. */
  stop(): Promise<number>
  /** SIGKILL; the exit code is 137. */
  kill(): Promise<number>
}

/**
 * Starts `bun src/main.ts` on a free port of loopback and waits until it is ready (30 s). Throws with all
 * it printed when it ends instead. What a test forgets to stop dies with the test run.
 */
export async function startService({ waitFor = 'ready', ...options }: StartOptions): Promise<Service> {
  const service = launch({
    ...options,
    env: { SERVICE_HOST: '127.0.0.1', SERVICE_PORT: '0', ...options.env },
  })
  let code: number | undefined
  service.exited.then((ended) => {
    code = ended
  })
  try {
    const port = await until(
      () => code !== undefined || service.logs.find(({ message }) => message === 'listening')?.meta?.port,
      { timeoutMs: START_TIMEOUT_MS, message: () => `the service did not listen\n${service.output()}` },
    )
    const url = `http://127.0.0.1:${port}`
    if (waitFor === 'ready') {
      await until(async () => code !== undefined || (await fetch(`${url}/health/ready`)).status === 200, {
        timeoutMs: START_TIMEOUT_MS,
        message: () => `the service did not get ready\n${service.output()}`,
      })
    }
    if (code !== undefined) throw new Error(`the service ended with ${code}\n${service.output()}`)
    return { ...service, url, stop: () => stop(service), kill: () => kill(service) }
  } catch (error) {
    await kill(service)
    throw error
  }
}

/** Runs `bun src/main.ts` to its end, for commands and for starts that must fail. */
export async function runService(
  options: ProcessOptions,
): Promise<{ code: number; logs: LogLine[]; output: string }> {
  const service = launch(options)
  const code = await ending(service, START_TIMEOUT_MS)
  return { code, logs: service.logs, output: service.output() }
}

function launch({ env, args = [] }: ProcessOptions): ServiceProcess {
  // --no-orphans: ends with the test run, however that ends.
  const child = Bun.spawn([process.execPath, '--no-orphans', 'src/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const logs: LogLine[] = []
  const printed: string[] = []
  const read = [
    eachLine(child.stdout, (line) => {
      printed.push(line)
      if (line.startsWith('{')) logs.push(JSON.parse(line))
    }),
    eachLine(child.stderr, (line) => printed.push(line)),
  ]
  return {
    pid: child.pid,
    logs,
    output: () => printed.join('\n'),
    exited: Promise.all([child.exited, ...read]).then(([code]) => code),
    signal: (name) => child.kill(name),
  }
}

async function stop(service: ServiceProcess): Promise<number> {
  service.signal('SIGTERM')
  return ending(service, STOP_TIMEOUT_MS)
}

async function kill(service: ServiceProcess): Promise<number> {
  service.signal('SIGKILL')
  return service.exited
}

async function ending(service: ServiceProcess, timeoutMs: number): Promise<number> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), timeoutMs)
  })
  const code = await Promise.race([service.exited, late])
  clearTimeout(timer)
  if (code !== 'late') return code
  await kill(service)
  throw new Error(`the service did not end within ${timeoutMs} ms\n${service.output()}`)
}

async function eachLine(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    lines.forEach(take)
  }
  if (rest !== '') take(rest)
}
