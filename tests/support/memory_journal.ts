/** Journals in memory: what they hold outlives the buffer that wrote it, and they fail when a test says so. */
import {
  heldBy,
  type Journal,
  type JournalChange,
  JournalError,
  type JournalFailure,
  type JournalRecord,
  type JournalState,
  type OpenedJournal,
} from '../../src/buffer/journal.ts'

export interface MemoryJournal extends Journal {
  /** Live records by id, as the last commit left them. */
  records: Map<number, JournalRecord>
  state(): JournalState
  /** Every commit that succeeded. */
  commits: JournalChange[]
  /** Commits that were tried. */
  attempts(): number
  /** Each of these is met by one commit, in this order; commits beyond them work. */
  plan(...failures: readonly (JournalFailure | null)[]): void
  /** Every commit meets it from now on. */
  always(failure: JournalFailure | null): void
  /** Every opening meets it from now on. */
  refuseOpening(failure: JournalFailure | null): void
  openings(): number
  /** How often it gave its room back. */
  shrinks(): number
  isOpen(): boolean
  /** The process that had it is killed: what it held is in the new one, and this one takes nothing more. */
  crash(): MemoryJournal
  /** What no journal may be told: a record that comes back, or counts that don't agree with the records. */
  violations: string[]
}

interface Content {
  records?: readonly JournalRecord[]
  state?: JournalState
  lostRows?: number
  faults?: readonly string[]
  /** False for one that holds records without having counted them. */
  counted?: boolean
  violations?: string[]
}

export const FIRST_STATE: JournalState = {
  counts: {},
  lastId: 0,
  highWater: 0n,
  instanceNumber: null,
  clockOffsetMs: null,
}

const RECORD_BYTES = 1024 * 1024

/** What a commit was given is kept as it was then, whatever becomes of it later. */
const copyOf = (state: JournalState): JournalState => ({
  ...state,
  counts: Object.fromEntries(Object.entries(state.counts).map(([name, counts]) => [name, { ...counts }])),
})

export function createMemoryJournal(instanceId = 'own', content: Content = {}): MemoryJournal {
  const records = new Map<number, JournalRecord>((content.records ?? []).map((record) => [record.id, record]))
  const gone = new Set<number>()
  const commits: JournalChange[] = []
  const { lostRows = 0, faults = [], counted = true, violations = [] } = content
  let state = copyOf(content.state ?? FIRST_STATE)
  let planned: (JournalFailure | null)[] = []
  let constant: JournalFailure | null = null
  let refusal: JournalFailure | null = null
  let attempts = 0
  let openings = 0
  let lastId = Math.max(0, ...records.keys())
  let shrinks = 0
  let peakBytes = records.size * RECORD_BYTES
  let open = false
  let dead = false

  function check({ put, remove }: JournalChange): void {
    for (const { id } of put) if (gone.has(id)) violations.push(`record ${id} was removed, and is put again`)
    const ids = new Set(put.map(({ id }) => id))
    if (ids.size < put.length) violations.push('one record is put twice in a commit')
    for (const id of remove) if (ids.has(id)) violations.push(`record ${id} is put and removed in one commit`)
    if (!counted) return
    const held = Map.groupBy(records.values(), ({ collection }) => collection)
    for (const [name, counts] of Object.entries(state.counts)) {
      const rows = held.get(name)?.length ?? 0
      if (heldBy(counts) !== rows)
        violations.push(`${name}: counts say ${heldBy(counts)}, the journal holds ${rows}`)
    }
  }

  function assertOpen(): void {
    if (!open || dead) throw new JournalError('failed', 'the journal is not open')
  }

  return {
    instanceId,
    records,
    commits,
    violations,
    state: () => state,
    attempts: () => attempts,
    openings: () => openings,
    isOpen: () => open,
    plan: (...failures) => void planned.push(...failures),
    always(failure) {
      constant = failure
      if (failure === null) planned = []
    },
    refuseOpening(failure) {
      refusal = failure
    },
    crash() {
      open = false
      dead = true
      return createMemoryJournal(instanceId, {
        records: [...records.values()],
        state,
        counted,
        violations,
      })
    },

    open(): OpenedJournal {
      openings++
      if (refusal) throw new JournalError(refusal, `opening: ${refusal}`)
      if (open) throw new JournalError('locked', 'another process has it')
      open = true
      return { state: copyOf(state), records: records.size, lastId, lostRows, faults }
    },
    async openInTurns() {
      return this.open()
    },
    commit(change) {
      attempts++
      assertOpen()
      const failure = planned.shift() ?? constant
      if (failure) throw new JournalError(failure, `commit: ${failure}`)
      state = copyOf(change.state)
      for (const record of change.put) {
        records.set(record.id, record)
        lastId = Math.max(lastId, record.id)
      }
      peakBytes = Math.max(peakBytes, records.size * RECORD_BYTES)
      for (const id of change.remove) {
        records.delete(id)
        gone.add(id)
      }
      commits.push({ put: [...change.put], remove: [...change.remove], state })
      check(change)
    },
    read(after, limit) {
      assertOpen()
      const ids = [...records.keys()].filter((id) => id > after).toSorted((a, b) => a - b)
      return ids.slice(0, limit).map((id) => records.get(id)!)
    },
    sizeBytes: () => peakBytes,
    shrink() {
      assertOpen()
      shrinks++
      peakBytes = records.size * RECORD_BYTES
    },
    shrinks: () => shrinks,
    close() {
      open = false
    },
  }
}
