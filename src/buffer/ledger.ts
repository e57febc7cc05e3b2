/**
 * The ledger: every change of what the buffer holds, with the counts of where rows went, goes into the
 * journal here, in one commit for all requests of a turn of the event loop. Without a journal it only counts.
 */
import type { Collection } from '../collections/definition.ts'
import type { Stamp } from '../collections/stamp.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { nextTurn } from '../lib/turns.ts'
import {
  emptyCounts,
  heldBy,
  type Journal,
  type JournalCounts,
  JournalError,
  type JournalRecord,
  type OpenedJournal,
} from './journal.ts'
import type { Entry } from './partition.ts'

/** Where a row came from, or went. */
export type RowOutcome = keyof JournalCounts

/** Rows that wait to be accepted: taken in when their turn comes, and taken back where the journal fails. */
export interface Intake {
  /** Takes the rows into memory; answers the entries that hold them now, and what to add to the counts. */
  take(): { entries: readonly Entry[]; counts: Partial<Record<RowOutcome, number>> }
  takeBack(): void
}

export interface JournalStatus {
  durability: 'full' | 'normal' | 'off'
  /** Records of a life before are being read: the counts know of more rows than the buffer. */
  loading: boolean
  /** Why nothing can be accepted, in words; null where all is well. */
  failure: string | null
  /** Damage that was found at the start. */
  faults: readonly string[]
  sizeBytes: number
}

export interface Ledger {
  /** Resolves when the rows are safe. Throws JOURNAL_UNAVAILABLE; nothing was accepted then. */
  accept(collection: Collection, intake: Intake): Promise<void>
  /** Something else happened to rows that are held: it follows with the next commit, whatever becomes of that. */
  note(collection: Collection, change: Note): void
  /** Resolves when everything noted so far is in the journal, or has failed to get there. */
  settled(): Promise<void>
  nextRecordId(): number
  counts(collection: Collection): Readonly<JournalCounts>
  /** Begins to write to a journal that was opened; its counts go on. */
  use(journal: Journal, opened: OpenedJournal): void
  /** Its records are all in the buffer: counts and rows agree from now on. */
  loaded(): void
  /** Something is wrong that an operator should see; what is accepted is safe nonetheless. */
  tell(fault: string): void
  /** The journal can't be opened: nothing is accepted. */
  fail(reason: string): void
  status(): JournalStatus
  /** To be called now and then: a journal that nothing was written to since, and that is empty, gives its room back. */
  rest(): void
  /** What is still owed to the journal is written, if it can be. */
  close(): void
}

export interface Note {
  /** Entries whose record has another content now. */
  changed?: readonly Entry[]
  /** Entries whose record is done with. */
  removed?: readonly Entry[]
  counts?: Partial<Record<RowOutcome, number>>
}

interface LedgerOptions {
  collections: readonly Collection[]
  durability: 'full' | 'normal' | 'off'
  /** What outlives a restart besides the rows. */
  highWater(): Stamp
  instanceNumber(): number | null
  clockOffsetMs(): number | null
  log: Logger
}

interface Waiting {
  collection: Collection
  intake: Intake
  done: PromiseWithResolvers<void>
}

const RETRY_AFTER_SECONDS = 2
/** An empty journal keeps this much: it is used again, and giving it back takes time. */
const KEPT_BYTES = 64 * 1024 * 1024

