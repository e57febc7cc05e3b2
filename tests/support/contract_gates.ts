/**
 * A store whose writes wait until the test says what becomes of them, and a write buffer on it: a probe of
 * the buffer's own timing, not of a database.
 */
import { expect } from 'bun:test'
import { BackendError, type RecordStore } from '../../src/backends/backend.ts'
import type { Coordination, DeadLetter } from '../../src/backends/coordination.ts'
import type { BufferConfig } from '../../src/buffer/config.ts'
import { emptyCounts, heldBy, type JournalCounts, type OpenedJournal } from '../../src/buffer/journal.ts'
import { createLedger, type Ledger } from '../../src/buffer/ledger.ts'
import { type AcceptedRow, createWriteBuffer, type WriteBuffer } from '../../src/buffer/write_buffer.ts'
import type { Collection } from '../../src/collections/definition.ts'
import { erasedUpTo, merge, type Row } from '../../src/collections/row.ts'
import type { Stamp } from '../../src/collections/stamp.ts'
import type { Logger, LogLevel } from '../../src/lib/log.ts'
import { nextTurn } from '../../src/lib/turns.ts'
import { recordCollections } from './contract_backends.ts'
import { mergeByKey, plain, T0 } from './contract_rows.ts'
import { createMemoryCoordination, type MemoryCoordination } from './memory_coordination.ts'
import { createMemoryJournal, type MemoryJournal } from './memory_journal.ts'

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

/** A store whose writes wait at a gate; nothing but `write` and `erase` is offered. */
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

  /** Answers 0, all done: what is kept of a row is no row that was deleted. */
  async function erase(_: Collection, group: string, stamp: Stamp) {
    for (const [name, row] of stored) {
      if (row.key[0] !== group) continue
      const left = erasedUpTo(row, stamp)
      if (left) stored.set(name, left)
      else stored.delete(name)
    }
    return 0
  }

  return {
    records: { maxWriteBytes, write, erase } as unknown as RecordStore,
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
  expire_days: 30,
  dead_letters_per_session: 1000,
  max_dead_letters: 10_000,
}

/** A write buffer whose every neighbour is in the test's hands. */
export interface BufferUnderTest {
  buffer: WriteBuffer
  ledger: Ledger
  /** What it journals to; null without durability. */
  journal: MemoryJournal | null
  /** What was found when the journal was opened. */
  opened: OpenedJournal | null
  store: GatedStore
  neighbours: MemoryCoordination
  letters: DeadLetter[]
  /** While set, dead letters can't be written. */
  refuseLetters(failure: Error | null): void
  logs: { level: LogLevel; message: string }[]
  /** Rows by outcome, of all collections. */
  readonly told: JournalCounts
  flushed: { rows: number; durationMs: number }[]
  clock: { nowMs: number }
  /** Rows that the counts say are held, less those that are: it must be 0 at any time. */
  imbalance(): number
}

interface UnderTestOptions {
  config?: Partial<BufferConfig>
  collections?: readonly Collection[]
  store?: GatedStore
  storeOf?: (collection: Collection) => RecordStore
  coordination?: Coordination
  neighbours?: MemoryCoordination
  /** One that is shut; null for no durability. A new one unless told. */
  journal?: MemoryJournal | null
  /** Leaves the journal to the test. */
  unopened?: boolean
}

/** A buffer over gated stores; all collections share one. */
export function createBufferUnderTest(options: UnderTestOptions = {}): BufferUnderTest {
  const { collections = recordCollections, store = createGatedStore(), unopened = false } = options
  const neighbours = options.neighbours ?? createMemoryCoordination()
  const journal = options.journal === undefined ? createMemoryJournal() : options.journal
  const logs: BufferUnderTest['logs'] = []
  const flushed: BufferUnderTest['flushed'] = []
  const clock = { nowMs: T0 }
  const at = (level: LogLevel) => (message: string) => void logs.push({ level, message })
  const log: Logger = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  const ledger = createLedger({
    collections,
    durability: journal ? 'full' : 'off',
    highWater: () => 0n,
    instanceNumber: () => 1,
    clockOffsetMs: () => 0,
    log,
  })
  const buffer = createWriteBuffer({
    config: { ...CONFIG, ...options.config },
    collections,
    storeOf: options.storeOf ?? (() => store.records),
    coordination: options.coordination ?? neighbours.coordination,
    ledger,
    clock: { nowMs: () => clock.nowMs },
    log,
    onFlush: (_, rows, durationMs) => void flushed.push({ rows, durationMs }),
  })
  const opened = !unopened && journal ? journal.open() : null
  if (opened) ledger.use(journal!, opened)
  return {
    buffer,
    ledger,
    journal,
    opened,
    store,
    neighbours,
    letters: neighbours.letters,
    refuseLetters: (failure) => neighbours.fail('putDeadLetters', failure),
    logs,
    get told() {
      const sum = emptyCounts()
      for (const { counts } of buffer.status().collections) {
        for (const name of Object.keys(sum) as (keyof JournalCounts)[]) sum[name] += counts[name]
      }
      return sum
    },
    flushed,
    clock,
    imbalance: () =>
      buffer.status().collections.reduce((sum, { rows, counts }) => sum + heldBy(counts) - rows, 0),
  }
}

/**
 * That the journal holds what the buffer does: as many records as rows, at most `most` of a key, and merged by
 * key the same content. While commits fail it holds what was owed to it last instead.
 */
export function expectJournalled({ buffer, journal }: BufferUnderTest, most = 2): void {
  expect(journal!.violations).toEqual([])
  const records = [...journal!.records.values()]
  for (const { collection: name, rows } of buffer.status().collections) {
    const of = records.filter(({ collection }) => collection === name)
    expect(of.length, `records of ${name}`).toBe(rows)
    const perKey = Map.groupBy(of, ({ row }) => keyText(row.key))
    for (const [key, twins] of perKey) expect(twins.length, `records of ${key}`).toBeLessThanOrEqual(most)
    const collection = recordCollections.find((one) => one.name === name)!
    const byKey = (rows: readonly Row[]) =>
      Object.fromEntries(rows.map((row) => [keyText(row.key), plain(collection, row)]))
    expect(byKey(mergeByKey(of.map(({ row }) => row)))).toEqual(byKey(buffer.all(collection)))
  }
}

/** Rows as a request hands them over. */
export function accepted(rows: readonly Row[], bytes = 400): AcceptedRow[] {
  return rows.map((row) => ({ row, bytes, items: 1 }))
}

/** Lets everything happen that needs no timer: turns of the event loop, for the journal, and what follows them. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    for (let i = 0; i < 100; i++) await Promise.resolve()
    await nextTurn()
  }
}
