import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import type { Coordination } from '../../src/backends/coordination.ts'
import { createJobRunner, type Job, type JobRunner } from '../../src/cluster/jobs.ts'
import { backendKinds, type OpenStore } from '../support/contract_backends.ts'
import { settle } from '../support/contract_gates.ts'

const EVERY_MS = 3_600_000
/** How often a runner looks whether a job is due. */
const LOOK_MS = 30_000

let store: OpenStore
let coordination: Coordination
let runners: JobRunner[] = []
let logs: string[] = []

beforeEach(async () => {
  jest.useFakeTimers()
  store = await backendKinds.find(({ dialect }) => dialect === 'sqlite')!.open()
  coordination = store.backend.coordination!
  logs = []
})
afterEach(async () => {
  await Promise.all(runners.map((runner) => runner.stop()))
  runners = []
  jest.useRealTimers()
  await store.close()
})

/** A started runner of one job that runs until it is let go, and how often it began. */
function startRunner(instanceId: string, options: { everyMs?: number } = {}) {
  const { everyMs = EVERY_MS } = options
  const gates: ReturnType<typeof Promise.withResolvers<void>>[] = []
  const job: Job = {
    name: 'cleaning',
    everyMs,
    run() {
      const gate = Promise.withResolvers<void>()
      gates.push(gate)
      return gate.promise
    },
  }
  const log = (message: string) => void logs.push(message)
  const runner = createJobRunner({
    coordination,
    instanceId,
    jobs: [job],
    log: { debug: log, info: log, warn: log, error: log },
  })
  runners.push(runner)
  runner.start()
  return {
    runner,
    began: () => gates.length,
    async end(failure?: Error) {
      if (failure) gates.at(-1)!.reject(failure)
      else gates.at(-1)!.resolve()
      await settle()
    },
  }
}

async function pass(ms: number): Promise<void> {
  jest.advanceTimersByTime(ms)
  await settle()
}

const dueNow = () => coordination.putFact('job:cleaning', JSON.stringify({ due_at: 1 }))

describe('a job', () => {
  test('runs when nobody ever ran it, and then when its time has come again', async () => {
    const one = startRunner('one')
    await settle()
    expect(one.began()).toBe(0)
    await pass(LOOK_MS)
    expect(one.began()).toBe(1)
    await one.end()
    await pass(10 * LOOK_MS)
    expect(one.began()).toBe(1)
    const { due_at: dueAt } = JSON.parse((await coordination.getFact('job:cleaning'))!)
    expect(Math.abs(dueAt - (await coordination.now()) - EVERY_MS)).toBeLessThan(10_000)
    await dueNow()
    await pass(LOOK_MS)
    expect(one.began()).toBe(2)
    await one.end()
  })

  test('that is due more often than is looked is looked for as often', async () => {
    const one = startRunner('one', { everyMs: 100 })
    await pass(100)
    expect(one.began()).toBe(1)
    await one.end()
  })

  test('runs in one instance at a time, and in the other when that one is done and it is due', async () => {
    const [one, two] = [startRunner('one'), startRunner('two')]
    await pass(LOOK_MS)
    expect([one.began(), two.began()]).toEqual([1, 0])
    await pass(5 * LOOK_MS)
    expect([one.began(), two.began()]).toEqual([1, 0])
    await one.end()
    await dueNow()
    await one.runner.stop()
    await pass(LOOK_MS)
    expect([one.began(), two.began()]).toEqual([1, 1])
    await two.end()
  })

  test('that was run elsewhere is not due here, also after a restart', async () => {
    const one = startRunner('one')
    await pass(LOOK_MS)
    await one.end()
    await one.runner.stop()
    const again = startRunner('one')
    const other = startRunner('two')
    await pass(10 * LOOK_MS)
    expect([again.began(), other.began()]).toEqual([0, 0])
    // Looking for it keeps nobody from it.
    expect(await coordination.takeLease('job:cleaning', 'third', 1000)).not.toBeNull()
  })

  test('is not begun again by its own instance while it runs, and keeps its lease however long that is', async () => {
    const one = startRunner('one')
    await pass(LOOK_MS)
    await dueNow()
    for (let look = 0; look < 10; look++) {
      await store.execute(`UPDATE leases SET expires_at = 0 WHERE name = 'job:cleaning'`)
      await pass(LOOK_MS)
      expect(await coordination.takeLease('job:cleaning', 'two', 1000)).toBeNull()
    }
    expect(one.began()).toBe(1)
    await one.end()
    expect(await coordination.takeLease('job:cleaning', 'two', 1000)).not.toBeNull()
  })

  test('that fails is logged, and tried again soon by the same instance', async () => {
    const one = startRunner('one')
    await pass(LOOK_MS)
    await one.end(new Error('no'))
    expect(logs).toEqual(['job failed, will be tried again'])
    expect(await coordination.getFact('job:cleaning')).toBeNull()
    await pass(LOOK_MS)
    expect(one.began()).toBe(2)
    await one.end()
  })

  test('is tried again when the database was away', async () => {
    await store.execute('ALTER TABLE leases RENAME TO put_aside')
    const one = startRunner('one')
    await pass(LOOK_MS)
    expect(one.began()).toBe(0)
    expect(logs).toEqual(['job failed, will be tried again'])
    await store.execute('ALTER TABLE put_aside RENAME TO leases')
    await pass(LOOK_MS)
    expect(one.began()).toBe(1)
    await one.end()
  })

  test('is waited for by a stop, and none is begun after it', async () => {
    const one = startRunner('one')
    await pass(LOOK_MS)
    let isStopped = false
    const stopping = one.runner.stop().then(() => {
      isStopped = true
    })
    await settle()
    expect(isStopped).toBe(false)
    await one.end()
    await stopping
    await dueNow()
    await pass(10 * LOOK_MS)
    expect(one.began()).toBe(1)
  })
})
