/** Requests that are generated from the spec, and what it says of their answers. Needs Python. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { cacheFolder, inherit, installPython, type Subject } from './tool.ts'

const VERSION = '4.32.5'
const EXAMPLES_PER_OPERATION = 30
/** The same requests in every run, so that a red one can be repeated. */
const SEED = 20250930

export async function runSchemathesis({ specUrl, key }: Subject): Promise<number> {
  const folder = cacheFolder(`schemathesis-${VERSION}`)
  const program = `${folder}/bin/schemathesis`
  if (!existsSync(program)) await installPython(folder, [`schemathesis==${VERSION}`])
  const config = fileURLToPath(new URL('schemathesis.toml', import.meta.url))
  // biome-ignore format: options in pairs
  const command = [
    program, '--config-file', config, 'run', specUrl,
    '--max-examples', String(EXAMPLES_PER_OPERATION), '--seed', String(SEED),
    '--generation-database', 'none', '--request-timeout', '30', '--no-color',
  ]
  return inherit(command, { folder, env: { API_KEY: key } })
}
