/** The real servers that tests run against: which there are, and how each is found or started. */
import { galeraServer } from './galera.ts'
import { mysqlServer } from './mysql_servers.ts'
import type { ServerKind, StartedServer } from './server_kind.ts'
import { until } from './waiting.ts'

const ANSWER_TIMEOUT_MS = 120_000

/** What became of a line of the table. */
export type FoundServer =
  | { name: string; tested: true; variables: Record<string, string>; detail: string; stop(): Promise<void> }
  | { name: string; tested: false; detail: string }

/** Every server that tests know; a new one is a line here. */
export const SERVERS: readonly ServerKind[] = [
  mysqlServer('mysql', { image: 'mysql:9', program: 'mysqld' }),
  mysqlServer('mariadb', { image: 'mariadb:11', program: 'mariadbd' }),
  galeraServer(),
]

/** The words of REQUIRE_BACKENDS. Throws on one that no server of the table has. */
export function requiredServers(text: string, servers: readonly ServerKind[] = SERVERS): string[] {
  const words = text.split(',').map((word) => word.trim())
  const known = servers.map(({ name }) => name)
  const unknown = words.filter((word) => word !== '' && !known.includes(word))
  if (unknown.length > 0) {
    throw new Error(`REQUIRE_BACKENDS: ${unknown.join(', ')} is unknown; known are ${known.join(', ')}`)
  }
  return words.filter((word) => word !== '')
}

/**
 * Takes the server that the environment names, else starts one in the first way that works, and makes sure
 * that it answers. A server that is named but doesn't answer is left out, not replaced.
 */
export async function findServer(
  kind: ServerKind,
  env: Record<string, string | undefined>,
): Promise<FoundServer> {
  const { name } = kind
  const given = kind.variables.map((variable) => [variable, env[variable] ?? ''] as const)
  if (given.every(([, value]) => value !== '')) {
    const variables = Object.fromEntries(given)
    try {
      const detail = `${await kind.identify(variables)} (${kind.variables[0]})`
      return { name, tested: true, variables, detail, stop: async () => {} }
    } catch (error) {
      return { name, tested: false, detail: `${kind.variables[0]} is set, but: ${reason(error)}` }
    }
  }
  const reasons = [`no ${given.find(([, value]) => value === '')?.[0]}`]
  for (const way of kind.ways) {
    try {
      const server = await way.start()
      const detail = `${await answering(kind, server)} (${way.title})`
      return { name, tested: true, variables: server.variables, detail, stop: server.stop }
    } catch (error) {
      reasons.push(reason(error))
    }
  }
  return { name, tested: false, detail: reasons.join('; ') }
}

async function answering(kind: ServerKind, server: StartedServer): Promise<string> {
  let words: string | undefined
  try {
    const version = await until(
      async () => {
        words = await server.ended()
        return words === undefined ? kind.identify(server.variables) : 'ended'
      },
      { message: `${kind.name} answers`, timeoutMs: ANSWER_TIMEOUT_MS },
    )
    if (words !== undefined) throw new Error(`${kind.name} ended: ${words}`)
    return version
  } catch (error) {
    await server.stop()
    throw error
  }
}

function reason(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reason(error.errors[0])
  return error instanceof Error ? error.message || error.name : String(error)
}
