/** Puts the house together: config → backends → router → buffer → slices → jobs; closes them in reverse. */
import { createApp } from './app.ts'
import type { Coordination } from './backends/backend.ts'
import { openBackend } from './backends/catalog.ts'
import { type BackendMonitor, watchBackend } from './backends/monitor.ts'
import { createStampSource } from './buffer/stamp_source.ts'
import { createWriteBuffer } from './buffer/write_buffer.ts'
import { createInstanceRegistry } from './cluster/instances.ts'
import { createJobRunner } from './cluster/jobs.ts'
import { COLLECTIONS } from './collections/catalog.ts'
import { createRouter } from './collections/router.ts'
import { translationSessions } from './collections/translation.ts'
import { type Config, redactConfig } from './config/mod.ts'
import { systemClock } from './lib/clock.ts'
import { AppError, messageOf } from './lib/errors.ts'
import type { Logger } from './lib/log.ts'
import { withDeadline } from './lib/retry.ts'
import { createSystem } from './system/mod.ts'
import { createMetrics, type Metrics } from './telemetry/metrics.ts'
import { createTranslation } from './translation/mod.ts'

export interface Service {
  fetch(request: Request): Response | Promise<Response>
  /** Opens the backends and starts the timers; rejects `failed` where that can never succeed. */
  start(): void
  /** Rejects when the service cannot go on: a migration failed. */
  failed: Promise<never>
  /** Resolves once every backend was prepared: migrated, where that is configured. */
  prepared: Promise<void>
  /**
   * Stops accepting, stores what is buffered within the deadline, then lets `closeServer` answer what is under
   * way, while the backends are still there. Answers the rows that are left.
   */
  shutdown(
    closeServer?: (withinMs: number) => Promise<void>,
  ): Promise<{ rowsLeft: number; rowsStored: number }>
}

interface ComposeOptions {
  config: Config
  instanceId: string
  version: string
  log: Logger
  /** `migrate` prepares the backends and takes no part in anything else. */
  role?: 'serve' | 'migrate'
}

const STORAGE_BYTES_EVERY_MS = 60_000
/** The share of a request's time that its store may take: the answer is to be there in time too. */
const STORE_SHARE = 0.9
/** A store that is gone can't be taken leave of. */
const CLOSE_TIMEOUT_MS = 500
/** The part of the shutdown's time that is kept for taking leave. */
const LEAVE_MS = 1000

