/** Prometheus metrics: names of API.md §7.2 and ARCHITECTURE_V2 §8.1, and what REQUIREMENTS_V2 §6.3 lists. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export interface BufferFigures {
  rows: number
  bytes: number
  capacityRows: number
  collections: {
    collection: string
    rows: number
    bytes: number
    oldestAgeSeconds: number
    batchRows: number
  }[]
}

export interface PoolFigures {
  backend: string
  up: boolean
  active: number
  idle: number
  waiting: number
  max: number
}

/** Where gauges are read from when they are scraped. */
export interface MetricSources {
  buffer(): BufferFigures
  pools(): PoolFigures[]
  /** Bytes of each backend; may be a little old. */
  storageBytes(): { backend: string; bytes: number }[]
}

export interface Metrics {
  onRequest(
    endpoint: string,
    method: string,
    status: number,
    durationSeconds: number,
    errorCode: string | null,
  ): void
  onFlush(collection: string, rows: number, durationMs: number): void
  onRows(collection: string, outcome: string, rows: number): void
  onOperation(
    backend: string,
    operation: string,
    collection: string,
    durationMs: number,
    failure: string | null,
  ): void
  onWritten(collection: string, status: string, rows: number): void
  onRestore(ok: boolean): void
  /** Text in Prometheus' exposition format. */
  render(): Promise<{ contentType: string; text: string }>
}

/** What API.md calls the collections in `persistence_buffer_size`. */
const BUFFER_TYPES: Record<string, string> = { translation_sessions: 'session', translation_tasks: 'task' }

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
  const rows = new Counter({
    name: 'persistence_rows_total',
    help: 'Rows by what became of them: accepted, merged, stored, voided, dead_lettered',
    labelNames: ['collection', 'outcome'],
    registers,
  })
  const loss = new Counter({
    name: 'persistence_data_loss_total',
    help: 'Accepted rows that were lost',
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
  loss.inc(0)
  flushes.inc(0)
  for (const result of ['ok', 'failed']) restores.inc({ result }, 0)

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
    onRows: (collection, outcome, count) => rows.inc({ collection, outcome }, count),
    onOperation(backend, operation, collection, durationMs, failure) {
      operations.inc({ backend, operation })
      operationDurations.observe({ backend, operation }, durationMs / 1000)
      if (QUERY_OPERATIONS.has(operation) && collection) queries.inc({ type: operation, collection })
      if (failure) operationErrors.inc({ backend, operation, kind: failure })
    },
    onWritten: (collection, status, count) => written[collection]?.inc({ status }, count),
    onRestore: (ok) => restores.inc({ result: ok ? 'ok' : 'failed' }),
    async render() {
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
  }
}

function gauges(registers: Registry[], sources: MetricSources): void {
  const gauge = (
    name: string,
    help: string,
    labelNames: string[],
    collect: (set: (labels: Record<string, string>, value: number) => void) => void,
  ) => {
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset()
        collect((labels, value) => this.set(labels, value))
      },
    })
  }
  const each =
    (of: (figures: BufferFigures['collections'][number]) => number) =>
    (set: (labels: Record<string, string>, value: number) => void) => {
      for (const figures of sources.buffer().collections)
        set({ type: BUFFER_TYPES[figures.collection] ?? figures.collection }, of(figures))
    }
  gauge(
    'persistence_buffer_size',
    'Current buffer size',
    ['type'],
    each(({ rows }) => rows),
  )
  gauge(
    'persistence_buffer_bytes',
    'Bytes in the buffer',
    ['type'],
    each(({ bytes }) => bytes),
  )
  gauge(
    'persistence_buffer_oldest_age_seconds',
    'Age of the oldest row that is not stored yet',
    ['type'],
    each(({ oldestAgeSeconds }) => oldestAgeSeconds),
  )
  gauge(
    'persistence_flush_batch_rows',
    'Current size of a batch, which adapts',
    ['type'],
    each(({ batchRows }) => batchRows),
  )
  gauge('persistence_buffer_capacity_rows', 'Hard limit of the buffer in rows', [], (set) =>
    set({}, sources.buffer().capacityRows),
  )
  gauge('persistence_buffer_usage_ratio', 'Buffered rows as a share of the hard limit', [], (set) => {
    const { rows, capacityRows } = sources.buffer()
    set({}, rows / capacityRows)
  })
  gauge('persistence_backend_up', 'Whether the backend answers', ['backend'], (set) => {
    for (const { backend, up } of sources.pools()) set({ backend }, up ? 1 : 0)
  })
  gauge(
    'persistence_pool_connections',
    'Connections of a backend, and callers that wait for one',
    ['backend', 'state'],
    (set) => {
      for (const pool of sources.pools()) {
        for (const state of ['active', 'idle', 'waiting'] as const)
          set({ backend: pool.backend, state }, pool[state])
      }
    },
  )
  gauge('persistence_pool_usage_ratio', 'Connections in use as a share of the pool', ['backend'], (set) => {
    for (const { backend, active, max } of sources.pools()) if (max > 0) set({ backend }, active / max)
  })
  gauge('persistence_storage_bytes', 'Bytes that a backend occupies', ['backend'], (set) => {
    for (const { backend, bytes } of sources.storageBytes()) set({ backend }, bytes)
  })
}
