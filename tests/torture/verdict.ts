/** The verdict on what is there: read back through the API, judged, and the instances' books looked at. */
import { booksFaults } from './conservation.ts'
import type { Judge } from './judge_messages.ts'
import type { Fault } from './ledger.ts'
import type { Load, Target } from './load.ts'
import type { Random } from './random.ts'
import { readEverything, readSome } from './read_back.ts'

interface Case {
  judge: Judge
  load: Load
}

const SAMPLE = 12
const SHOWN_FAULTS = 8

/** What was lost, doubled or miscounted once everybody has stored everything, in words. */
export async function verdict(
  places: readonly Target[],
  { judge, load, reader }: Case & { reader: Target },
): Promise<string[]> {
  const { rows, faults } = await readEverything(reader.url()!, load.sessionIds())
  const found = [...faults, ...(await judge.check(rows, { complete: true }))]
  const books = await Promise.all(places.map((place) => booksFaults(place.url()!, place.name, judge)))
  return [...faultLines(found), ...books.flat()]
}

/** The same of a few rows, as an instance shows those that it may hold and not have stored. */
export async function unstoredFaults(
  place: Target,
  { judge, load, random }: Case & { random: Random },
): Promise<string[]> {
  const sample = Array.from({ length: SAMPLE }, () => random.pick(load.keys()))
  const keys = [...new Map(sample.map((key) => [key.join('\n'), key])).values()]
  return faultLines(await judge.check(await readSome(place.url()!, keys), { complete: false }))
}

function faultLines(faults: readonly Fault[]): string[] {
  const lines = [...new Set(faults.map(({ kind, where, detail }) => `${kind}: ${where} ${detail}`))]
  if (lines.length <= SHOWN_FAULTS) return lines
  return [...lines.slice(0, SHOWN_FAULTS), `and ${lines.length - SHOWN_FAULTS} more`]
}