export async function compose({
  config,
  instanceId,
  version,
  log,
  role = 'serve',
}: ComposeOptions): Promise<Service> {
  const clock = systemClock
  const startedAtMs = clock.nowMs()
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  failed.catch(() => undefined) // main awaits it; a test need not
  let phase: 'running' | 'draining' | 'stopping' = 'running'

  const used = new Set(Object.values(config.storage.routes))
  const monitors = new Map<string, BackendMonitor>()
  for (const name of used) {
    const backend = await openBackend(name, config.storage.backends[name]!, {
      owner: instanceId,
      readTimeoutMs: config.translation.read_timeout * 1000 * STORE_SHARE,
    })
    monitors.set(
      name,
      watchBackend({
        backend,
        migrate: config.migrations.on_start,
        log,
        onUp: () => buffer.retryNow(),
        onPrepared: () => onPrepared(name),
      }),
    )
  }

  let metrics: Metrics
  const router = createRouter({
    collections: COLLECTIONS,
    backends: monitors,
    routes: config.storage.routes,
    onOperation: (...operation) => metrics.onOperation(...operation),
  })
  const home = router.backendOf(translationSessions)
  const coordination: Coordination = guarded(home)
  const registry = createInstanceRegistry({
    coordination: home.backend.coordination!,
    instanceId,
    version,
    log,
    bufferedRows: () => buffer.status().rows,
  })
  const stamps = createStampSource({ clock, instanceNumber: registry.number })
  const buffer = createWriteBuffer({
    config: config.buffer,
    collections: COLLECTIONS.filter(({ buffered }) => buffered),
    storeOf: router.records,
    coordination,
    clock,
    log,
    onFlush: (...flush) => metrics.onFlush(...flush),
    onRows: (...rows) => metrics.onRows(...rows),
  })
  const storageBytes = new Map<string, number>()
  metrics = createMetrics({
    buffer() {
      const { rows, bytes, capacityRows, collections } = buffer.status()
      const nowMs = clock.nowMs()
      return {
        rows,
        bytes,
        capacityRows,
        collections: collections.map(({ oldestAtMs, ...figures }) => ({
          ...figures,
          oldestAgeSeconds: oldestAtMs === null ? 0 : Math.max(0, nowMs - oldestAtMs) / 1000,
        })),
      }
    },
    pools: () =>
      router.backends().map(({ backend, state }) => ({
        backend: backend.name,
        up: state() === 'up',
        ...(backend.pool?.() ?? { active: 0, idle: 0, waiting: 0, max: 0 }),
      })),
    storageBytes: () => [...storageBytes].map(([backend, bytes]) => ({ backend, bytes })),
  })

  /** Moving a collection to another backend moves no rows: whoever did so should hear of it. */
  async function warnOfRowsLeft(): Promise<void> {
    for (const [name, spec] of Object.entries(config.storage.backends)) {
      if (spec.type !== 'sqlite') continue
      const moved = COLLECTIONS.filter((collection) => config.storage.routes[collection.name] !== name)
      if (moved.length === 0) continue
      const { rowsLeftIn } = await import('./backends/sqlite/left_behind.ts')
      const rows = rowsLeftIn(spec.config.path, moved)
      if (Object.keys(rows).length > 0) {
        log.error('RECORDS WERE LEFT in an embedded store that these collections are no longer routed to', {
          meta: { backend: name, path: spec.config.path, rows },
        })
      }
    }
  }

  /** At first contact: the tables are there, the instance gets its number. */
  async function onPrepared(name: string): Promise<void> {
    if (role === 'serve' && monitors.get(name) === home) await registry.register()
  }

  function refusal(): AppError | null {
    if (phase === 'stopping')
      return new AppError('SHUTTING_DOWN', {
        detail: 'This instance is shutting down.',
        retryAfterSeconds: 1,
      })
    if (registry.registered()) return null
    return new AppError('NOT_READY', {
      detail: 'This instance has not reached its database yet.',
      retryAfterSeconds: 1,
    })
  }

  const translation = createTranslation({
    router,
    buffer,
    coordination,
    stamps,
    clock,
    log,
    instanceId,
    refusal,
    onWritten: (...written) => metrics.onWritten(...written),
    onRestore: (ok) => metrics.onRestore(ok),
    flushTimeoutMs: config.buffer.flush_timeout * 1000,
    restoreTimeoutMs: config.translation.restore_timeout * 1000 * STORE_SHARE,
    deleteMode: config.translation.delete_mode,
    exactCountLimit: config.translation.count_exact_limit,
    countKeepMs: config.translation.count_cache * 1000,
    retention: {
      enabled: config.retention.enabled,
      everyMs: config.retention.interval * 1000,
      completedDays: config.retention.completed_days,
      failedDays: config.retention.failed_days,
      deletedDays: config.retention.deleted_days,
      incompleteDays: config.retention.incomplete_days,
    },
  })
  const system = createSystem({
    version,
    instanceId,
    startedAtMs,
    nowMs: clock.nowMs,
    buffer: buffer.status,
    backends: () =>
      router.backends().map(({ backend, state, lastHealth }) => ({
        name: backend.name,
        type: backend.type,
        state: state(),
        latencyMs: lastHealth()?.latencyMs ?? null,
      })),
    ready() {
      if (phase === 'draining') return { ready: false, reason: 'This instance is about to shut down.' }
      const refused = refusal()
      return { ready: refused === null, reason: refused?.detail ?? null }
    },
    metrics: metrics.render,
    config: () => redactConfig(config),
  })
  const app = createApp({
    version,
    log,
    events: metrics,
    maxBodyBytes: config.service.max_body_bytes,
    slices: [translation, system],
  })
  const jobs = createJobRunner({ coordination, instanceId, jobs: translation.jobs, log })
  let sizing: ReturnType<typeof setInterval> | null = null

  async function measureStorage(): Promise<void> {
    for (const { backend, state } of router.backends()) {
      if (state() !== 'up' || !backend.records) continue
      try {
        storageBytes.set(backend.name, await backend.records.sizeBytes())
      } catch (error) {
        log.debug('size of storage not read', { meta: { backend: backend.name, error: messageOf(error) } })
      }
    }
  }

  const storedRows = () => buffer.status().collections.reduce((sum, { counts }) => sum + counts.stored, 0)

  async function signOff(): Promise<void> {
    try {
      await withDeadline(registry.signOff(), CLOSE_TIMEOUT_MS, () => new TypeError('not written in time'))
    } catch (error) {
      log.warn('sign-off not written', { meta: { error: messageOf(error) } })
    }
  }

  async function closeBackend(monitor: BackendMonitor): Promise<void> {
    monitor.stop()
    try {
      await withDeadline(monitor.backend.close(), CLOSE_TIMEOUT_MS, () => new TypeError('not closed in time'))
    } catch (error) {
      log.debug('backend not closed', { meta: { backend: monitor.backend.name, error: messageOf(error) } })
    }
  }

  const prepared = Promise.all([...monitors.values()].map((monitor) => monitor.prepared)).then(
    () => undefined,
  )
  prepared.catch(() => undefined) // `failed` tells of it too

  return {
    fetch: (request) => app.fetch(request),
    failed,
    prepared,

    start() {
      for (const monitor of monitors.values()) {
        monitor.prepared.then(measureStorage, fail)
        monitor.start()
      }
      if (role === 'migrate') return
      warnOfRowsLeft().catch((error) =>
        log.debug('embedded store not examined', { meta: { error: messageOf(error) } }),
      )
      registry.start()
      buffer.start()
      home.prepared.then(jobs.start, () => undefined) // `failed` tells of that
      sizing = setInterval(measureStorage, STORAGE_BYTES_EVERY_MS)
    },

    async shutdown(closeServer) {
      phase = 'draining'
      registry.setState('draining')
      await new Promise((resume) => setTimeout(resume, config.service.drain_grace * 1000))
      phase = 'stopping'
      if (sizing) clearInterval(sizing)
      const storedBefore = storedRows()
      const wholeMs = config.service.shutdown_timeout * 1000
      const endsAtMs = clock.nowMs() + wholeMs
      const timeoutMs = wholeMs - Math.min(LEAVE_MS, wholeMs / 4)
      const others = withDeadline(
        Promise.all([jobs.stop(), translation.settled()]),
        timeoutMs,
        () => new TypeError('work goes on'),
      )
      await Promise.all([
        buffer.drain(timeoutMs),
        // What a job, or a delete, has not finished is taken up by another instance, or at the next start.
        others.catch((error) => log.debug('background work left', { meta: { error: messageOf(error) } })),
      ])
      await closeServer?.(Math.max(0, endsAtMs - CLOSE_TIMEOUT_MS - clock.nowMs()))
      const rowsLeft = buffer.status().rows // a flush may have ended meanwhile
      buffer.stop()
      registry.stop()
      if (rowsLeft === 0) await signOff()
      for (const monitor of monitors.values()) await closeBackend(monitor)
      return { rowsLeft, rowsStored: storedRows() - storedBefore }
    },
  }
}

/** Coordination that fails at once while its backend is known to be down, and tells of outages. */
function guarded(monitor: BackendMonitor): Coordination {
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
