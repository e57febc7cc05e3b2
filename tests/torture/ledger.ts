/**
 * What may be stored, from what was sent and what was answered. The writes of a key come one after the other
 * from one client, so its order is known: a field holds its last acknowledged value, or that of any write
 * after it whose answer nobody saw. Whatever is older, or empty, is a loss.
 */
import { type CollectionName, FIELDS, type ReadRow, shownAs, type WrittenItem } from './records.ts'

/** What a client made of an answer: the 202, one that says that nothing was taken, or anything else. */
export type Outcome = 'acknowledged' | 'refused' | 'unknown'

/** A difference between what was promised and what was read. */
export interface Fault {
  kind: 'missing' | 'twice' | 'wrong' | 'in part' | 'never written' | 'miscounted'
  where: string
  detail: string
}

/** Items by collection. */
export type ItemCounts = Record<CollectionName, number>

export interface Ledger {
  /** Before a request is sent. `place` is the instance that it goes to. */
  intend(write: number, place: string, items: readonly WrittenItem[]): void
  /** After its answer, or its lack. */
  conclude(write: number, outcome: Outcome): void
  /** Compares. `complete`: the rows are all that there are. Then what was read is what is held from now on. */
  check(rows: readonly ReadRow[], options: { complete: boolean }): Fault[]
  /** Items acknowledged by an instance so far, and those of which nobody knows. */
  itemsOf(place: string): { acknowledged: ItemCounts; unknown: ItemCounts }
  figures(): { keys: number; acknowledged: number; unknown: number; refused: number }
}

interface Said {
  write: number
  shown: string
}

interface Held {
  settled: Said | null
  /** Sent after it, in order; their answers were not seen (yet). */
  open: Said[]
  /** Everything before, for telling a regression from a corruption. */
  past: Said[]
}

interface Entry {
  collection: CollectionName
  key: string[]
  fields: Map<string, Held>
}

interface Write {
  place: string
  items: readonly WrittenItem[]
  unknown: boolean
}

const REMEMBERED = 50

