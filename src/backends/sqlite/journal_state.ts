/** The state of the journal as a line of text: checksum, JSON. It stands in the database and in the mark. */
import { emptyCounts, heldBy, type JournalCounts, type JournalState } from '../../buffer/journal.ts'
import { ABSENT, laterOf, stampHex } from '../../collections/stamp.ts'

/** A state, and the number of the commit that wrote it. */
export interface NumberedState extends JournalState {
  commit: number
}

export const FIRST_STATE: NumberedState = {
  commit: 0,
  counts: {},
  lastId: 0,
  highWater: ABSENT,
  instanceNumber: null,
  clockOffsetMs: null,
}

export function stateLine({ highWater, ...rest }: NumberedState): string {
  const text = JSON.stringify({ ...rest, highWater: stampHex(highWater) })
  return `${checksumOf(text)} ${text}`
}

/** The state of a line; null where it is damaged. */
export function readStateLine(line: string): NumberedState | null {
  const [checksum] = line.split(' ', 1)
  const text = line.slice(checksum!.length + 1)
  if (checksum !== checksumOf(text)) return null
  try {
    return stateOf(text)
  } catch {
    return null // its checksum holds, and yet it is no state: that is damage like any other
  }
}

function stateOf(text: string): NumberedState {
  const { commit, counts, lastId = 0, highWater, instanceNumber, clockOffsetMs } = JSON.parse(text)
  return { commit, counts, lastId, highWater: BigInt(`0x${highWater}`), instanceNumber, clockOffsetMs }
}

function checksumOf(text: string): string {
  return Bun.hash.crc32(text).toString(16).padStart(8, '0')
}

/** What was found of a journal. */
export interface Findings {
  /** The state in the database; null where it can't be read. */
  state: NumberedState | null
  /** The state that the mark remembers, where there is one. */
  mark: NumberedState | null
  /** Records that can be read, by collection. */
  readable: ReadonlyMap<string, number>
  /** Those of them that may have been removed before: they make up for nothing that is missing. */
  strays?: ReadonlyMap<string, number>
}

/** Makes the counts agree with what is there, so that what is gone is counted as lost, never forgotten. */
export function settle({ state, mark, readable, strays = new Map() }: Findings) {
  const faults: string[] = []
  const base = state ?? mark ?? FIRST_STATE
  const later = mark !== null && mark.commit > base.commit ? mark : base
  if (later !== base) {
    faults.push(
      `commits ${base.commit + 1} to ${later.commit} were acknowledged, and are not in the journal any more`,
    )
  }
  const counts: Record<string, JournalCounts> = {}
  const ofBase = new Map(Object.entries(base.counts))
  const ofLater = new Map(Object.entries(later.counts))
  let lostRows = 0
  for (const name of new Set([...ofBase.keys(), ...ofLater.keys(), ...readable.keys()])) {
    const of = { ...(ofBase.get(name) ?? emptyCounts()) }
    of.accepted = Math.max(of.accepted, ofLater.get(name)?.accepted ?? 0)
    const held = heldBy(of)
    const stray = strays.get(name) ?? 0
    const sure = (readable.get(name) ?? 0) - stray
    if (sure < held) {
      of.lost += held - sure
      lostRows += held - sure
      faults.push(`${name}: ${held} rows should be held, ${sure} can be read`)
    }
    const more = stray + Math.max(0, sure - held)
    if (more > 0) {
      of.transferred_in += more
      faults.push(`${name}: ${more} rows more than were counted; they may have been stored before`)
    }
    counts[name] = of
  }
  const settled: NumberedState = {
    commit: later.commit,
    counts,
    lastId: Math.max(base.lastId, later.lastId),
    highWater: laterOf(base.highWater, later.highWater),
    instanceNumber: later.instanceNumber,
    clockOffsetMs: later.clockOffsetMs,
  }
  return { state: settled, lostRows, faults }
}
