/**
 * A store whose writes wait until the test says what becomes of them, and a write buffer on it: a probe of
 * the buffer's own timing, not of a database.
 */
import { BackendError, type RecordStore } from '../../src/backends/backend.ts'
import type { Coordination, DeadLetter } from '../../src/backends/coordination.ts'
import {
  type AcceptedRow,
  type BufferConfig,
  createWriteBuffer,
  type RowOutcome,
  type WriteBuffer,
} from '../../src/buffer/write_buffer.ts'
import type { Collection } from '../../src/collections/definition.ts'
import { merge, type Row } from '../../src/collections/row.ts'
import type { LogLevel } from '../../src/lib/log.ts'
import { recordCollections } from './contract_backends.ts'
import { T0 } from './contract_rows.ts'

/** A write that has begun. */
export interface PendingWrite {
  collection: string
  rows: readonly Row[]
  /** Stores all rows but those at `refused`, and answers. */
  store(refused?: readonly number[]): void
  /** Fails without storing anything; an outage unless told. */
  fail(error?: Error): void
  /** Stores all rows, but the answer is lost. */
  storeUnheard(): void
}

/** A store behind gates. */
export interface GatedStore {
  records: RecordStore
  /** Writes that wait, the oldest first. */
  pending: PendingWrite[]
  /** Rows of every write that began. */
  writes: (readonly Row[])[]
  /** What is stored, by key. */
  stored: Map<string, Row>
  /** The most writes that were under way at once. */
  mostAtOnce(): number
  /** From now on every write that waits, and every one to come, is stored at once. */
  open(): void
  close(): void
}

export const outage = () => new BackendError('outage', 'GATE', 'the gate is shut')
export const keyText = (key: readonly string[]) => key.join('/')

/** A store whose writes wait at a gate; nothing but `write` is offered. */
export function createGatedStore(maxWriteBytes = 1_000_000): GatedStore {
  const pending: PendingWrite[] = []
  const writes: (readonly Row[])[] = []
  const stored = new Map<string, Row>()
  let mostAtOnce = 0
  let isOpen = false

  function keep(rows: readonly Row[], refused: readonly number[]): void {
    for (const [index, row] of rows.entries()) {
      if (refused.includes(index)) continue
      const held = stored.get(keyText(row.key))
      stored.set(keyText(row.key), held ? merge(held, row) : row)
    }
  }

  async function write(collection: Collection, rows: readonly Row[]) {
    const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<RecordStore['write']>>>()
    const leave = () => pending.splice(pending.indexOf(one), 1)
    const one: PendingWrite = {
      collection: collection.name,
      rows,
      store(refused = []) {
        keep(rows, refused)
        leave()
        resolve({ refused: refused.map((index) => ({ index, code: '1406', reason: 'refused' })) })
      },
      fail(error = outage()) {
        leave()
        reject(error)
      },
      storeUnheard() {
        keep(rows, [])
        one.fail()
      },
    }
    writes.push(rows)
    pending.push(one)
    mostAtOnce = Math.max(mostAtOnce, pending.length)
    if (isOpen) one.store()
    return promise
  }

  return {
    records: { maxWriteBytes, write } as unknown as RecordStore,
    pending,
    writes,
    stored,
    mostAtOnce: () => mostAtOnce,
    open() {
      isOpen = true
      for (const one of [...pending]) one.store()
    },
    close() {
      isOpen = false
    },
  }
}

/** The documents' defaults, but small. */
const CONFIG: BufferConfig = {
  max_buffer_size: 1000,
  flush_interval: 30,
  max_rows: 10_000,
  max_bytes: 100_000_000,
  flush_bytes: 10_000_000,
  min_batch_rows: 1,
  max_batch_rows: 5000,
  batch_step_rows: 1,
  slow_flush_ms: 2000,
  fast_flush_ms: 1,
  flush_connections: 1,
}

/** A write buffer whose every neighbour is in the test's hands. */
export interface BufferUnderTest {
  buffer: WriteBuffer
  store: GatedStore
  letters: DeadLetter[]
  /** While set, dead letters can't be written. */
  refuseLetters(failure: Error | null): void
  logs: { level: LogLevel; message: string }[]
  /** Rows by outcome, as the events told. */
  told: Record<RowOutcome, number>
  flushed: { rows: number; durationMs: number }[]
  clock: { nowMs: number }
  /** accepted − (stored + merged + voided + dead-lettered + held), which must be 0 at any time. */
  imbalance(): number
}

/** A buffer over gated stores; all collections share one. */
export function createBufferUnderTest(
  options: {
    config?: Partial<BufferConfig>
    collections?: readonly Collection[]
    store?: GatedStore
    storeOf?: (collection: Collection) => RecordStore
    coordination?: Coordination
  } = {},
): BufferUnderTest {
  const store = options.store ?? createGatedStore()
  const letters: DeadLetter[] = []
  const logs: BufferUnderTest['logs'] = []
  const told = { accepted: 0, merged: 0, stored: 0, voided: 0, dead_lettered: 0 }
  const flushed: BufferUnderTest['flushed'] = []
  const clock = { nowMs: T0 }
  let refusal: Error | null = null
  const at = (level: LogLevel) => (message: string) => void logs.push({ level, message })
  const coordination = {
    async putDeadLetters(put: readonly DeadLetter[]) {
      if (refusal) throw refusal
      letters.push(...put)
    },
  } as unknown as Coordination
  const buffer = createWriteBuffer({
    config: { ...CONFIG, ...options.config },
    collections: options.collections ?? recordCollections,
    storeOf: options.storeOf ?? (() => store.records),
    coordination: options.coordination ?? coordination,
    clock: { nowMs: () => clock.nowMs },
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    onFlush: (_, rows, durationMs) => void flushed.push({ rows, durationMs }),
    onRows: (_, outcome, rows) => {
      told[outcome] += rows
    },
  })
  return {
    buffer,
    store,
    letters,
    refuseLetters(failure) {
      refusal = failure
    },
    logs,
    told,
    flushed,
    clock,
    imbalance() {
      const { collections } = buffer.status()
      return collections.reduce(
        (sum, { rows, counts }) =>
          sum +
          counts.accepted -
          (counts.stored + counts.merged + counts.voided + counts.dead_lettered + rows),
        0,
      )
    },
  }
}

/** Rows as a request hands them over. */
export function accepted(rows: readonly Row[], bytes = 400): AcceptedRow[] {
  return rows.map((row) => ({ row, bytes, items: 1 }))
}

/** Lets everything happen that needs no timer. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 100; i++) await Promise.resolve()
}
