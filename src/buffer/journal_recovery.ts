/** At the start: what this instance's journal holds comes back, and what dead instances left here is taken over. */
import type { Collection } from '../collections/definition.ts'
import { memoryOf, withSlots } from '../collections/row.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { pause } from '../lib/retry.ts'
import { nextTurn } from '../lib/turns.ts'
import {
  emptyCounts,
  type Journal,
  type JournalCounts,
  JournalError,
  type JournalRecord,
  type JournalState,
  type JournalStore,
  type OpenedJournal,
} from './journal.ts'
import type { Ledger } from './ledger.ts'
import type { WriteBuffer } from './write_buffer.ts'

export interface JournalRecovery {
  /**
   * Opens this instance's journal, and loads it back; tried again while the disk refuses. `begun` is told what
   * outlived the restart before the rows come. False where `stop` came before all was read. Throws JournalError
   * `locked`: another process is this instance.
   */
  open(begun: (state: JournalState) => void): Promise<boolean>
  /** Rows that came back at this start. */
  replayedRows(): number
  /** Takes over journals whose owners are gone, from now on, as room allows. */
  start(): void
  stop(): Promise<void>
}

interface RecoveryOptions {
  store: JournalStore
  ledger: Ledger
  buffer: WriteBuffer
  collections: readonly Collection[]
  log: Logger
  /** This instance's journal can't be opened for now; it is tried again. */
  onUnusable(): void
  /** Everything of that instance is here now: nobody needs to wait for it. */
  onAdopted(instanceId: string, rows: number): Promise<void>
}

const PAGE_ROWS = 1000
/** A predecessor may be about to end, or somebody may just be looking whether it is dead. */
const LOCK_ATTEMPTS = 25
const LOCK_PAUSE_MS = 200
/** Of rows that are taken over at once. */
const PART_BYTES = 2 ** 20
const DISK_PAUSE_MS = 5000
const ADOPT_EVERY_MS = 30_000

