/** Several instances on one database: in which order they accept, and which of them stores when. */
import type { Instance } from './instance.ts'
import type { Item } from './translation_items.ts'
import { until } from './waiting.ts'

const METRICS = '/api/v1/system/metrics'
const COLLECTIONS = ['sessions', 'tasks'] as const

/** What a collection is called in the paths. */
export type CollectionName = (typeof COLLECTIONS)[number]

/** How far an instance's clock may be off the database's, as it says itself. Throws where it doesn't. */
export async function clockErrorMs(on: Instance): Promise<number> {
  const { text } = await on.http.get(METRICS)
  const seconds = /^persistence_clock_error_seconds (\S+)$/m.exec(text)?.[1]
  if (seconds === undefined) throw new Error('the metrics say nothing of the clock')
  return Number(seconds) * 1000
}

/**
 * Waits for as long as the clocks of these instances may differ: whichever of them accepts something then,
 * it is newer than all that any of them has accepted before.
 */
export async function clocksApart(instances: readonly Instance[]): Promise<void> {
  const from = performance.now()
  const errors = (await Promise.all(instances.map(clockErrorMs))).sort((a, b) => b - a)
  // Of the two that are worst; stamps are in whole milliseconds.
  const apartMs = (errors[0] ?? 0) + (errors[1] ?? 0) + 1
  await until(() => performance.now() - from > apartMs, { message: 'the clocks are apart' })
}

/**
 * Stores what one instance holds, and nothing that the others hold: a write that waits does that, and one
 * without any field writes nothing itself.
 */
export async function flushOwn(
  on: Instance,
  collections: readonly CollectionName[] = COLLECTIONS,
): Promise<void> {
  for (const name of collections) {
    const item = name === 'tasks' ? { session_id: '-', task_id: '-' } : { session_id: '-' }
    // On a busy machine it may be told to ask again.
    await until(async () => (await waiting(on, name, [item])).status === 200, {
      message: `an instance stores its ${name}`,
    })
  }
}

const waiting = (on: Instance, name: CollectionName, items: Item[]) =>
  on.http.patch(`/api/v1/translation/${name}/batch?wait=true`, { [name]: items })

/** All orders of some things. */
export function permutations<T>(of: readonly T[]): T[][] {
  if (of.length <= 1) return [[...of]]
  return of.flatMap((first, i) => permutations(of.toSpliced(i, 1)).map((rest) => [first, ...rest]))
}

/** Field by field the newest of what was accepted, the oldest first. */
export function newest(accepted: readonly Item[]): Item {
  return Object.assign({}, ...accepted)
}
