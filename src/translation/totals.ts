/** How many rows a list has: exact to a limit, an estimate above it, and kept for a while where counting was slow. */
import type { Filter } from '../backends/backend.ts'
import type { Collection } from '../collections/definition.ts'
import type { CollectionRouter } from '../collections/router.ts'
import type { Clock } from '../lib/clock.ts'

export interface Total {
  total: number
  exact: boolean
}

export interface Totals {
  /** `exact` counts whatever it takes. */
  of(collection: Collection, filters: readonly Filter[], options: { exact: boolean }): Promise<Total>
}

interface TotalsOptions {
  router: CollectionRouter
  clock: Clock
  /** Rows up to which a total is counted. */
  exactLimit: number
  keepMs: number
}

/** A count that took less is counted anew each time: no staleness where it would gain nothing. */
const SLOW_MS = 20
const MAX_KEPT = 500

export function createTotals({ router, clock, exactLimit, keepMs }: TotalsOptions): Totals {
  const kept = new Map<string, { total: Total; takenAtMs: number }>()
  /** Counts under way: whoever asks meanwhile waits for the same one. */
  const counting = new Map<string, Promise<Total>>()

  async function count(collection: Collection, filters: readonly Filter[]): Promise<Total> {
    const store = router.records(collection)
    const total = await store.count(collection, filters, { limit: exactLimit + 1 })
    if (total <= exactLimit) return { total, exact: true }
    return { total: Math.max(total, await store.estimate(collection, filters)), exact: false }
  }

  async function take(key: string, collection: Collection, filters: readonly Filter[]): Promise<Total> {
    const takenAtMs = clock.nowMs()
    const start = performance.now()
    const total = await count(collection, filters)
    kept.delete(key)
    if (performance.now() - start > SLOW_MS) {
      kept.set(key, { total, takenAtMs })
      if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value!)
    }
    return total
  }

  function shared(key: string, collection: Collection, filters: readonly Filter[]): Promise<Total> {
    const known = counting.get(key)
    if (known) return known
    const taking = take(key, collection, filters).finally(() => counting.delete(key))
    counting.set(key, taking)
    return taking
  }

  return {
    async of(collection, filters, { exact }) {
      if (exact) return { total: await router.records(collection).count(collection, filters), exact: true }
      const key = `${collection.name} ${JSON.stringify(filters)}`
      const known = kept.get(key)
      const ageMs = known ? clock.nowMs() - known.takenAtMs : Number.POSITIVE_INFINITY
      if (!known || ageMs >= keepMs) return shared(key, collection, filters)
      // Renewed before its time is up, so that nobody has to wait for it.
      if (ageMs >= keepMs / 2) shared(key, collection, filters).catch(() => undefined) // the next one is told
      return known.total
    },
  }
}
