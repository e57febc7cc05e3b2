/** Keeps watch over one backend: prepares it at first contact, then knows whether it is up. */
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { createBackoff, pause } from '../lib/retry.ts'
import { type Backend, BackendError, type HealthStatus } from './backend.ts'
import type { Coordination } from './coordination.ts'

export type BackendState = 'starting' | 'up' | 'down'

export interface BackendMonitor {
  readonly backend: Backend
  state(): BackendState
  lastHealth(): HealthStatus | null
  /** Resolves once the backend was prepared; rejects when that can never succeed. */
  prepared: Promise<void>
  start(): void
  /** An operation met an outage: looks at once. */
  suspect(): void
  /** Throws an outage when the backend is known to be down, so that nobody waits for a timeout. */
  assertUp(): void
  stop(): void
}

interface MonitorOptions {
  backend: Backend
  migrate: boolean
  log: Logger
  onUp(): void
  /** Runs at first contact, before the backend counts as up. */
  onPrepared(): Promise<void>
}

const PROBE_UP_MS = 5000
const PROBE_DOWN_MS = 1000

export function watchBackend({ backend, migrate, log, onUp, onPrepared }: MonitorOptions): BackendMonitor {
  let state: BackendState = 'starting'
  let health: HealthStatus | null = null
  let timer: ReturnType<typeof setTimeout> | null = null
  let probing: Promise<void> | null = null
  let stopped = false
  const { promise: prepared, resolve, reject } = Promise.withResolvers<void>()
  prepared.catch(() => undefined) // whoever awaits it is told; nobody has to

  async function prepare(): Promise<void> {
    const backoff = createBackoff({ baseMs: 200, maxMs: 5000 })
    while (!stopped) {
      try {
        await backend.prepare({ migrate })
        await onPrepared()
        state = 'up'
        resolve()
        log.info('backend ready', { meta: { backend: backend.name, type: backend.type } })
        onUp()
        return next()
      } catch (error) {
        if (!(error instanceof BackendError)) return reject(error)
        health = { healthy: false, latencyMs: 0, detail: error.message }
        log.warn('backend not reached yet', {
          meta: { backend: backend.name, code: error.code, error: error.message },
        })
        await pause(backoff.nextMs())
      }
    }
  }

  function next(): void {
    if (timer) clearTimeout(timer)
    if (!stopped) timer = setTimeout(probe, state === 'up' ? PROBE_UP_MS : PROBE_DOWN_MS)
  }

  function probe(): Promise<void> {
    probing ??= look().finally(() => {
      probing = null
      next()
    })
    return probing
  }

  async function look(): Promise<void> {
    health = await backend.health()
    if (stopped) return
    if (health.healthy && state === 'down') {
      state = 'up'
      log.info('backend is up again', { meta: { backend: backend.name } })
      onUp()
    } else if (!health.healthy && state === 'up') {
      state = 'down'
      log.error('backend is down', { meta: { backend: backend.name, error: health.detail } })
    }
  }

  return {
    backend,
    prepared,
    state: () => state,
    lastHealth: () => health,
    start() {
      prepare().catch((error) => reject(new Error(messageOf(error), { cause: error })))
    },
    suspect() {
      if (state === 'up') probe()
    },
    assertUp() {
      if (state !== 'up') {
        throw new BackendError(
          'outage',
          'DOWN',
          `backend ${backend.name} is ${state}: ${health?.detail ?? 'no contact yet'}`,
        )
      }
    },
    stop() {
      stopped = true
      if (timer) clearTimeout(timer)
    },
  }
}

/** Coordination that fails at once while its backend is known to be down, and tells of outages. */
export function guardedCoordination(monitor: BackendMonitor): Coordination {
  const inner = monitor.backend.coordination!
  const methods = Object.entries(inner).map(([name, method]) => [
    name,
    async (...args: unknown[]) => {
      monitor.assertUp()
      try {
        return await (method as (...args: unknown[]) => Promise<unknown>)(...args)
      } catch (error) {
        monitor.suspect()
        throw error
      }
    },
  ])
  return Object.fromEntries(methods) as unknown as Coordination
}
