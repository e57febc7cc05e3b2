/** Puts the house together: config → backends → router → buffer → slices → jobs; closes them in reverse. */
import { createApp } from './app.ts'
import { openBackend, openJournals, warnOfJournalLeft, warnOfRowsLeft } from './backends/catalog.ts'
import type { Coordination } from './backends/coordination.ts'
import { type BackendMonitor, guardedCoordination, watchBackend } from './backends/monitor.ts'
import { createJournalRecovery } from './buffer/journal_recovery.ts'
import { createLedger } from './buffer/ledger.ts'
import { createStampSource } from './buffer/stamp_source.ts'
import { createWriteBuffer } from './buffer/write_buffer.ts'
import { createCensus } from './cluster/census.ts'
import { createDatabaseClock } from './cluster/clock.ts'
import { createCoverage } from './cluster/coverage.ts'
import { createInstanceRegistry } from './cluster/instances.ts'
import { createJobRunner } from './cluster/jobs.ts'
import { createReplayedRows } from './cluster/replayed.ts'
import { volumeIdOf } from './cluster/volume.ts'
import { COLLECTIONS } from './collections/catalog.ts'
import { createRouter } from './collections/router.ts'
import { translationSessions } from './collections/translation.ts'
import { type CloseServer, type Left, leave } from './compose/leave.ts'
import { metricSources } from './compose/metric_sources.ts'
import { openDoor } from './compose/open_door.ts'
import { type Config, redactConfig } from './config/mod.ts'
import type { RequestBindings } from './http/context.ts'
import { AppError, messageOf } from './lib/errors.ts'
import type { Logger } from './lib/log.ts'
import { pause } from './lib/retry.ts'
import { deadLetterRoutes } from './system/dead_letter_routes.ts'
import { createDeadLetterService } from './system/dead_letters.ts'
import { instanceRoutes } from './system/instance_routes.ts'
import { createSystem } from './system/mod.ts'
import { createMetrics, type Metrics } from './telemetry/metrics.ts'
import { createStorageSizes } from './telemetry/storage_sizes.ts'
import { createTranslation } from './translation/mod.ts'

export interface Service {
  fetch(request: Request, bindings?: RequestBindings): Response | Promise<Response>
  /** Whether callers must say who they are. */
  closed(): boolean
  /** Opens the backends and starts the timers; rejects `failed` where that can never succeed. */
  start(): void
  /** Rejects when the service cannot go on: a migration failed. */
  failed: Promise<never>
  /** Resolves once every backend was prepared: migrated, where that is configured. */
  prepared: Promise<void>
  /**
   * Stops accepting, stores what is buffered within the deadline, then lets `closeServer` answer what is under
   * way, while the backends are still there. Answers the rows that are left, and whether that is all there is:
   * `complete` = nothing of this instance is missing anywhere.
   */
  shutdown(closeServer?: CloseServer): Promise<Left>
}

interface ComposeOptions {
  config: Config
  instanceId: string
  version: string
  log: Logger
  /** `migrate` prepares the backends and takes no part in anything else. */
  role?: 'serve' | 'migrate'
}

/** The share of a request's time that its store may take: the answer is to be there in time too. */
const STORE_SHARE = 0.9
/** Longer than a database that is there takes to answer. */
const FIRST_LOOK_MS = 1000
const TAKEN = 'Another live process has the INSTANCE_ID of this one.'

