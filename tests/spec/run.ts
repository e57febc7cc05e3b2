/**
 * `bun run spec [schemathesis|spectral|typescript|python]`: holds a running service (embedded backends, a
 * fresh folder) against the OpenAPI document that it serves. schemathesis sends generated requests, Spectral
 * lints the document, and clients that are generated from it are compiled and used. All of them when none is
 * named; ends with 1 when one of them finds something.
 */
import { freshFolder } from '../support/backends.ts'
import { startService } from '../support/service.ts'
import { runPython } from './python.ts'
import { runSchemathesis } from './schemathesis.ts'
import { runSpectral } from './spectral.ts'
import type { Tool } from './tool.ts'
import { runTypescript } from './typescript.ts'

/** Authentication is on: that what the spec calls closed is closed is one of the checks. */
const KEY = `psk_${'spec'.repeat(10)}`

const TOOLS: Record<string, Tool> = {
  schemathesis: runSchemathesis,
  spectral: runSpectral,
  typescript: runTypescript,
  python: runPython,
}

process.exitCode = await main(process.argv.slice(2))

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !Object.hasOwn(TOOLS, name))
  if (unknown !== undefined) {
    console.error(`${unknown}: known are ${Object.keys(TOOLS).join(', ')}`)
    return 1
  }
  const stores = await freshFolder()
  const service = await startService({ env: { ...stores.env, API_KEYS: KEY } })
  try {
    let failed = false
    for (const [name, tool] of Object.entries(TOOLS)) {
      if (names.length > 0 && !names.includes(name)) continue
      console.log(`\n--- ${name}`)
      const startMs = performance.now()
      const code = await tool({ url: service.url, specUrl: `${service.url}/openapi.json`, key: KEY })
      const seconds = Math.round((performance.now() - startMs) / 1000)
      console.log(`--- ${name}: ${code === 0 ? 'nothing found' : `ended with ${code}`} (${seconds} s)`)
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
