/**
 * `bun run torture`: SIGKILL at random moments under load, many rounds, on every backend that can be had, and
 * afterwards a judge's word on whether everything acknowledged is stored. Ends with 1 where it is not.
 *
 * --rounds N        rounds of each line (200)
 * --seed N          the choices of an earlier run
 * --backend NAME    sqlite, mysql or mariadb; all that there are unless named
 * --instances N     1 or 2 (both, where the backend is a server)
 * --end SIGTERM     asks the instance to end instead of killing it
 */
import { parseArgs } from 'node:util'
import { findServer, SERVERS } from '../support/servers.ts'
import { seedOf } from './random.ts'

const EXIT_FAULTS = 1
const EXIT_USAGE = 2

process.exitCode = await main()

async function main(): Promise<number> {
  let options: ReturnType<typeof readOptions>
  try {
    options = readOptions(process.argv.slice(2))
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    return EXIT_USAGE
  }
  const { rounds, seed, backend, instances, end } = options
  const wanted = SERVERS.filter(({ name }) => !backend || backend === name)
  const servers = await Promise.all(wanted.map((kind) => findServer(kind, process.env)))
  try {
    for (const kind of SERVERS) for (const variable of kind.variables) delete process.env[variable]
    for (const server of servers) if (server.tested) Object.assign(process.env, server.variables)
    // What this run covers is read from the environment when it is loaded.
    const { recordBackends } = await import('../support/backends.ts')
    const { runRounds } = await import('./rounds.ts')
    for (const server of servers)
      if (!server.tested) console.log(`${server.name} is left out: ${server.detail}`)
    const names = recordBackends.map(({ name }) => name).filter((name) => !backend || backend === name)
    if (names.length === 0) throw new Error(`--backend: ${backend} can't be had here`)
    console.log(`seed ${seed}`)
    let ok = true
    for (const name of names) {
      for (const count of name === 'sqlite' ? [1] : [1, 2]) {
        if (instances !== undefined && instances !== count) continue
        const tell = (line: string) => console.log(line)
        const report = await runRounds({ backend: name, instances: count, rounds, seed, end, tell })
        ok &&= report.faults.length === 0
        console.log(
          `${name} × ${count}: ${report.rounds} rounds, ${report.keys} keys, ${report.acknowledged} requests acknowledged, ${report.unknown} unanswered: ${report.faults.length === 0 ? 'nothing lost' : 'LOST'}`,
        )
        for (const fault of report.faults) console.log(`  ${fault}`)
      }
    }
    return ok ? 0 : EXIT_FAULTS
  } finally {
    await Promise.all(servers.map((server) => server.tested && server.stop()))
  }
}

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: 'string', default: '200' },
      seed: { type: 'string' },
      backend: { type: 'string' },
      instances: { type: 'string' },
      end: { type: 'string', default: 'SIGKILL' },
    },
  })
  const whole = (name: 'rounds' | 'instances', text: string, most: number) => {
    const value = Number(text)
    if (Number.isInteger(value) && value >= 1 && value <= most) return value
    throw new Error(`--${name}: expected a whole number from 1 to ${most}, got ${text}`)
  }
  const { end } = values
  if (end !== 'SIGKILL' && end !== 'SIGTERM')
    throw new Error(`--end: expected SIGKILL or SIGTERM, got ${end}`)
  return {
    end: end as 'SIGKILL' | 'SIGTERM',
    rounds: whole('rounds', values.rounds, 1_000_000),
    seed: seedOf(values.seed ?? process.env.SEED),
    backend: values.backend,
    instances: values.instances === undefined ? undefined : whole('instances', values.instances, 2),
  }
}