export async function compose({
  config,
  instanceId,
  version,
  log,
  role = 'serve',
}: ComposeOptions): Promise<Service> {
  const startedAt = performance.now()
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
  const coordination: Coordination = guardedCoordination(home)
  const clock = createDatabaseClock({
    readDatabaseMs: () => home.backend.coordination!.now(),
    local: { nowMs: Date.now, monotonicMs: () => performance.now() },
    log,
  })
  const registry = createInstanceRegistry({
    coordination: home.backend.coordination!,
    instanceId,
    volume: role === 'serve' ? volumeIdOf(config.service.data_dir, log) : '',
    version,
    log,
    bufferedRows: () => buffer.status().rows,
    isUp: () => home.state() === 'up',
    async flush() {
      const reports = await buffer.flush()
      return {
        written: Object.fromEntries([...reports].map(([name, { written }]) => [name, written])),
        ok: ![...reports.values()].some(({ failure }) => failure),
      }
    },
  })
  const coverage = createCoverage({ coordination, instanceId, isTaken: registry.isTaken })
  const census = createCensus({ coordination, log })
  const stamps = createStampSource({ clock, instanceNumber: registry.number })
  const buffered = COLLECTIONS.filter((collection) => collection.buffered)
  const ledger = createLedger({
    collections: buffered,
    durability: config.buffer.journal,
    highWater: stamps.last,
    instanceNumber: () => (registry.registered() ? registry.number() : null),
    clockOffsetMs: clock.offsetMs,
    log,
  })
  const buffer = createWriteBuffer({
    config: config.buffer,
    collections: buffered,
    storeOf: router.records,
    coordination,
    ledger,
    clock,
    log,
    onFlush: (...flush) => metrics.onFlush(...flush),
  })
  /** Whether this instance's journal is held, or can't be for now. */
  const { promise: owned, resolve: own } = Promise.withResolvers<boolean>()
  const journals = { folder: `${config.service.data_dir}/journal`, instanceId }
  const replayedRows = createReplayedRows({ coordination })
  const recovery =
    config.buffer.journal === 'off' || role === 'migrate'
      ? null
      : createJournalRecovery({
          store: await openJournals({
            ...journals,
            durability: config.buffer.journal,
          }),
          ledger,
          buffer,
          collections: buffered,
          log,
          onUnusable: () => own(false),
          async onAdopted(id, rows) {
            await coordination.signOffInstance(id)
            await replayedRows.add(rows)
          },
        })
  let journalRead = recovery === null
  if (recovery === null) own(true)
  const sizes = createStorageSizes({ backends: router.backends, log })
  metrics = createMetrics(
    metricSources({
      buffer,
      ledger,
      census,
      clock,
      registry,
      backends: router.backends,
      storageBytes: sizes.all,
    }),
  )

  /** Whether the database was there, or was not within a moment: who is ready should be able to read too. */
  let looked = false

  /** At first contact: the tables are there, the instance gets its number. */
  async function onPrepared(name: string): Promise<void> {
    if (role === 'migrate' || monitors.get(name) !== home) return
    // Another process may be this instance: only who holds the journal speaks for it.
    if (await owned) await registry.register()
    await clock.sample()
  }

  function refusal(): AppError | null {
    if (phase === 'stopping')
      return new AppError('SHUTTING_DOWN', {
        detail: 'This instance is shutting down.',
        retryAfterSeconds: 1,
      })
    const notReady = (detail: string) => new AppError('NOT_READY', { detail, retryAfterSeconds: 1 })
    if (registry.isTaken()) return notReady(TAKEN)
    if (!journalRead) return notReady('This instance has not read its journal yet.')
    const contact = notReady('This instance has not reached its database yet.')
    if (!looked) return contact
    // Known from a life before, a number and the clock's offset will do.
    return registry.registered() && clock.offsetMs() !== null ? null : contact
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
    readTimeoutMs: config.translation.read_timeout * 1000 * STORE_SHARE,
    flushTimeoutMs: config.buffer.flush_timeout * 1000,
    restoreTimeoutMs: config.translation.restore_timeout * 1000 * STORE_SHARE,
    coverage,
    replayedRows: replayedRows.total,
    onRemoved: (kind, rows) => metrics.onRemoved(kind, rows),
    deleteMode: config.translation.delete_mode,
    repeatDeletesAfterMs: config.translation.repeat_deletes_after * 1000,
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
  const deadLetters = createDeadLetterService({
    coordination,
    collections: buffered,
    buffer,
    refusal,
    flushTimeoutMs: config.buffer.flush_timeout * 1000,
    log,
  })
  const system = createSystem({
    version,
    instanceId,
    uptimeMs: () => performance.now() - startedAt,
    nowMs: clock.nowMs,
    buffer: buffer.status,
    topSessions: buffer.topGroups,
    journal: ledger.status,
    instanceFault: () => (registry.isTaken() ? TAKEN : null),
    routes: [
      (routes) => deadLetterRoutes(routes, { deadLetters, collections: buffered }),
      instanceRoutes({ coordination, log, onForgotten: (rows) => metrics.onForgotten(rows) }),
    ],
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
  const { door, authenticator, addressOf } = await openDoor({ config, log, events: metrics })
  const app = createApp({
    version,
    log,
    events: metrics,
    addressOf,
    door,
    corsOrigins: config.service.cors_origins,
    tls: config.tls.cert_file !== null,
    bodyLimits: {
      maxBytes: config.service.max_body_bytes,
      maxTotalBytes: config.service.max_bodies_bytes,
      timeoutMs: config.service.client_timeout * 1000,
    },
    slices: [translation, system],
  })
  const jobs = createJobRunner({ coordination, instanceId, jobs: translation.jobs, log })

  /** What a life before left comes first; then the others may count on this instance. */
  async function takeUp(): Promise<void> {
    const whole = await recovery?.open((state) => {
      own(true)
      stamps.resume(state.highWater)
      if (state.instanceNumber !== null) registry.assume(state.instanceNumber)
      if (state.clockOffsetMs !== null) clock.assume(state.clockOffsetMs)
    })
    if (whole === false) return // stopped meanwhile: the rest stays where it is
    journalRead = true
    registry.start()
    recovery?.start()
    await home.prepared
    await replayedRows
      .add(recovery?.replayedRows() ?? 0)
      .catch((error) => log.warn('replayed rows not counted', { meta: { error: messageOf(error) } }))
  }

  const prepared = Promise.all([...monitors.values()].map((monitor) => monitor.prepared)).then(
    () => undefined,
  )
  prepared.catch(() => undefined) // `failed` tells of it too

  return {
    fetch: (request, bindings = {}) => app.fetch(request, bindings),
    closed: authenticator.required,
    failed,
    prepared,

    start() {
      for (const monitor of monitors.values()) {
        monitor.prepared.then(sizes.measure, fail)
        monitor.start()
      }
      if (role === 'migrate') return
      warnOfRowsLeft({ collections: COLLECTIONS, ...config.storage, log })
      authenticator.start()
      clock.start()
      buffer.start()
      sizes.start()
      census.start()
      takeUp().catch(fail)
      if (config.buffer.journal === 'off') warnOfJournalLeft({ ...journals, log, tell: ledger.tell })
      const look = () => {
        looked = true
      }
      home.prepared.then(look, look)
      setTimeout(look, FIRST_LOOK_MS)
      home.prepared.then(jobs.start, () => undefined) // `failed` tells of that
    },

    async shutdown(closeServer) {
      phase = 'draining'
      registry.setState('draining')
      await pause(config.service.drain_grace * 1000)
      phase = 'stopping'
      sizes.stop()
      census.stop()
      authenticator.stop()
      return leave({
        timeoutMs: config.service.shutdown_timeout * 1000,
        buffer,
        recovery,
        journalRead: () => journalRead,
        registry,
        settle: () => Promise.all([jobs.stop(), translation.settled()]),
        stopTimers() {
          buffer.stop()
          clock.stop()
          registry.stop()
          ledger.close()
        },
        monitors: monitors.values(),
        log,
        closeServer,
      })
    },
  }
}
