/** Which rows go into which translation session, in which batches. */
import { basename } from 'node:path'
import type { ReplayRow } from './reader.ts'

/** A session to be replayed. Task n of it is row n, and is called `task_n`, as API.md's client does. */
export interface PlannedSession {
  sessionId: string
  filename: string
  gameInfo: Record<string, string>
  rows: ReplayRow[]
  batches: PlannedBatch[]
}

/** Tasks that go through their states together. */
export interface PlannedBatch {
  session: PlannedSession
  batchId: string
  /** Indexes of the rows in the session: `from` ≤ n < `to`. */
  from: number
  to: number
  /** Milliseconds since the epoch, set when the batch gets there. */
  startMs: number
  endMs: number
}

interface PlanOptions {
  file: string
  /** null is one session a sheet. */
  sessions: number | null
  batchSize: number
}

const MAX_STEM_CHARACTERS = 200

/** The sessions of the rows, each with a fresh id; none where there are no rows. */
export function planSessions(rows: readonly ReplayRow[], options: PlanOptions): PlannedSession[] {
  const { file, sessions, batchSize } = options
  const { game, languages } = describeFile(file)
  const groups =
    sessions === null
      ? Map.groupBy(rows, ({ sheet }) => sheet)
      : new Map(deal(rows, sessions).map((dealt, n) => [`${game}_${n + 1}`, dealt]))
  return Array.from(groups, ([stem, group]) => {
    const session: PlannedSession = {
      sessionId: crypto.randomUUID(),
      filename: `${[...stem].slice(0, MAX_STEM_CHARACTERS).join('')}.xlsx`,
      gameInfo: { game_name: game, ...languages },
      rows: group,
      batches: [],
    }
    for (let from = 0; from < group.length; from += batchSize) {
      const batchId = `batch_${String(session.batches.length + 1).padStart(3, '0')}`
      const to = Math.min(from + batchSize, group.length)
      session.batches.push({ session, batchId, from, to, startMs: 0, endMs: 0 })
    }
    return session
  })
}

/** The first batch of every session, then the second: all sessions are under way at the same time. */
export function* interleavedBatches(sessions: readonly PlannedSession[]): Generator<PlannedBatch> {
  const rounds = sessions.reduce((most, { batches }) => Math.max(most, batches.length), 0)
  for (let round = 0; round < rounds; round++) {
    for (const { batches } of sessions) {
      const batch = batches[round]
      if (batch) yield batch
    }
  }
}

/** Row by row to each of `count` groups in turn, and from the first row again until no group is empty. */
function deal(rows: readonly ReplayRow[], count: number): ReplayRow[][] {
  if (rows.length === 0) return []
  const groups: ReplayRow[][] = Array.from({ length: count }, () => [])
  const dealt = Math.max(rows.length, count)
  for (let n = 0; n < dealt; n++) groups[n % count]!.push(rows[n % rows.length]!)
  return groups
}

/** `wesnoth.en-zh_CN.jsonl` says its game and its languages. */
function describeFile(file: string): { game: string; languages: Record<string, string> } {
  const stem = basename(file).replace(/\.jsonl?$/i, '')
  const [, game, source, target] = /^(.+)\.([a-z]{2,3})-([a-z]{2,3}(?:_\w+)?)$/i.exec(stem) ?? []
  if (!game || !source || !target) return { game: stem, languages: {} }
  return { game, languages: { source_language: source, target_language: target } }
}
