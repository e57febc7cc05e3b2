/** Servers in throw-away containers. */
import { lastLine, run } from './processes.ts'
import type { StartedServer } from './server_kind.ts'

const INFO_TIMEOUT_MS = 10_000
/** The image may have to be fetched. */
const RUN_TIMEOUT_MS = 300_000

interface ContainerOptions {
  image: string
  env: Record<string, string>
  /** The port inside. */
  port: number
  /** Where the image keeps its data, held in memory here. */
  dataFolder: string
  /** The variables for the tests, from where the port is reached. */
  variables(address: string): Record<string, string>
}

let engine: Promise<string | undefined> | undefined

/** Why there is no Docker engine here; undefined when there is one. Asked once. */
export function missingDocker(): Promise<string | undefined> {
  engine ??= run(['docker', 'info', '--format', '{{.ServerVersion}}'], INFO_TIMEOUT_MS).then(
    () => undefined,
    () => 'no Docker engine',
  )
  return engine
}

/** Starts a container whose port is published on a free port of loopback. Throws when it can't. */
export async function startContainer(options: ContainerOptions): Promise<StartedServer> {
  const missing = await missingDocker()
  if (missing) throw new Error(missing)
  const settings = Object.entries(options.env).flatMap(([name, value]) => ['--env', `${name}=${value}`])
  const id = await run(
    // biome-ignore format: options in pairs
    ['docker', 'run', '--detach', '--rm', '--publish', `127.0.0.1::${options.port}`,
     '--tmpfs', options.dataFolder, ...settings, options.image],
    RUN_TIMEOUT_MS,
  ).then(lastLine)
  const stop = async () => {
    await run(['docker', 'rm', '--force', '--volumes', id], RUN_TIMEOUT_MS)
  }
  try {
    const address = lastLine(await run(['docker', 'port', id, String(options.port)], INFO_TIMEOUT_MS))
    return { variables: options.variables(address), ended: () => undefined, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
