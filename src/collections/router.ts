/** The collection router: which backend holds which collection, checked once at start. */
import type { BackendError, RecordReader, RecordStore } from '../backends/backend.ts'
import type { BackendMonitor } from '../backends/monitor.ts'
import type { Collection } from './definition.ts'

export interface OperationEvents {
  /** One operation of a backend; `failure` is the kind of its error. */
  onOperation(
    backend: string,
    operation: string,
    collection: string,
    durationMs: number,
    failure: string | null,
  ): void
}

interface RouterOptions extends OperationEvents {
  collections: readonly Collection[]
  /** Backends by name. */
  backends: ReadonlyMap<string, BackendMonitor>
  /** Collection name → backend name. */
  routes: Readonly<Record<string, string>>
}

export interface CollectionRouter {
  /** The store of a collection: fails at once while its backend is known to be down. */
  records(collection: Collection): RecordStore
  backendOf(collection: Collection): BackendMonitor
  backends(): BackendMonitor[]
}

/** A routing that cannot work. */
export class RoutingError extends Error {
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(faults.join('\n'))
    this.name = 'RoutingError'
    this.faults = faults
  }
}

export function createRouter(options: RouterOptions): CollectionRouter {
  const { collections, backends, routes } = options
  const faults = collections.flatMap((collection) => faultsOf(collection, routes, backends))
  if (faults.length > 0) throw new RoutingError(faults)

  const monitorOf = (collection: Collection) => backends.get(routes[collection.name]!)!
  const stores = new Map(
    collections
      .filter(({ kind }) => kind === 'records')
      .map((collection) => [collection.name, watched(monitorOf(collection), options)]),
  )
  return {
    records: (collection) => stores.get(collection.name)!,
    backendOf: monitorOf,
    backends: () => [...backends.values()],
  }
}

function faultsOf(
  collection: Collection,
  routes: Readonly<Record<string, string>>,
  backends: ReadonlyMap<string, BackendMonitor>,
): string[] {
  const name = routes[collection.name]
  const backend = name === undefined ? undefined : backends.get(name)?.backend
  if (!backend) return [`${collection.name}: routed to ${name ?? 'nothing'}, which is no backend`]
  const faults: string[] = []
  if (collection.kind === 'records' && !backend.records)
    faults.push(`${collection.name}: backend ${name} stores no records`)
  if (collection.kind === 'blobs' && !backend.blobs)
    faults.push(`${collection.name}: backend ${name} stores no blobs`)
  if (collection.buffered && !backend.coordination) {
    faults.push(`${collection.name}: backend ${name} offers no coordination, which buffered collections need`)
  }
  if (collection.parent && routes[collection.parent.name] !== name) {
    faults.push(
      `${collection.name}: must be on the backend of its parent ${collection.parent.name} (${routes[collection.parent.name]})`,
    )
  }
  return faults
}

const OPERATIONS = [
  'read',
  'readMany',
  'query',
  'count',
  'countBy',
  'countByGroup',
  'write',
  'delete',
  'erase',
  'purge',
  'groups',
  'newestStamp',
  'estimate',
  'sizeBytes',
  'snapshot',
] as const

/** Measures every operation, fails fast while the backend is down, and tells the monitor of outages. */
function watched(monitor: BackendMonitor, events: OperationEvents): RecordStore {
  const store = monitor.backend.records!
  const backend = monitor.backend.name

  async function measure<T>(operation: string, collection: string, work: () => Promise<T>): Promise<T> {
    monitor.assertUp()
    const start = performance.now()
    let failure: string | null = null
    try {
      return await work()
    } catch (error) {
      failure = (error as BackendError).kind ?? 'error'
      if (failure === 'outage') monitor.suspect()
      throw error
    } finally {
      events.onOperation(backend, operation, collection, performance.now() - start, failure)
    }
  }

  const wrapped: Record<string, unknown> = {
    get maxWriteBytes() {
      return store.maxWriteBytes
    },
    scan: (...args: Parameters<RecordReader['scan']>) => {
      monitor.assertUp()
      return store.scan(...args)
    },
  }
  for (const operation of OPERATIONS) {
    const method = store[operation] as (...args: unknown[]) => Promise<unknown>
    wrapped[operation] = (...args: unknown[]) =>
      measure(operation, (args[0] as Collection | undefined)?.name ?? '', () => method.apply(store, args))
  }
  return wrapped as unknown as RecordStore
}
