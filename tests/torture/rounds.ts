/** Rounds of load and SIGKILL on one database and the same data folders, and the verdict after each. */
import { recordBackends } from '../support/backends.ts'
import { createScene, type Scene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { startJudge } from './judge_messages.ts'
import { createLoad, type Load, type Target } from './load.ts'
import { type Random, randomFrom } from './random.ts'
import { flushAll } from './read_back.ts'
import { unstoredFaults, verdict } from './verdict.ts'

export interface RoundsOptions {
  backend: string
  instances: number
  rounds: number
  seed: number
  /** How an instance ends: killed, unless it is asked to. */
  end?: 'SIGKILL' | 'SIGTERM'
  /** More settings of the service. */
  env?: Record<string, string>
  /** Told what happened, a line at a time. */
  tell?(line: string): void
}

export interface RoundsReport {
  rounds: number
  keys: number
  acknowledged: number
  unknown: number
  /** Each with the round in which it was found. */
  faults: string[]
}

/** An instance that comes and goes, always under its own name and folder. */
interface Place extends Target {
  start(): Promise<void>
  /** Begins a start that is cut off before it has come far. */
  stumble(afterMs: number): Promise<void>
  end(signal: NodeJS.Signals): Promise<void>
}

const LOAD_MS = [30, 400] as const
const STUMBLE_MS = 150
const STUMBLE_CHANCE = 0.2
/** Flushes all the while, in small statements, so that a kill meets one under way. */
const RESTLESS = {
  MAX_BUFFER_SIZE: '40',
  BUFFER_MIN_BATCH_ROWS: '10',
  BUFFER_MAX_BATCH_ROWS: '60',
  FLUSH_INTERVAL: '0.3',
  COUNT_CACHE: '0',
}

/** Runs the rounds; stops at the first one that finds a fault. */
export async function runRounds(options: RoundsOptions): Promise<RoundsReport> {
  const { backend, rounds, tell = () => {} } = options
  const random = randomFrom(options.seed)
  await using scene = createScene()
  await using judge = startJudge()
  const places = await openPlaces(scene, options)
  const load = createLoad({ judge, random: random.fork(), targets: places })
  await Promise.all(places.map((place) => place.start()))
  let faults: string[] = []
  let round = 0
  while (round < rounds && faults.length === 0) {
    round++
    const story = await endUnderLoad(places, load, { random, signal: options.end ?? 'SIGKILL' })
    const early = places.length === 1 ? await unstoredFaults(places[0]!, { judge, load, random }) : []
    for (const place of places) await flushAll(place.url()!)
    faults = [...early, ...(await verdict(places, { judge, load, reader: random.pick(places) }))]
    tell(
      `${backend} × ${places.length}, round ${round}: ${story}; ${faults.length === 0 ? 'all there' : 'FAULTS'}`,
    )
  }
  const { keys, acknowledged, unknown } = await judge.figures()
  return {
    rounds: round,
    keys,
    acknowledged,
    unknown,
    faults: faults.map((fault) => `round ${round}: ${fault}`),
  }
}

/** Everybody writes; one instance dies at some moment, and comes back. Says what happened. */
async function endUnderLoad(
  places: readonly Place[],
  load: Load,
  { random, signal }: { random: Random; signal: NodeJS.Signals },
): Promise<string> {
  const running = load.start()
  const loadMs = random.int(...LOAD_MS)
  await Bun.sleep(loadMs)
  const victim = random.pick(places)
  await victim.end(signal)
  // The others go on meanwhile; where there is none, nobody is there to write to.
  let stumbled = 0
  while (random.chance(STUMBLE_CHANCE)) {
    await victim.stumble(random.int(0, STUMBLE_MS))
    stumbled++
  }
  await victim.start()
  await running.stop()
  const again = stumbled > 0 ? `, and ${stumbled} times while it started` : ''
  return `${signal} to ${victim.name} after ${loadMs} ms${again}`
}

async function openPlaces(scene: Scene, { backend, instances, env }: RoundsOptions): Promise<Place[]> {
  const found = recordBackends.find(({ name }) => name === backend)
  if (!found) throw new Error(`this run has no ${backend}`)
  if (backend === 'sqlite' && instances !== 1) throw new Error('the embedded store is one instance')
  const fresh = await found.freshEnv()
  scene.defer(fresh.drop)
  return Promise.all(
    Array.from({ length: instances }, async (_, i) => {
      const name = String.fromCharCode(97 + i)
      const folder = i === 0 ? {} : { DATA_DIR: await scene.folder() }
      return openPlace(scene, name, {
        ...RESTLESS,
        ...fresh.env,
        ...folder,
        INSTANCE_ID: `place-${name}`,
        ...env,
      })
    }),
  )
}

function openPlace(scene: Scene, name: string, env: Record<string, string>): Place {
  let service: Service | null = null
  return {
    name,
    url: () => service?.url ?? null,
    async start() {
      service = await scene.start(env)
    },
    async stumble(afterMs) {
      const begun = await scene.start(env, 'listening')
      await Bun.sleep(afterMs)
      await begun.kill()
    },
    async end(signal) {
      const dying = service!
      dying.signal(signal)
      await dying.exited
      service = null
    },
  }
}