export function createLedger(): Ledger {
  const entries = new Map<string, Entry>()
  /** Those without an answer that are not settled yet. */
  const writes = new Map<number, Write>()
  const places = new Map<string, { acknowledged: ItemCounts; unknown: ItemCounts }>()
  const figures = { acknowledged: 0, unknown: 0, refused: 0 }

  function entryOf({ collection, key }: WrittenItem): Entry {
    const name = nameOf(collection, key)
    let entry = entries.get(name)
    if (!entry) {
      entry = { collection, key, fields: new Map() }
      entries.set(name, entry)
    }
    return entry
  }

  function heldOf(entry: Entry, field: string): Held {
    let held = entry.fields.get(field)
    if (!held) {
      held = { settled: null, open: [], past: [] }
      entry.fields.set(field, held)
    }
    return held
  }

  /** The last item of a key in a request has the last word on each of its fields. */
  function* saidBy(items: readonly WrittenItem[]): Iterable<[Held, string]> {
    const last = new Map<Held, string>()
    for (const item of items) {
      const entry = entryOf(item)
      for (const [field, value] of Object.entries(item.fields))
        last.set(heldOf(entry, field), shownAs(item.collection, field, value))
    }
    yield* last
  }

  function settle(held: Held, said: Said): void {
    held.past.push(...(held.settled ? [held.settled] : []), ...held.open.filter((each) => each !== said))
    held.past.splice(0, held.past.length - REMEMBERED)
    held.settled = said
    held.open = []
  }

  return {
    intend(write, place, items) {
      writes.set(write, { place, items, unknown: false })
      for (const [held, shown] of saidBy(items)) held.open.push({ write, shown })
    },

    conclude(write, outcome) {
      const { place, items } = writes.get(write)!
      figures[outcome]++
      if (outcome === 'unknown') writes.get(write)!.unknown = true
      else writes.delete(write)
      const counts = places.get(place) ?? { acknowledged: none(), unknown: none() }
      places.set(place, counts)
      if (outcome !== 'refused') for (const { collection } of items) counts[outcome][collection]++
      if (outcome === 'unknown') return
      for (const [held] of saidBy(items)) {
        const said = held.open.find((each) => each.write === write)!
        if (outcome === 'refused') held.open.splice(held.open.indexOf(said), 1)
        else settle(held, said)
      }
    },

    check(rows, { complete }) {
      const faults: Fault[] = []
      const read = new Map<string, ReadRow>()
      for (const row of rows) {
        const name = nameOf(row.collection, row.key)
        if (read.has(name)) faults.push({ kind: 'twice', where: name, detail: 'is in the list twice' })
        if (!entries.has(name))
          faults.push({ kind: 'never written', where: name, detail: 'nobody sent this key' })
        read.set(name, row)
      }
      for (const [name, entry] of entries) {
        const row = read.get(name)
        if (row) faults.push(...wrongFields(name, entry, row))
        else if (complete && !mayBeInvisible(entry)) {
          faults.push({ kind: 'missing', where: name, detail: `is not stored; ${lastWrites(entry)}` })
        }
      }
      faults.push(...halves(read))
      if (complete) {
        for (const [name, entry] of entries) adopt(entry, read.get(name))
        for (const [write, { unknown }] of writes) if (unknown) writes.delete(write)
      }
      return faults
    },

    itemsOf: (place) => places.get(place) ?? { acknowledged: none(), unknown: none() },
    figures: () => ({ keys: entries.size, ...figures }),
  }

  function wrongFields(name: string, { collection, fields }: Entry, row: ReadRow): Fault[] {
    const faults: Fault[] = []
    for (const field of Object.keys(FIELDS[collection])) {
      const held = fields.get(field)
      const shown = shownAs(collection, field, row.fields[field])
      const allowed = allowedOf(collection, field, held)
      if (allowed.includes(shown)) continue
      faults.push({ kind: 'wrong', where: `${name}.${field}`, detail: verdict(shown, allowed, held) })
    }
    return faults
  }

  /** A request is taken whole or not at all, also where its answer was lost. */
  function halves(read: ReadonlyMap<string, ReadRow>): Fault[] {
    const faults: Fault[] = []
    for (const [write, { items, unknown }] of writes) {
      if (!unknown) continue
      const signs: { where: string; taken: boolean }[] = []
      for (const { collection, key, fields } of items) {
        const row = read.get(nameOf(collection, key))
        if (!row) continue
        const entry = entries.get(nameOf(collection, key))!
        for (const field of Object.keys(fields)) {
          const held = entry.fields.get(field)!
          const own = held.open.find((said) => said.write === write)
          // Only a value that no other write can have left tells anything, and only the newest.
          if (!own || held.open.at(-1) !== own) continue
          const shownBy = allowedOf(collection, field, held).filter((shown) => shown === own.shown)
          if (shownBy.length > 1) continue
          const where = `${nameOf(collection, key)}.${field}`
          signs.push({ where, taken: shownAs(collection, field, row.fields[field]) === own.shown })
        }
      }
      const [taken, not] = [signs.find((sign) => sign.taken), signs.find((sign) => !sign.taken)]
      if (taken && not)
        faults.push({
          kind: 'in part',
          where: taken.where,
          detail: `is stored of write ${write}, but not ${not.where}`,
        })
    }
    return faults
  }

  /** What was read is there to stay: it becomes what may not be lost any more. */
  function adopt({ collection, fields }: Entry, row: ReadRow | undefined): void {
    for (const [field, held] of fields) {
      if (!row) {
        // Not shown: it has to become whole before anything can be said of it.
        continue
      }
      const shown = shownAs(collection, field, row.fields[field])
      const said = [...(held.settled ? [held.settled] : []), ...held.open].findLast(
        (each) => each.shown === shown,
      )
      if (said) settleAs(held, said)
    }
  }

  function settleAs(held: Held, said: Said): void {
    if (held.settled === said) {
      held.past.push(...held.open)
      held.open = []
    } else settle(held, said)
  }
}

const none = (): ItemCounts => ({ sessions: 0, tasks: 0 })
const nameOf = (collection: CollectionName, key: readonly string[]) => `${collection}/${key.join('/')}`

function allowedOf(collection: CollectionName, field: string, held: Held | undefined): string[] {
  const settled = held?.settled?.shown ?? shownAs(collection, field, null)
  return [settled, ...(held?.open ?? []).map(({ shown }) => shown)]
}

/** A row is shown once its required fields are there. */
function mayBeInvisible({ collection, fields }: Entry): boolean {
  return Object.entries(FIELDS[collection]).some(
    ([field, { required }]) => required && !fields.get(field)?.settled,
  )
}

function verdict(shown: string, allowed: readonly string[], held: Held | undefined): string {
  const past = held?.past.findLast((said) => said.shown === shown)
  const what = past
    ? `went back to write ${past.write}`
    : held && /^(null|0)$/.test(shown)
      ? 'is empty'
      : 'was never sent like that'
  const expected = held?.settled ? `write ${held.settled.write}` : 'nothing'
  const open = held && held.open.length > 0 ? `, or of ${held.open.length} unanswered ones` : ''
  return `${what}: ${clip(shown)} instead of ${clip(allowed[0]!)} of ${expected}${open}`
}

function lastWrites({ fields }: Entry): string {
  const newest = Math.max(...[...fields.values()].map(({ settled }) => settled?.write ?? 0))
  return `its newest acknowledged write is ${newest}`
}

const clip = (text: string) => (text.length > 80 ? `${text.slice(0, 77)}…` : text)
