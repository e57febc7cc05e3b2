/** Prometheus metrics: names of API.md §7.2 and ARCHITECTURE_V2 §8.1, and what REQUIREMENTS_V2 §6.3 lists. */
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client'
import { gauges, keptCounters, type MetricSources } from './gauges.ts'

export interface Metrics {
  onRequest(
    endpoint: string,
    method: string,
    status: number,
    durationSeconds: number,
    errorCode: string | null,
  ): void
  onFlush(collection: string, rows: number, durationMs: number): void
  onOperation(
    backend: string,
    operation: string,
    collection: string,
    durationMs: number,
    failure: string | null,
  ): void
  onWritten(collection: string, status: string, rows: number): void
  onRestore(ok: boolean): void
  /** Rows that retention removed, by kind. */
  onRemoved(kind: string, rows: number): void
  /** A dead instance that held so many rows is not waited for, nor shown, any more. */
  onForgotten(rows: number): void
  /** A caller who was not let in, by reason. */
  onRefused(reason: string): void
  /** A request past a rate limit, by limit. */
  onLimited(limit: string): void
  /** Text in Prometheus' exposition format. */
  render(): Promise<{ contentType: string; text: string }>
}

const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const STORAGE_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })

  const requests = new Counter({
    name: 'persistence_api_requests_total',
    help: 'Total API requests',
    labelNames: ['endpoint', 'method'],
    registers,
  })
  const durations = new Histogram({
    name: 'persistence_api_duration_seconds',
    help: 'API request duration',
    labelNames: ['endpoint', 'method'],
    buckets: REQUEST_BUCKETS,
    registers,
  })
  const errors = new Counter({
    name: 'persistence_api_errors_total',
    help: 'API requests answered with a problem',
    labelNames: ['endpoint', 'method', 'error_code'],
    registers,
  })
  const flushes = new Counter({ name: 'persistence_flush_total', help: 'Total flush operations', registers })
  const flushDurations = new Histogram({
    name: 'persistence_flush_duration_seconds',
    help: 'Duration of a flush of one batch',
    buckets: STORAGE_BUCKETS,
    registers,
  })
  const operations = new Counter({
    name: 'persistence_storage_operations_total',
    help: 'Operations of storage backends',
    labelNames: ['backend', 'operation'],
    registers,
  })
  const operationDurations = new Histogram({
    name: 'persistence_storage_duration_seconds',
    help: 'Duration of operations of storage backends',
    labelNames: ['backend', 'operation'],
    buckets: STORAGE_BUCKETS,
    registers,
  })
  const operationErrors = new Counter({
    name: 'persistence_storage_errors_total',
    help: 'Failed operations of storage backends',
    labelNames: ['backend', 'operation', 'kind'],
    registers,
  })
  const queries = new Counter({
    name: 'persistence_queries_total',
    help: 'Queries by type and collection',
    labelNames: ['type', 'collection'],
    registers,
  })
  const sessions = new Counter({
    name: 'persistence_sessions_total',
    help: 'Translation sessions accepted, by the status they were written with',
    labelNames: ['status'],
    registers,
  })
  const tasks = new Counter({
    name: 'persistence_tasks_total',
    help: 'Translation tasks accepted, by the status they were written with',
    labelNames: ['status'],
    registers,
  })
  const restores = new Counter({
    name: 'persistence_restores_total',
    help: 'Restores by result',
    labelNames: ['result'],
    registers,
  })
  const removed = new Counter({
    name: 'persistence_retention_removed_total',
    help: 'Rows that retention removed, by kind',
    labelNames: ['kind'],
    registers,
  })
  const refused = new Counter({
    name: 'persistence_auth_refused_total',
    help: 'Requests without a good credential, or without the scope that they need, by reason',
    labelNames: ['reason'],
    registers,
  })
  const limited = new Counter({
    name: 'persistence_rate_limited_total',
    help: 'Requests past a rate limit, by limit',
    labelNames: ['limit'],
    registers,
  })
  const forgotten = new Counter({
    name: 'persistence_instances_forgotten_total',
    help: 'Dead instances that were forgotten on request; those that held rows may have them in a journal that nobody reads',
    labelNames: ['rows'],
    registers,
  })
  flushes.inc(0)
  for (const rows of ['held', 'none']) forgotten.inc({ rows }, 0)
  for (const result of ['ok', 'failed']) restores.inc({ result }, 0)

  keptCounters(registers, sources)
  gauges(registers, sources)

  const written: Record<string, Counter<'status'>> = {
    translation_sessions: sessions,
    translation_tasks: tasks,
  }
  const QUERY_OPERATIONS = new Set([
    'read',
    'readMany',
    'query',
    'count',
    'countBy',
    'countByGroup',
    'snapshot',
  ])

  return {
    onRequest(endpoint, method, _status, durationSeconds, errorCode) {
      requests.inc({ endpoint, method })
      durations.observe({ endpoint, method }, durationSeconds)
      if (errorCode) errors.inc({ endpoint, method, error_code: errorCode })
    },
    onFlush(_collection, _rows, durationMs) {
      flushes.inc()
      flushDurations.observe(durationMs / 1000)
    },
    onOperation(backend, operation, collection, durationMs, failure) {
      operations.inc({ backend, operation })
      operationDurations.observe({ backend, operation }, durationMs / 1000)
      if (QUERY_OPERATIONS.has(operation) && collection) queries.inc({ type: operation, collection })
      if (failure) operationErrors.inc({ backend, operation, kind: failure })
    },
    onWritten: (collection, status, count) => written[collection]?.inc({ status }, count),
    onRestore: (ok) => restores.inc({ result: ok ? 'ok' : 'failed' }),
    onForgotten: (rows) => forgotten.inc({ rows: rows > 0 ? 'held' : 'none' }),
    onRemoved: (kind, count) => removed.inc({ kind: snake(kind) }, count),
    onRefused: (reason) => refused.inc({ reason }),
    onLimited: (limit) => limited.inc({ limit }),
    async render() {
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
  }
}

/** `parentlessTasks` → `parentless_tasks`. */
const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
