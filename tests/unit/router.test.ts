import { afterEach, describe, expect, test } from 'bun:test'
import type { Backend } from '../../src/backends/backend.ts'
import { type BackendMonitor, watchBackend } from '../../src/backends/monitor.ts'
import { COLLECTIONS } from '../../src/collections/catalog.ts'
import { type Collection, defineCollection } from '../../src/collections/definition.ts'
import { createRouter, RoutingError } from '../../src/collections/router.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { backendKinds, type OpenStore } from '../support/contract_backends.ts'
import { fullRow, keyOf } from '../support/contract_rows.ts'
import { until } from '../support/waiting.ts'

const quiet = () => undefined
const silent = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const stores: OpenStore[] = []
const monitors: BackendMonitor[] = []
afterEach(async () => {
  for (const monitor of monitors.splice(0)) monitor.stop()
  for (const store of stores.splice(0)) await store.close()
})

async function openStore(): Promise<OpenStore> {
  const store = await backendKinds.find(({ dialect }) => dialect === 'sqlite')!.open()
  stores.push(store)
  return store
}

function watch(backend: Backend): BackendMonitor {
  const monitor = watchBackend({
    backend,
    migrate: true,
    log: silent,
    onUp: quiet,
    onPrepared: async () => {},
  })
  monitors.push(monitor)
  return monitor
}

describe('a routing that cannot work', () => {
  const bare = (name: string, more: Partial<Backend> = {}): [string, BackendMonitor] => [
    name,
    watch({
      name,
      type: 'test',
      prepare: async () => {},
      health: async () => ({ healthy: true, latencyMs: 0 }),
      close: async () => {},
      ...more,
    }),
  ]
  const faultsOf = (
    collections: readonly Collection[],
    backends: [string, BackendMonitor][],
    routes: Record<string, string>,
  ) => {
    try {
      createRouter({ collections, backends: new Map(backends), routes, onOperation: quiet })
      return []
    } catch (error) {
      if (error instanceof RoutingError) return error.faults
      throw error
    }
  }
  const blobs = defineCollection({
    ...sessions,
    name: 'uploads',
    kind: 'blobs',
    buffered: false,
  })

  test('is refused with everything that is missing, all at once', async () => {
    const { backend } = await openStore()
    const found = faultsOf(
      [...COLLECTIONS, blobs],
      [bare('empty'), bare('lone', { records: backend.records! })],
      { translation_sessions: 'lone', translation_tasks: 'empty', uploads: 'nowhere' },
    )
    expect(found).toEqual([
      'translation_sessions: backend lone offers no coordination, which buffered collections need',
      'translation_tasks: backend empty stores no records',
      'translation_tasks: backend empty offers no coordination, which buffered collections need',
      'translation_tasks: must be on the backend of its parent translation_sessions (lone)',
      'uploads: routed to nowhere, which is no backend',
    ])
    expect(faultsOf([blobs], [bare('empty')], { uploads: 'empty' })).toEqual([
      'uploads: backend empty stores no blobs',
    ])
    expect(faultsOf([sessions], [], {})).toEqual([
      'translation_sessions: routed to nothing, which is no backend',
    ])
  })

  test('is none where every collection has what it needs', async () => {
    const { backend } = await openStore()
    const routes = { translation_sessions: 'store', translation_tasks: 'store' }
    expect(faultsOf(COLLECTIONS, [['store', watch(backend)]], routes)).toEqual([])
  })
})

describe('the store of a collection', () => {
  type Operation = [backend: string, operation: string, collection: string, failure: string | null]

  async function routed() {
    const store = await openStore()
    const monitor = watch(store.backend)
    const operations: Operation[] = []
    const router = createRouter({
      collections: COLLECTIONS,
      backends: new Map([['store', monitor]]),
      routes: { translation_sessions: 'store', translation_tasks: 'store' },
      onOperation(backend, operation, collection, durationMs, failure) {
        expect(durationMs).toBeGreaterThanOrEqual(0)
        operations.push([backend, operation, collection, failure])
      },
    })
    return { store, monitor, operations, router }
  }

  test('fails at once while its backend is not up', async () => {
    const { router, operations } = await routed()
    const records = router.records(tasks)
    const down = expect.objectContaining({ kind: 'outage', code: 'DOWN' })
    expect(await records.read(tasks, ['s', 't']).catch((error) => error)).toEqual(down)
    expect(await records.write(tasks, []).catch((error) => error)).toEqual(down)
    expect(() => records.scan(tasks, [])).toThrow('is starting')
    expect(operations).toEqual([])
  })

  test('does what its backend does, and tells of every operation', async () => {
    const { router, operations, monitor } = await routed()
    monitor.start()
    await monitor.prepared
    const records = router.records(tasks)
    const row = fullRow(tasks, keyOf(tasks, 's', 1))
    await records.write(tasks, [row])
    expect((await records.read(tasks, row.key))?.key).toEqual(row.key)
    expect(await records.count(tasks, [])).toBe(1)
    expect((await Array.fromAsync(records.scan(tasks, []))).flat().length).toBe(1)
    expect(await records.sizeBytes()).toBeGreaterThan(0)
    const snapshot = await records.snapshot({ timeoutMs: 1000 })
    expect(await snapshot.count(tasks, [])).toBe(1)
    await snapshot.close()
    expect(operations).toEqual([
      ['store', 'write', 'translation_tasks', null],
      ['store', 'read', 'translation_tasks', null],
      ['store', 'count', 'translation_tasks', null],
      ['store', 'sizeBytes', '', null],
      ['store', 'snapshot', '', null],
    ])
    expect(records.maxWriteBytes).toBe(monitor.backend.records!.maxWriteBytes)
    expect(router.backendOf(tasks)).toBe(monitor)
    expect(router.backends()).toEqual([monitor])
    expect(router.records(sessions)).toBeDefined()
  })

  test('offers every operation of the contract that its backend offers', async () => {
    const { router, monitor } = await routed()
    const wrapped = router.records(tasks)
    for (const name of Object.keys(monitor.backend.records!)) expect(wrapped).toHaveProperty(name)
  })

  test('tells the kind of a failure, and has the backend looked at after an outage', async () => {
    const { router, operations, monitor, store } = await routed()
    monitor.start()
    await monitor.prepared
    await store.execute('ALTER TABLE translation_tasks RENAME TO put_aside')
    const failure = await router
      .records(tasks)
      .count(tasks, [])
      .catch((error) => error)
    expect(failure).toMatchObject({ kind: 'outage' })
    expect(operations).toEqual([['store', 'count', 'translation_tasks', 'outage']])
    await until(() => monitor.lastHealth(), { message: 'it is looked at', timeoutMs: 1000 })
  })
})
