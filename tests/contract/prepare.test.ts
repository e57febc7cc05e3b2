import { afterEach, describe, expect, test } from 'bun:test'
import { BackendError } from '../../src/backends/backend.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import {
  type BackendKind,
  backendKinds,
  type OpenStore,
  recordCollections,
} from '../support/contract_backends.ts'
import { expectStored, fullRow, keyOf } from '../support/contract_rows.ts'
import { until } from '../support/waiting.ts'

const stores: OpenStore[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

async function freshStore(kind: BackendKind): Promise<OpenStore> {
  const store = await kind.open({ prepare: false })
  stores.push(store)
  return store
}

const kinds = backendKinds.filter(({ skip }) => skip === undefined).map((kind) => [kind.name, kind] as const)
for (const { name, skip } of backendKinds) {
  if (skip !== undefined) test.skip(`${name}: preparing a store (left out: ${skip})`, () => undefined)
}

async function appliedMigrations(store: OpenStore): Promise<string[]> {
  const found = await store.execute('SELECT name FROM schema_migrations ORDER BY name')
  return found.map(({ name }) => String(name))
}

const row = fullRow(tasks, keyOf(tasks, 'kept', 1))

describe.each(kinds)('%s: preparing a store', (_, kind) => {
  test('makes it whole, and a second time changes nothing', async () => {
    const store = await freshStore(kind)
    await store.backend.prepare({ migrate: true })
    await store.backend.records!.write(tasks, [row])
    await store.backend.prepare({ migrate: true })
    await expectStored(store.backend.records!, tasks, [row])
    const applied = await appliedMigrations(store)
    expect(applied.length).toBeGreaterThan(0)
    expect(new Set(applied).size).toBe(applied.length)
  })

  test('without migrating leaves it as it is: its tables are an outage until somebody makes them', async () => {
    const store = await freshStore(kind)
    await store.backend.prepare({ migrate: false })
    const failure = await store.backend.records!.read(tasks, row.key).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(BackendError)
    expect(failure).toMatchObject({ kind: 'outage' })
    const other = await store.openAnother()
    await other.prepare({ migrate: true })
    expect(await store.backend.records!.read(tasks, row.key)).toBeNull()
  })

  test('by several at once on a fresh store is done once, and all find it ready', async () => {
    const store = await freshStore(kind)
    const owners = ['one', 'two', 'three', 'four']
    const backends = await Promise.all(owners.map((owner) => store.openAnother({ owner })))
    await Promise.all(backends.map((backend) => backend.prepare({ migrate: true })))
    for (const [n, backend] of backends.entries()) {
      const own = fullRow(sessions, [`by-${n}`], { n })
      expect(await backend.records!.write(sessions, [own])).toEqual({ refused: [] })
    }
    for (const collection of recordCollections) {
      expect(await store.backend.records!.count(collection, [])).toBe(collection === sessions ? 4 : 0)
    }
    const applied = await appliedMigrations(store)
    expect(new Set(applied).size).toBe(applied.length)
  })

  test('goes on where one was killed between a statement and the record of it', async () => {
    const store = await freshStore(kind)
    await store.backend.prepare({ migrate: true })
    const applied = await appliedMigrations(store)
    await store.backend.records!.write(tasks, [row])
    await store.execute('DELETE FROM schema_migrations')
    await store.backend.prepare({ migrate: true })
    expect(await appliedMigrations(store)).toEqual(applied)
    await expectStored(store.backend.records!, tasks, [row])
  })

  test('waits for whoever migrates, and goes on when that one is gone', async () => {
    const store = await freshStore(kind)
    await store.backend.prepare({ migrate: true })
    await store.execute('DELETE FROM schema_migrations')
    const { coordination } = store.backend
    await coordination!.takeLease('migrations', 'somebody', 60_000)
    const other = await store.openAnother({ owner: 'waiting' })
    let done = false
    const preparing = other.prepare({ migrate: true }).then(() => {
      done = true
    })
    // It has looked at the lease, and is not done: whatever it does next is to look again.
    await until(async () => (await coordination!.takeLease('migrations', 'third', 1)) === null, {
      message: 'the lease is held',
    })
    expect(done).toBe(false)
    expect(await appliedMigrations(store)).toEqual([])
    await coordination!.releaseLease('migrations', 'somebody')
    await preparing
    expect((await appliedMigrations(store)).length).toBeGreaterThan(0)
    // It has given the lease back.
    expect(await coordination!.takeLease('migrations', 'next', 1000)).not.toBeNull()
  })
})
