/** A Node to run a bundle with: npm's `node` package where npx can fetch it, else the one installed. */
import { findProgram, lastLine, run } from './processes.ts'

const NPM_NODE = 'node@26.10.0'
/** The oldest with all that the language of src needs (`Promise.withResolvers`). */
const OLDEST_MAJOR = 22
/** The package may have to be fetched. */
const FETCH_TIMEOUT_MS = 120_000
const ASK_TIMEOUT_MS = 15_000

/** The program and its version, or why there is none. */
export type NodeRuntime = { path: string; version: string } | { missing: string }

/** Throws nothing. */
export async function findNode(): Promise<NodeRuntime> {
  const npx = findProgram('npx')
  const ask = ['-p', 'process.execPath + " " + process.version']
  const reasons: string[] = []
  if (!npx) reasons.push('no npx')
  else {
    try {
      return readAnswer(await run([npx, '-y', NPM_NODE, ...ask], FETCH_TIMEOUT_MS))
    } catch (error) {
      reasons.push(`npx can't run ${NPM_NODE}: ${firstLine(error)}`)
    }
  }
  const installed = findProgram('node')
  if (!installed) return { missing: [...reasons, 'no node installed'].join('; ') }
  const found = readAnswer(await run([installed, ...ask], ASK_TIMEOUT_MS).catch(() => 'none v0'))
  if (Number.parseInt(found.version, 10) >= OLDEST_MAJOR) return found
  return { missing: [...reasons, `the installed node is ${found.version}`].join('; ') }
}

function readAnswer(output: string): { path: string; version: string } {
  const [path = '', version = ''] = lastLine(output).split(' v')
  return { path, version }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? ''
}