export function createJournalRecovery(options: RecoveryOptions): JournalRecovery {
  const { store, ledger, buffer, log } = options
  const byName = new Map(options.collections.map((collection) => [collection.name, collection]))
  let replayed = 0
  let timer: ReturnType<typeof setInterval> | null = null
  let adopting: Promise<void> | null = null
  let stopped = false
  /** Rows that were taken over from instances of which that is not told yet. */
  const untold = new Map<string, number>()

  /** Instances whose losses are counted here, and may be counted in their own journal as well. */
  const counted = new Set<string>()

  /** Dead instances of which the others know that nothing is left of them here. */
  const signedOff = new Set<string>()

  async function openOwn(): Promise<OpenedJournal | null> {
    let locked = 0
    while (!stopped) {
      try {
        return await store.own.openInTurns()
      } catch (error) {
        if (!(error instanceof JournalError)) throw error
        if (error.kind === 'locked' && ++locked >= LOCK_ATTEMPTS) throw error
        if (error.kind !== 'locked') {
          ledger.fail(error.message)
          options.onUnusable()
          log.error('the journal cannot be opened: nothing is accepted', { meta: { error: error.message } })
        }
        await pause(error.kind === 'locked' ? LOCK_PAUSE_MS : DISK_PAUSE_MS)
      }
    }
    return null
  }

  function tellOf(instance: string, { faults, lostRows }: OpenedJournal): void {
    for (const fault of faults) log.error('the journal is damaged', { meta: { instance, fault } })
    if (lostRows === 0) return
    log.error('rows that had been accepted are lost', { meta: { instance, rows: lostRows } })
  }

  /** A journal's records by collection, in pages; those of collections that this version lacks stay where they are. */
  async function* pages(journal: Journal): AsyncIterable<[Collection, JournalRecord[]][]> {
    let after = 0
    while (!stopped) {
      const records = journal.read(after, PAGE_ROWS)
      if (records.length === 0) return
      after = records.at(-1)!.id
      const known = Map.groupBy(records, ({ collection }) => collection)
      yield [...known].flatMap(([name, of]) => {
        const collection = byName.get(name)
        // A later version's rows have fields that this one would lose.
        const usable = collection ? of.filter(({ row }) => row.values.length <= collection.slots.length) : []
        if (usable.length < of.length) {
          log.error('records of another version stay in the journal', {
            meta: { collection: name, records: of.length - usable.length },
          })
        }
        if (!collection || usable.length === 0) return []
        const rows = usable.map((record) => ({ ...record, row: withSlots(record.row, collection) }))
        return [[collection, rows] as [Collection, JournalRecord[]]]
      })
      await nextTurn()
    }
  }

  /**
   * Nobody looks at a dead instance's figures any more: what it has lost is counted here from now on. Here first:
   * killed in between, it is counted twice, which is better than not at all.
   */
  async function takeLosses(journal: Journal, state: JournalState, counts: Map<string, JournalCounts>) {
    const id = journal.instanceId
    const losses = [...counts].filter(([name, { lost }]) => lost > 0 && byName.has(name))
    if (losses.length === 0 || ledger.status().failure !== null) return
    if (!counted.has(id)) {
      for (const [name, { lost }] of losses)
        ledger.note(byName.get(name)!, { counts: { transferred_in: lost, lost } })
      counted.add(id)
      await ledger.settled()
      if (ledger.status().failure !== null) return // the next round goes on
    }
    for (const [name, of] of losses)
      counts.set(name, { ...of, lost: 0, transferred_out: of.transferred_out + of.lost })
    journal.commit({ put: [], remove: [], state: { ...state, counts: Object.fromEntries(counts) } })
    counted.delete(id)
  }

  async function adopt(journal: Journal): Promise<void> {
    if (buffer.room() === 0) return // its owner may want it before there is any
    let opened: OpenedJournal
    try {
      opened = await journal.openInTurns()
    } catch (error) {
      if (error instanceof JournalError && error.kind === 'locked') return // its owner lives
      throw error
    }
    try {
      tellOf(journal.instanceId, opened)
      for (const fault of opened.faults) ledger.tell(`${journal.instanceId}: ${fault}`)
      const { state } = opened
      const id = journal.instanceId
      const counts = new Map(Object.entries(state.counts))
      await takeLosses(journal, state, counts)
      for await (const page of pages(journal)) {
        for (const [collection, records] of page) {
          let left = records.length
          for await (const taken of takeAll(collection, records)) {
            left -= taken.length
            const of = counts.get(collection.name) ?? emptyCounts()
            counts.set(collection.name, { ...of, transferred_out: of.transferred_out + taken.length })
            journal.commit({
              put: [],
              remove: taken.map(({ id }) => id),
              state: { ...state, counts: Object.fromEntries(counts) },
            })
            untold.set(id, (untold.get(id) ?? 0) + taken.length)
          }
          if (left > 0) return // the next round goes on
        }
      }
      const rows = untold.get(id)
      // One that held nothing is missed as little, which needs to be said once.
      if (stopped || (rows === undefined && (opened.records > 0 || signedOff.has(id)))) return
      await options.onAdopted(id, rows ?? 0)
      signedOff.add(id)
      untold.delete(id)
      if (rows === undefined) return
      log.info('took over the journal of a dead instance', { meta: { instance: id, rows } })
    } finally {
      journal.close()
    }
  }

  /**
   * Takes them in, as many at a time as there is room for. Ends early where there is none, or when stopped: the
   * lock is not kept for the sake of waiting, since the journal's owner may want to start.
   */
  async function* takeAll(
    collection: Collection,
    records: readonly JournalRecord[],
  ): AsyncIterable<JournalRecord[]> {
    let left = records
    while (left.length > 0 && !stopped) {
      const part = partOf(left, buffer.room())
      if (part.length === 0) return
      const rows = part.map(({ row, acceptedAtMs }) => ({ row, bytes: memoryOf(row), acceptedAtMs }))
      try {
        await buffer.takeIn(collection, rows, { replayed: part[0]!.replayed })
      } catch (error) {
        if (error instanceof AppError) return // no room after all, or no journal: both pass
        throw error
      }
      left = left.slice(part.length)
      yield part
    }
  }

  async function adoptAll(): Promise<void> {
    for (const journal of store.others()) {
      if (stopped) return
      try {
        await adopt(journal)
      } catch (error) {
        log.warn('the journal of another instance cannot be taken over', {
          meta: { instance: journal.instanceId, error: messageOf(error) },
        })
      }
    }
  }

  function adoptSoon(): void {
    adopting ??= adoptAll().finally(() => {
      adopting = null
    })
  }

  return {
    async open(begun) {
      const opened = await openOwn()
      if (!opened) return false
      tellOf(store.own.instanceId, opened)
      begun(opened.state)
      ledger.use(store.own, opened)
      for await (const page of pages(store.own)) {
        for (const [collection, records] of page) {
          buffer.reload(collection, records)
          replayed += records.length
        }
      }
      await ledger.settled()
      ledger.loaded()
      if (replayed > 0) log.info('rows came back from the journal', { meta: { rows: replayed } })
      return !stopped
    },
    replayedRows: () => replayed,
    start() {
      adoptSoon()
      timer ??= setInterval(adoptSoon, ADOPT_EVERY_MS)
    },
    async stop() {
      stopped = true
      if (timer) clearInterval(timer)
      await adopting
    },
  }
}

/** The first of the records that may be taken at once: all replayed or none, so many rows, and not too many bytes. */
function partOf(records: readonly JournalRecord[], maxRows: number): JournalRecord[] {
  let bytes = 0
  const end = records.findIndex(({ row, replayed }, i) => {
    bytes += memoryOf(row)
    return i >= maxRows || replayed !== records[0]!.replayed || (i > 0 && bytes > PART_BYTES)
  })
  return records.slice(0, end < 0 ? records.length : end)
}
