/** A backend that fails when a test says so, and works otherwise: what is real stays real. */
import { type Backend, BackendError, type RecordStore } from '../../src/backends/backend.ts'
import type { Coordination } from '../../src/backends/coordination.ts'
import type { Collection } from '../../src/collections/definition.ts'
import type { Row } from '../../src/collections/row.ts'

/**
 * refuse: fails before anything is done.
 * hang: does nothing and answers nothing, until it is let go and then fails.
 * slow: does it, and answers only when it is let go.
 * partial: a write does its first half, then fails; anything else is `lost`.
 * lost: does it, but the answer is lost.
 */
export type Fault = 'refuse' | 'hang' | 'slow' | 'partial' | 'lost'

/** What calls meet. */
export interface Faults {
  /** Each of these is met by one call, in this order; calls beyond them work. */
  plan(...faults: readonly (Fault | null)[]): void
  /** Every call meets it from now on; null ends that, and what was planned. */
  always(fault: Fault | null): void
  /** Calls that hang, or have not answered yet. */
  held(): number
  /** Lets those go. */
  release(): void
}

const failure = (fault: Fault) =>
  new BackendError('outage', `FAULT_${fault.toUpperCase()}`, `fault: ${fault}`)

/** Wraps records and coordination; a call is any method of theirs, but for scans and snapshots. */
export function withFaults(backend: Backend): { backend: Backend; faults: Faults } {
  let planned: (Fault | null)[] = []
  let constant: Fault | null = null
  const waiting = new Set<() => void>()

  const hold = () =>
    new Promise<void>((resolve) => {
      const go = () => {
        waiting.delete(go)
        resolve()
      }
      waiting.add(go)
    })

  /** Does the work, or what the fault leaves of it; `half` is half of the work. */
  async function meet<T>(work: () => Promise<T>, half: () => Promise<unknown>): Promise<T> {
    const fault = planned.shift() ?? constant
    if (fault === null) return work()
    if (fault === 'hang') await hold()
    if (fault === 'partial') await half()
    if (fault === 'refuse' || fault === 'hang' || fault === 'partial') throw failure(fault)
    const answer = await work()
    if (fault === 'lost') throw failure(fault)
    await hold()
    return answer
  }

  function wrap<T extends object>(facet: T, own: readonly string[]): T {
    const methods = Object.entries(facet).filter(
      ([name, method]) => typeof method === 'function' && !own.includes(name),
    )
    const wrapped = methods.map(([name, method]) => {
      const call = (...args: unknown[]) => method.apply(facet, args) as Promise<unknown>
      return [
        name,
        (...args: unknown[]) =>
          meet(
            () => call(...args),
            () => call(...args),
          ),
      ]
    })
    return { ...facet, ...Object.fromEntries(wrapped) }
  }

  function wrapRecords(store: RecordStore): RecordStore {
    return {
      ...wrap(store, ['write', 'scan', 'snapshot']),
      get maxWriteBytes() {
        return store.maxWriteBytes
      },
      write: (collection: Collection, rows: readonly Row[]) =>
        meet(
          () => store.write(collection, rows),
          () => store.write(collection, rows.slice(0, Math.ceil(rows.length / 2))),
        ),
    }
  }

  return {
    backend: {
      ...backend,
      ...(backend.records && { records: wrapRecords(backend.records) }),
      ...(backend.coordination && { coordination: wrap<Coordination>(backend.coordination, []) }),
    },
    faults: {
      plan: (...faults) => void planned.push(...faults),
      always(fault) {
        constant = fault
        if (fault === null) planned = []
      },
      held: () => waiting.size,
      release() {
        for (const go of [...waiting]) go()
      },
    },
  }
}
