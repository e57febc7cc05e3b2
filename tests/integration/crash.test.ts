/**
 * SIGKILL at random moments under load: what was acknowledged is stored in its newest version, byte for byte,
 * nothing twice, and the books balance. A judge outside the service keeps the acknowledgements.
 * SEED repeats the choices of an earlier run; `bun run torture` goes on for longer.
 */
import { expect, test } from 'bun:test'
import { sqlServers } from '../support/backends.ts'
import { seedOf } from '../torture/random.ts'
import { runRounds } from '../torture/rounds.ts'

const seed = seedOf(process.env.SEED)
const [server] = sqlServers
const TIMEOUT_MS = 180_000

const LINES: [backend: string, instances: number, rounds: number, end: 'SIGKILL' | 'SIGTERM'][] = [
  ['sqlite', 1, 20, 'SIGKILL'],
  // The control: an orderly end loses nothing, so what the others find is the kill's.
  ['sqlite', 1, 3, 'SIGTERM'],
]
if (server) {
  LINES.push([server, 1, 15, 'SIGKILL'], [server, 2, 15, 'SIGKILL'], [server, 2, 3, 'SIGTERM'])
}

for (const [backend, instances, rounds, end] of LINES) {
  test(
    `${rounds} × ${end} to ${instances === 1 ? 'an instance' : `one of ${instances} instances`} on ${backend} under load: nothing acknowledged is lost (SEED=${seed})`,
    async () => {
      const story: string[] = []
      const report = await runRounds({
        backend,
        instances,
        rounds,
        seed,
        end,
        tell: (line) => story.push(line),
      })
      expect(report.faults, story.join('\n')).toEqual([])
      expect(report.rounds).toBe(rounds)
      expect(report.acknowledged).toBeGreaterThan(rounds * instances)
    },
    TIMEOUT_MS,
  )
}
