/**
 * `bun run spec [schemathesis|spectral]`: holds a running service (embedded backends, a fresh folder)
 * against the OpenAPI document that it serves. schemathesis sends generated requests and needs Python;
 * Spectral lints the document. Both when none is named; ends with 1 when one of them finds something.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { freshFolder } from '../support/backends.ts'
import { startService } from '../support/service.ts'

const SCHEMATHESIS = '4.32.5'
const SPECTRAL = '6.16.3'
/** Keeps schemathesis and what it notes about its last run, out of the way of the project's files. */
const SCHEMATHESIS_FOLDER = fileURLToPath(
  new URL(`../../node_modules/.cache/schemathesis-${SCHEMATHESIS}`, import.meta.url),
)
const EXAMPLES_PER_OPERATION = 30
/** The same requests in every run, so that a red one can be repeated. */
const SEED = 20250930
const RETRY_PAUSE_MS = 5_000

const TOOLS = { schemathesis: runSchemathesis, spectral: runSpectral }

process.exitCode = await main(process.argv.slice(2))

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !Object.hasOwn(TOOLS, name))
  if (unknown !== undefined) {
    console.error(`${unknown}: known are ${Object.keys(TOOLS).join(', ')}`)
    return 1
  }
  const stores = await freshFolder()
  const service = await startService({ env: stores.env })
  try {
    let failed = false
    for (const [name, tool] of Object.entries(TOOLS)) {
      if (names.length > 0 && !names.includes(name)) continue
      console.log(`\n--- ${name}`)
      const code = await tool(`${service.url}/openapi.json`)
      console.log(`--- ${name}: ${code === 0 ? 'nothing found' : `ended with ${code}`}`)
      failed ||= code !== 0
    }
    if (failed) showErrors(service.logs)
    return failed ? 1 : 0
  } finally {
    await service.stop()
    await stores.drop()
  }
}

/** What the service itself says about the answers that a tool complained of. */
function showErrors(logs: Awaited<ReturnType<typeof startService>>['logs']): void {
  const errors = logs.filter(({ level }) => level === 'ERROR').slice(-20)
  for (const line of errors) console.log(JSON.stringify(line))
}

async function runSchemathesis(specUrl: string): Promise<number> {
  const program = `${SCHEMATHESIS_FOLDER}/bin/schemathesis`
  if (!existsSync(program)) {
    await install(['python3', '-m', 'venv', '--clear', SCHEMATHESIS_FOLDER])
    const pip = [`${SCHEMATHESIS_FOLDER}/bin/pip`, 'install', '--quiet', '--disable-pip-version-check']
    await install([...pip, `schemathesis==${SCHEMATHESIS}`])
  }
  const config = fileURLToPath(new URL('schemathesis.toml', import.meta.url))
  // biome-ignore format: options in pairs
  const command = [
    program, '--config-file', config, 'run', specUrl,
    '--max-examples', String(EXAMPLES_PER_OPERATION), '--seed', String(SEED),
    '--generation-database', 'none', '--request-timeout', '30', '--no-color',
  ]
  return inherit(command, SCHEMATHESIS_FOLDER)
}

async function runSpectral(specUrl: string): Promise<number> {
  const spectral = ['npx', '-y', `@stoplight/spectral-cli@${SPECTRAL}`]
  await install([...spectral, '--version'])
  return inherit([
    ...spectral,
    'lint',
    specUrl,
    '--ruleset',
    'tests/spec/spectral.yaml',
    '--fail-severity',
    'hint',
  ])
}

/** Registries have bad moments: a failed installation is tried once more. */
async function install(command: readonly string[]): Promise<void> {
  if ((await inherit(command)) === 0) return
  await Bun.sleep(RETRY_PAUSE_MS)
  if ((await inherit(command)) !== 0) throw new Error(`can't be installed: ${command.join(' ')}`)
}

function inherit(command: readonly string[], folder = '.'): Promise<number> {
  return Bun.spawn([...command], { cwd: folder, stdin: 'ignore', stdout: 'inherit', stderr: 'inherit' })
    .exited
}
