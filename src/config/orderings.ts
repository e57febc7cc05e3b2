import { type Document, valueAt } from './document.ts'
import { type Fault, fault } from './faults.ts'
import { settings } from './schema.ts'

/** Pairs of settings that only make sense in this order; `below` = equal is wrong too. */
const orderings: readonly { lesser: string; greater: string; below?: boolean }[] = [
  { lesser: 'buffer.min_batch_rows', greater: 'buffer.max_batch_rows' },
  { lesser: 'buffer.max_buffer_size', greater: 'buffer.max_rows' },
  { lesser: 'buffer.flush_bytes', greater: 'buffer.max_bytes' },
  { lesser: 'buffer.fast_flush_ms', greater: 'buffer.slow_flush_ms', below: true },
]

/** What the merged settings are made of. */
export interface Origins {
  file: Document
  /** Path → the environment name that set it. */
  names: ReadonlyMap<string, string>
  /** True for a path whose value is wrong by itself, and so not compared. */
  faulty: (path: string) => boolean
}

/** Pairs of settings in the wrong order; the key is that of one that was written, not of a default. */
export function orderingFaults(merged: Document, { file, names, faulty }: Origins): Fault[] {
  const defaults = settings.parse({})
  const writtenAs = (path: string) =>
    names.get(path) ?? (valueAt(file, path.split('.')) === undefined ? undefined : path)
  return orderings.flatMap(({ lesser, greater, below = false }) => {
    const [low, high] = [lesser, greater].map(
      (path) => valueAt(merged, path.split('.')) ?? valueAt(defaults, path.split('.')),
    )
    if (typeof low !== 'number' || typeof high !== 'number' || faulty(lesser) || faulty(greater)) return []
    if (below ? low < high : low <= high) return []
    const [lowName, highName] = [writtenAs(lesser), writtenAs(greater)]
    if (lowName !== undefined) {
      return [
        fault(
          lowName,
          `${below ? 'less than' : 'at most'} ${highName ?? `the default of ${greater}`} (${high})`,
          `${low}`,
        ),
      ]
    }
    return [
      fault(
        highName ?? greater,
        `${below ? 'more than' : 'at least'} the default of ${lesser} (${low})`,
        `${high}`,
      ),
    ]
  })
}
