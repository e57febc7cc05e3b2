/** Puts the house together: config → backends → router → buffer → slices → jobs; closes them in reverse. */
import { createApp } from './app.ts'
import { openBackend, openJournals, warnOfJournalLeft, warnOfRowsLeft } from './backends/catalog.ts'
import type { Coordination } from './backends/coordination.ts'
import { type BackendMonitor, guardedCoordination, watchBackend } from './backends/monitor.ts'
import { heldBy } from './buffer/journal.ts'
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
import { COLLECTIONS } from './collections/catalog.ts'
import { createRouter } from './collections/router.ts'
import { translationSessions } from './collections/translation.ts'
import { type Config, redactConfig } from './config/mod.ts'
import { AppError, messageOf } from './lib/errors.ts'
import type { Logger } from './lib/log.ts'
import { pause, withDeadline } from './lib/retry.ts'
import { deadLetterRoutes } from './system/dead_letter_routes.ts'
import { createDeadLetterService } from './system/dead_letters.ts'
import { instanceRoutes } from './system/instance_routes.ts'
import { createSystem } from './system/mod.ts'
import { createMetrics, type Metrics } from './telemetry/metrics.ts'
import { createStorageSizes } from './telemetry/storage_sizes.ts'
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
   * way, while the backends are still there. Answers the rows that are left, and whether that is all there is:
   * `complete` = nothing of this instance is missing anywhere.
   */
  shutdown(
    closeServer?: (withinMs: number) => Promise<void>,
  ): Promise<{ complete: boolean; rowsLeft: number; rowsStored: number }>
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
  const coverage = createCoverage({ coordination, instanceId })
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
  metrics = createMetrics({
    buffer() {
      const { collections, ...whole } = buffer.status()
      const ageOf = (atMs: number | null) => (atMs === null ? 0 : Math.max(0, clock.nowMs() - atMs) / 1000)
      return {
        ...whole,
        collections: collections.map((one) => ({ ...one, oldestAgeSeconds: ageOf(one.oldestAtMs) })),
      }
    },
    journal() {
      const { failure, faults, sizeBytes } = ledger.status()
      return { failing: failure !== null, faults: faults.length, bytes: sizeBytes }
    },
    cluster: () => ({ instances: census.counts(), clockErrorMs: clock.errorMs() }),
    pools: () =>
      router.backends().map(({ backend, state }) => ({
        backend: backend.name,
        up: state() === 'up',
        ...(backend.pool?.() ?? { active: 0, idle: 0, waiting: 0, max: 0 }),
      })),
    storageBytes: sizes.all,
  })

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
    routes: [
      (routes) => deadLetterRoutes(routes, { deadLetters, collections: buffered }),
      instanceRoutes({ coordination }),
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
  const app = createApp({
    version,
    log,
    events: metrics,
    maxBodyBytes: config.service.max_body_bytes,
    slices: [translation, system],
  })
  const jobs = createJobRunner({ coordination, instanceId, jobs: translation.jobs, log })

  const storedRows = () => buffer.status().collections.reduce((sum, { counts }) => sum + counts.stored, 0)

  /** Taking leave of a store that is gone takes no longer than that. */
  async function briefly(what: string, leaving: Promise<void>): Promise<void> {
    try {
      await withDeadline(leaving, CLOSE_TIMEOUT_MS, () => new TypeError('not done in time'))
    } catch (error) {
      log.warn(`${what} failed`, { meta: { error: messageOf(error) } })
    }
  }

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
    fetch: (request) => app.fetch(request),
    failed,
    prepared,

    start() {
      for (const monitor of monitors.values()) {
        monitor.prepared.then(sizes.measure, fail)
        monitor.start()
      }
      if (role === 'migrate') return
      warnOfRowsLeft({ collections: COLLECTIONS, ...config.storage, log })
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
      const storedBefore = storedRows()
      const wholeMs = config.service.shutdown_timeout * 1000
      const endsAt = performance.now() + wholeMs
      const timeoutMs = wholeMs - Math.min(LEAVE_MS, wholeMs / 4)
      // What of these is not finished stays in its journal, is taken up by another instance, or at the next start.
      const others = withDeadline(
        Promise.all([recovery?.stop(), jobs.stop(), translation.settled()]),
        timeoutMs,
        () => new TypeError('work goes on'),
      ).catch((error) => log.debug('background work left', { meta: { error: messageOf(error) } }))
      await Promise.all([buffer.drain(timeoutMs), others])
      await closeServer?.(Math.max(0, endsAt - CLOSE_TIMEOUT_MS - performance.now()))
      // A flush may have ended meanwhile; rows of the journal that were not even read count as well.
      const rowsLeft = buffer.status().collections.reduce((sum, { counts }) => sum + heldBy(counts), 0)
      const complete = rowsLeft === 0 && journalRead
      buffer.stop()
      clock.stop()
      registry.stop()
      ledger.close()
      if (complete) await briefly('sign-off', registry.signOff())
      for (const monitor of monitors.values()) {
        monitor.stop()
        await briefly(`closing ${monitor.backend.name}`, monitor.backend.close())
      }
      return { complete, rowsLeft, rowsStored: storedRows() - storedBefore }
    },
  }
}
