import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import { type Backend, BackendError, type HealthStatus } from '../../src/backends/backend.ts'
import { watchBackend } from '../../src/backends/monitor.ts'
import { outage, settle } from '../support/contract_gates.ts'

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

async function pass(ms: number): Promise<void> {
  jest.advanceTimersByTime(ms)
  await settle()
}

/** A backend of which the test says how it is, watched. */
function watched(options: { onPrepared?: () => Promise<void> } = {}) {
  const state = { failure: null as Error | null, health: { healthy: true, latencyMs: 1 } as HealthStatus }
  const told = { prepared: 0, probes: 0, up: 0, migrate: [] as boolean[] }
  const backend: Backend = {
    name: 'store',
    type: 'test',
    async prepare({ migrate }) {
      told.migrate.push(migrate)
      if (state.failure) throw state.failure
    },
    async health() {
      told.probes++
      return state.health
    },
    async close() {},
  }
  const log = () => undefined
  const monitor = watchBackend({
    backend,
    migrate: true,
    log: { debug: log, info: log, warn: log, error: log },
    onUp: () => void told.up++,
    async onPrepared() {
      told.prepared++
      await options.onPrepared?.()
    },
  })
  return { monitor, state, told }
}

const down = { healthy: false, latencyMs: 3, detail: 'connection refused' }

describe('at first contact', () => {
  test('a backend is prepared, and only then is it up', async () => {
    const { promise: registered, resolve: register } = Promise.withResolvers<void>()
    const { monitor, told } = watched({ onPrepared: () => registered })
    expect(monitor.state()).toBe('starting')
    expect(() => monitor.assertUp()).toThrow('backend store is starting')
    monitor.start()
    await settle()
    expect(monitor.state()).toBe('starting')
    register()
    await monitor.prepared
    expect(monitor.state()).toBe('up')
    expect(() => monitor.assertUp()).not.toThrow()
    expect(told).toMatchObject({ prepared: 1, up: 1, migrate: [true] })
    monitor.stop()
  })

  test('one that cannot be reached is tried again, for ever', async () => {
    const { monitor, state, told } = watched()
    state.failure = outage()
    monitor.start()
    await pass(120_000)
    for (let n = 0; n < 30; n++) await pass(5000)
    expect(told.migrate.length).toBeGreaterThan(20)
    expect(monitor.state()).toBe('starting')
    expect(monitor.lastHealth()).toMatchObject({ healthy: false })
    state.failure = null
    await pass(5000)
    expect(monitor.state()).toBe('up')
    await monitor.prepared
    monitor.stop()
  })

  test('a failure that trying again will not mend is told, and not tried again', async () => {
    const { monitor, state, told } = watched()
    state.failure = new TypeError('migration 0002 failed')
    monitor.start()
    expect(await monitor.prepared.catch((error) => error)).toBe(state.failure)
    await pass(60_000)
    expect(told.migrate.length).toBe(1)
    expect(monitor.state()).toBe('starting')
  })

  test('is tried no more once the monitor is stopped', async () => {
    const { monitor, state, told } = watched()
    state.failure = outage()
    monitor.start()
    await settle()
    monitor.stop()
    await pass(60_000)
    expect(told.migrate.length).toBe(1)
  })
})

describe('a backend that was up', () => {
  async function up() {
    const parts = watched()
    parts.monitor.start()
    await parts.monitor.prepared
    await settle()
    return parts
  }

  test('is asked every 5 s; down, every second; and its return is told', async () => {
    const { monitor, state, told } = await up()
    await pass(5000)
    expect(told.probes).toBe(1)
    await pass(4999)
    expect(told.probes).toBe(1)
    state.health = down
    await pass(1)
    expect(monitor.state()).toBe('down')
    expect(monitor.lastHealth()).toEqual(down)
    const failure = (() => {
      try {
        return monitor.assertUp()
      } catch (error) {
        return error
      }
    })()
    expect(failure).toBeInstanceOf(BackendError)
    expect(failure).toMatchObject({
      kind: 'outage',
      code: 'DOWN',
      message: expect.stringContaining('connection refused'),
    })
    for (let n = 0; n < 3; n++) await pass(1000)
    expect(told.probes).toBe(5)
    expect(told.up).toBe(1)
    state.health = { healthy: true, latencyMs: 1 }
    await pass(1000)
    expect(monitor.state()).toBe('up')
    expect(told.up).toBe(2)
    expect(() => monitor.assertUp()).not.toThrow()
    monitor.stop()
  })

  test('is asked at once when an operation met an outage, once for any number of them', async () => {
    const { monitor, state, told } = await up()
    state.health = down
    for (let n = 0; n < 10; n++) monitor.suspect()
    await settle()
    expect(told.probes).toBe(1)
    expect(monitor.state()).toBe('down')
    monitor.suspect()
    await settle()
    expect(told.probes).toBe(1)
    monitor.stop()
  })

  test('is asked no more once the monitor is stopped', async () => {
    const { monitor, told } = await up()
    monitor.stop()
    await pass(60_000)
    expect(told.probes).toBe(0)
  })
})
