/** `bun run keys` as a process of its own. */
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** How it ended, and what it printed. */
export interface KeysRun {
  code: number
  stdout: string
  stderr: string
}

/** Starts it; nothing of the developer's environment reaches it. */
export function spawnKeys(args: readonly string[], env: Record<string, string>) {
  return Bun.spawn([process.execPath, '--no-orphans', 'tools/keys/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
}

/** Runs it to its end. */
export async function runKeys(args: string, env: Record<string, string>): Promise<KeysRun> {
  const child = spawnKeys(args.split(' '), env)
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()])
  return { code, stdout, stderr }
}
