/** Programs that the test runner starts, and their end. */
import { createServer } from 'node:net'
import { delimiter } from 'node:path'

const STOP_TIMEOUT_MS = 15_000
/** Where servers are installed although a user's PATH often leaves it out. */
const SERVER_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/libexec', '/opt/homebrew/bin']

/** The path of a program, looked for in the servers' folders too. */
export function findProgram(name: string): string | null {
  return Bun.which(name, { PATH: [process.env.PATH ?? '', ...SERVER_FOLDERS].join(delimiter) })
}

/** Runs a program to its end. Throws its last lines when it fails or takes longer than `timeoutMs`. */
export async function run(command: readonly string[], timeoutMs: number): Promise<string> {
  const child = Bun.spawn([...command], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: timeoutMs,
  })
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${lastWords(err || out)}`)
  return out
}

/** The last line of a text that has something in it. */
export function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? ''
}

/** The line of a log that says why its program gave up: the first error, else the last line. */
export function lastWords(log: string): string {
  return log.split('\n').find((line) => /\berror\b/i.test(line)) ?? lastLine(log)
}

/** Asks a process to end, makes it end after 15 s, and waits for it. */
export async function endProcess(child: Bun.Subprocess): Promise<void> {
  child.kill('SIGTERM')
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await child.exited
  clearTimeout(force)
}

/** A port of loopback that was free just now. */
export async function freePort(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const server = createServer()
  server.once('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
  })
  return promise
}
