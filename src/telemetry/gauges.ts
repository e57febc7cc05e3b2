/** Metrics that are read where they live, when they are scraped. */
import { Counter, Gauge, type Registry } from 'prom-client'

export interface BufferFigures {
  rows: number
  bytes: number
  capacityRows: number
  collections: {
    collection: string
    rows: number
    bytes: number
    /** Rows that a flush is writing, and refused ones that no dead letter may hold. */
    inFlight: number
    parked: number
    oldestAgeSeconds: number
    batchRows: number
    drainRate: number
    /** Why the last flush failed; null where it did not. */
    failure: string | null
    /** Where rows came from and went, ever since the journal began. */
    counts: Readonly<Record<string, number>>
  }[]
}

export interface JournalFigures {
  failing: boolean
  faults: number
  bytes: number
}

export interface ClusterFigures {
  /** Instances by state, as of a moment ago. */
  instances: Readonly<Record<string, number>>
  /** Estimated error of the clock against the database's; null before the first contact. */
  clockErrorMs: number | null
  /** Whether another live process has this instance's id. */
  isTaken: boolean
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
  journal(): JournalFigures
  cluster(): ClusterFigures
  pools(): PoolFigures[]
  /** Bytes of each backend; may be a little old. */
  storageBytes(): { backend: string; bytes: number }[]
}

/** What API.md calls the collections in `persistence_buffer_size`. */
const BUFFER_TYPES: Record<string, string> = { translation_sessions: 'session', translation_tasks: 'task' }

/** Counters that the journal keeps: they go on where they were before a restart. */
export function keptCounters(registers: Registry[], sources: MetricSources): void {
  new Counter({
    name: 'persistence_rows_total',
    help: 'Rows by where they came from and what became of them: accepted, transferred_in, merged, stored, voided, dead_lettered, transferred_out, lost',
    labelNames: ['collection', 'outcome'],
    registers,
    collect() {
      this.reset()
      for (const { collection, counts } of sources.buffer().collections) {
        for (const [outcome, rows] of Object.entries(counts)) this.inc({ collection, outcome }, rows)
      }
    },
  })
  new Counter({
    name: 'persistence_data_loss_total',
    help: 'Accepted rows that were lost: records of the journal that could not be read any more',
    registers,
    collect() {
      this.reset()
      this.inc(sources.buffer().collections.reduce((sum, { counts }) => sum + (counts.lost ?? 0), 0))
    },
  })
}

export function gauges(registers: Registry[], sources: MetricSources): void {
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
  gauge(
    'persistence_buffer_in_flight_rows',
    'Rows that a flush is writing',
    ['type'],
    each(({ inFlight }) => inFlight),
  )
  gauge(
    'persistence_buffer_parked_rows',
    'Refused rows that stay buffered: their session has too many dead letters, or they are too large for one',
    ['type'],
    each(({ parked }) => parked),
  )
  gauge(
    'persistence_flush_failing',
    'Whether the last flush failed',
    ['type'],
    each(({ failure }) => (failure === null ? 0 : 1)),
  )
  gauge(
    'persistence_drain_rows_per_second',
    'Rows a second that recent flushes stored',
    ['type'],
    each(({ drainRate }) => drainRate),
  )
  gauge(
    'persistence_journal_failing',
    'Whether the journal takes no rows: writes are answered 503',
    [],
    (set) => set({}, sources.journal().failing ? 1 : 0),
  )
  gauge('persistence_journal_faults', 'Damages of the journal that were found at the start', [], (set) =>
    set({}, sources.journal().faults),
  )
  gauge('persistence_journal_bytes', 'Bytes of the journal', [], (set) => set({}, sources.journal().bytes))
  gauge(
    'persistence_instances',
    'Instances by state; the journal of a dead or lost one may hold rows that are stored nowhere else',
    ['state'],
    (set) => {
      for (const [state, count] of Object.entries(sources.cluster().instances)) set({ state }, count)
    },
  )
  gauge(
    'persistence_instance_id_taken',
    'Whether another live process has the INSTANCE_ID of this one, which accepts nothing then',
    [],
    (set) => set({}, sources.cluster().isTaken ? 1 : 0),
  )
  gauge(
    'persistence_clock_error_seconds',
    'How far the clock may be off the one of the database',
    [],
    (set) => {
      const { clockErrorMs } = sources.cluster()
      if (clockErrorMs !== null) set({}, clockErrorMs / 1000)
    },
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