export function createLedger(options: LedgerOptions): Ledger {
  const { durability, log } = options
  const counts = new Map(options.collections.map(({ name }) => [name, emptyCounts()]))
  let journal: Journal | null = null
  let loading = false
  let failure: string | null = durability === 'off' ? null : 'The journal is not open yet.'
  let faults: readonly string[] = []
  let lastId = 0
  const waiting: Waiting[] = []
  /** What happened, and is not in the journal yet. */
  const dirty = new Map<Entry, string>()
  let removed: number[] = []
  let turn: Promise<void> | null = null
  let hasWritten = true

  const unavailable = () =>
    new AppError('JOURNAL_UNAVAILABLE', {
      detail: 'What is accepted now could not be kept safe; nothing of this request was accepted.',
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    })

  function tally(collection: string, added: Partial<Record<RowOutcome, number>>, sign = 1): void {
    const of = counts.get(collection)!
    for (const [outcome, rows] of Object.entries(added)) of[outcome as RowOutcome] += rows * sign
  }

  const recordOf = (entry: Entry, collection: string): JournalRecord => ({
    id: entry.recordId,
    collection,
    row: entry.row,
    acceptedAtMs: entry.acceptedAtMs,
    replayed: entry.replayed,
  })

  const isEmpty = () => [...counts.values()].every((of) => heldBy(of) === 0)

  /** Writes what is owed; throws what the journal throws. */
  function write(to: Journal): void {
    hasWritten = true
    const done = new Set(removed)
    const put: JournalRecord[] = []
    for (const [entry, collection] of dirty) {
      if (!done.has(entry.recordId)) put.push(recordOf(entry, collection))
    }
    to.commit({
      put,
      remove: removed,
      state: {
        counts: Object.fromEntries(counts),
        lastId,
        highWater: options.highWater(),
        instanceNumber: options.instanceNumber(),
        clockOffsetMs: options.clockOffsetMs(),
      },
    })
    dirty.clear()
    removed = []
  }

  function commit(): void {
    const batch: Waiting[] = []
    const taken: ReturnType<Intake['take']>[] = []
    for (const one of waiting.splice(0)) {
      try {
        const result = one.intake.take()
        tally(one.collection.name, result.counts)
        batch.push(one)
        taken.push(result)
      } catch (error) {
        // A fault of ours: what was taken till then goes back, and the others of the turn are not to blame.
        one.intake.takeBack()
        one.done.reject(error)
      }
    }
    const owed = new Map(dirty)
    for (const [i, { entries }] of taken.entries()) {
      for (const entry of entries) dirty.set(entry, batch[i]!.collection.name)
    }
    try {
      if (!journal) throw new TypeError(failure ?? 'there is no journal')
      write(journal)
      if (failure !== null) log.info('the journal takes rows again')
      failure = null
    } catch (error) {
      if (journal && failure === null)
        log.error('the journal takes no rows', { meta: { error: messageOf(error) } })
      if (journal) failure = messageOf(error)
      dirty.clear()
      for (const [entry, collection] of owed) dirty.set(entry, collection)
      for (const [i, { collection, intake, done }] of [...batch.entries()].reverse()) {
        intake.takeBack()
        tally(collection.name, taken[i]!.counts, -1)
        done.reject(unavailable())
      }
      if (batch.length > 0 && error instanceof JournalError && error.kind === 'full') settleDebts()
      return
    }
    for (const { done } of batch) done.resolve()
  }

  /** A disk that takes nothing more may yet let go of what is done with: that makes room for those to come. */
  function settleDebts(): void {
    if (!journal || removed.length === 0) return
    try {
      write(journal)
    } catch (error) {
      log.debug('the journal lets go of nothing', { meta: { error: messageOf(error) } })
    }
  }

  function soon(): Promise<void> {
    turn ??= nextTurn().then(() => {
      turn = null
      commit()
    })
    return turn
  }

  return {
    async accept(collection, intake) {
      if (durability === 'off') {
        const { counts: added } = intake.take()
        tally(collection.name, added)
        return
      }
      if (!journal) throw unavailable()
      const done = Promise.withResolvers<void>()
      waiting.push({ collection, intake, done })
      soon()
      return done.promise
    },

    note(collection, { changed = [], removed: gone = [], counts: added = {} }) {
      tally(collection.name, added)
      if (durability === 'off') return
      for (const entry of changed) dirty.set(entry, collection.name)
      for (const { recordId } of gone) removed.push(recordId)
      soon()
    },

    async settled() {
      await turn
    },

    nextRecordId: () => ++lastId,
    counts: (collection) => counts.get(collection.name)!,

    use(opened, { state, lastId: greatest, faults: found }) {
      journal = opened
      loading = true
      failure = null
      faults = found
      lastId = Math.max(lastId, greatest)
      for (const [collection, known] of Object.entries(state.counts)) {
        counts.set(collection, { ...emptyCounts(), ...known })
      }
    },
    loaded() {
      loading = false
    },
    tell(fault) {
      faults = [...faults, fault]
    },
    fail(reason) {
      failure = reason
    },
    status: () => ({ durability, loading, failure, faults, sizeBytes: journal?.sizeBytes() ?? 0 }),

    rest() {
      const isQuiet = !hasWritten && turn === null && failure === null
      hasWritten = false
      if (!journal || !isQuiet || !isEmpty() || journal.sizeBytes() <= KEPT_BYTES) return
      try {
        journal.shrink()
      } catch (error) {
        log.warn('the journal keeps its room on the disk', { meta: { error: messageOf(error) } })
      }
    },

    close() {
      if (!journal) return
      if (dirty.size > 0 || removed.length > 0 || waiting.length > 0) commit()
      journal.close()
      journal = null
    },
  }
}
