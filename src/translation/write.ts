/** Writing: items become rows under one stamp, and go into the buffer. */

import type { StampSource } from '../buffer/stamp_source.ts'
import type { AcceptedRow, WriteBuffer } from '../buffer/write_buffer.ts'
import type { Collection, Value } from '../collections/definition.ts'
import type { CollectionRouter } from '../collections/router.ts'
import { memoryOf, type Row, rowOf, stampAt } from '../collections/row.ts'
import type { Stamp } from '../collections/stamp.ts'
import { translationSessions } from '../collections/translation.ts'
import { AppError } from '../lib/errors.ts'
import { withDeadline } from '../lib/retry.ts'
import { type OUTCOMES, TERMINAL_STATUSES } from './schema.ts'

export type Item = Readonly<Record<string, Value | undefined>>

export interface ItemOutcome {
  index: number
  outcome: (typeof OUTCOMES)[number]
  reason?: string
}

export interface Writer {
  /** Accepts all items, or throws; answers their stamp. */
  accept(collection: Collection, items: readonly Item[]): Promise<Stamp>
  /** Flushes, and tells what became of each item of an accepted batch. Throws WRITE_PENDING after 1.5 s. */
  settle(collection: Collection, items: readonly Item[], stamp: Stamp): Promise<ItemOutcome[]>
}

interface WriterOptions {
  router: CollectionRouter
  buffer: WriteBuffer
  stamps: StampSource
  /** Why nothing is accepted now, if so. */
  refusal(): AppError | null
  onWritten(collection: string, status: string, rows: number): void
}

/** The printed client gives up after 2 s. */
const WAIT_MS = 1500

export function createWriter({ router, buffer, stamps, refusal, onWritten }: WriterOptions): Writer {
  return {
    async accept(collection, items) {
      const refused = refusal()
      if (refused) throw refused
      const stamp = stamps.next()
      const rows = rowsOf(collection, items, stamp)
      await buffer.accept(collection, rows)
      count(collection, items, onWritten)
      if (
        collection === translationSessions &&
        items.some((item) => TERMINAL_STATUSES.includes(item.status as string))
      ) {
        buffer.flushSoon()
      }
      return stamp
    },

    async settle(collection, items, stamp) {
      const pending = (cause?: unknown) =>
        new AppError('WRITE_PENDING', {
          detail: 'Accepted, and will be stored; not within the time this request waits.',
          members: { accepted: true, count: items.length },
          retryAfterSeconds: 1,
          cause,
        })
      const settled = outcomes(collection, items, stamp).catch((error) => {
        throw pending(error)
      })
      return withDeadline(settled, WAIT_MS, pending)
    },
  }

  async function outcomes(
    collection: Collection,
    items: readonly Item[],
    stamp: Stamp,
  ): Promise<ItemOutcome[]> {
    const reports = await buffer.flush([collection])
    const failure = reports.get(collection.name)?.failure
    if (failure) throw failure
    const keys = items.map((item) => collection.key.map((name) => item[name] as string))
    const stored = new Map<string, Row>()
    for (const row of await router.records(collection).readMany(collection, keys))
      stored.set(row.key.join('\u0000'), row)
    // Of items of one key, a later one's fields have replaced those of the earlier ones.
    const claimed = new Set<string>()
    return keys
      .map((key, index) => ({ key, index }))
      .reverse()
      .map(({ key, index }): ItemOutcome => {
        const text = key.join('\u0000')
        const written = collection.slots.filter((name) => items[index]![name] !== undefined)
        const own = written.filter((name) => !claimed.has(`${text}\u0000${name}`))
        for (const name of own) claimed.add(`${text}\u0000${name}`)
        const reason = buffer.refusalOf(collection, key, stamp)
        if (reason !== undefined) return { index, outcome: 'refused', reason }
        const row = stored.get(text)
        if (!row && written.length > 0) return { index, outcome: 'voided' }
        const won = row !== undefined && own.some((name) => stampAt(row, collection.slotOf(name)) === stamp)
        return { index, outcome: won ? 'stored' : 'superseded' }
      })
      .reverse()
  }
}

/**
 * Items of one key are merged in their order before they get their stamp: one row a key and a stamp, which
 * is what makes equal stamps mean equal values. Every item counts as accepted; the buffer counts the merged.
 */
function rowsOf(collection: Collection, items: readonly Item[], stamp: Stamp): AcceptedRow[] {
  // Mostly no two items of a request share a key, which one look at the keys' ends tells.
  const rest = collection.key.at(-1)!
  if (new Set(items.map((item) => item[rest])).size === items.length) {
    let previous: Row | undefined
    return items.map((item) => {
      previous = rowOf(collection, item, stamp, previous)
      return sized(previous, 1)
    })
  }
  const byKey = new Map<string, { record: Record<string, Value | undefined>; items: number }>()
  for (const item of items) {
    const key =
      collection.key.length === 1
        ? (item[collection.key[0]!] as string)
        : collection.key.map((name) => item[name]).join('\u0000')
    const held = byKey.get(key)
    if (!held) {
      byKey.set(key, { record: item, items: 1 })
      continue
    }
    const record = { ...held.record }
    for (const [name, value] of Object.entries(item)) if (value !== undefined) record[name] = value
    byKey.set(key, { record, items: held.items + 1 })
  }
  return Array.from(byKey.values(), ({ record, items: count }) =>
    sized(rowOf(collection, record, stamp), count),
  )
}

function sized(row: Row, items: number): AcceptedRow {
  return { row, bytes: memoryOf(row), items }
}

function count(collection: Collection, items: readonly Item[], onWritten: WriterOptions['onWritten']): void {
  const byStatus = new Map<string, number>()
  for (const { status } of items) {
    if (typeof status === 'string') byStatus.set(status, (byStatus.get(status) ?? 0) + 1)
  }
  for (const [status, rows] of byStatus) onWritten(collection.name, status, rows)
}
