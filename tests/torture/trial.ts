/** Instances under load, with a judge: for tests that do something to them, or to what is around them. */
import { expect } from 'bun:test'
import { type Instance, instance } from '../support/instance.ts'
import type { Scene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { startJudge } from './judge_messages.ts'
import { createLoad } from './load.ts'
import { randomFrom, seedOf } from './random.ts'
import { flushAll } from './read_back.ts'
import { verdict } from './verdict.ts'

export interface Trial {
  /** Those that run, or ran last. */
  services: readonly Service[]
  /** The first one, at its first start. */
  on: Instance
  /** Starts one again under its name, in its folder, after it has ended. */
  restart(which: number): Promise<Instance>
  /** Everybody writes until `stop`. */
  load(): { stop(): Promise<void> }
  /** Requests acknowledged so far. */
  acknowledged(): Promise<number>
  /** Stores everything, reads it back, and asks the judge; throws what is wrong. Answers the acknowledgements. */
  settle(): Promise<number>
}

interface TrialOptions {
  /** The settings of each instance; a name each is added. */
  envs: readonly Record<string, string>[]
  clientsPerTarget?: number
  pauseMs?: number
}

/** Starts the instances; everything ends with the scene. */
export async function startTrial(scene: Scene, { envs, ...load }: TrialOptions): Promise<Trial> {
  const seed = seedOf(process.env.SEED)
  const judge = startJudge()
  scene.defer(() => judge[Symbol.asyncDispose]())
  const settings = await Promise.all(
    envs.map(async (env, i) => ({
      COUNT_CACHE: '0',
      INSTANCE_ID: `trial-${i}`,
      DATA_DIR: await scene.folder(),
      ...env,
    })),
  )
  const services = await Promise.all(settings.map((env) => scene.start(env)))
  const places = services.map((_, i) => ({ name: `trial-${i}`, url: () => services[i]!.url }))
  const clients = createLoad({ judge, random: randomFrom(seed), targets: places, ...load })
  const acknowledged = async () => (await judge.figures()).acknowledged
  return {
    services,
    on: instance(services[0]!),
    async restart(which) {
      services[which] = await scene.start(settings[which]!)
      return instance(services[which])
    },
    load: () => clients.start(),
    acknowledged,
    async settle() {
      for (const { url } of places) await flushAll(url())
      for (const reader of places) {
        expect(await verdict(places, { judge, load: clients, reader }), `SEED=${seed}`).toEqual([])
      }
      return acknowledged()
    },
  }
}
