import { Database } from 'bun:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Collection } from '../../src/collections/definition.ts'
import type { Row } from '../../src/collections/row.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import { type FreshEnv, freshFolder } from '../support/backends.ts'
import { type OpenStore, onEachCollection } from '../support/contract_backends.ts'
import { accepted, createBufferUnderTest, expectJournalled } from '../support/contract_gates.ts'
import { arbitraryUpdates, expectStored, fullRow, keyOf, mergeByKey } from '../support/contract_rows.ts'
import { type Fault, withFaults } from '../support/faulty_backend.ts'
import { type InProcess, startInProcess } from '../support/in_process.ts'
import { until } from '../support/waiting.ts'

const FAULTS: readonly Fault[] = ['refuse', 'hang', 'slow', 'partial', 'lost']

/** Every run of a property has keys of its own. */
function renamed(rows: readonly Row[], run: number): Row[] {
  return rows.map((row) => ({ ...row, key: row.key.map((part) => part.replace('run', `run${run}`)) }))
}

onEachCollection('a write buffer', (collection, store) => {
  const records = () => store().backend.records!

  function onStore(faulty: ReturnType<typeof withFaults>['backend']) {
    return createBufferUnderTest({
      collections: [collection],
      config: { max_buffer_size: 4, min_batch_rows: 4, max_batch_rows: 4, flush_connections: 2 },
      storeOf: () => faulty.records!,
      coordination: faulty.coordination!,
    })
  }

  beforeEach(async () => {
    await records().purge(collection, [], 100_000)
    await store().execute('DELETE FROM dead_letters')
  })

  test.each(FAULTS)(
    'whose store fails in a write (%s) stores every row once the store is well',
    async (fault) => {
      const { backend, faults } = withFaults(store().backend)
      const under = onStore(backend)
      const rows = Array.from({ length: 12 }, (_, n) =>
        fullRow(collection, keyOf(collection, fault, n), { n }),
      )
      await under.buffer.accept(collection, accepted(rows))
      // Both connections look at the tombstones first: the third call is a write.
      faults.plan(null, null, fault)
      const flush = under.buffer.flush([collection])
      if (fault === 'hang' || fault === 'slow') {
        await until(() => faults.held() === 1, { message: 'the write is held' })
        expect(under.imbalance()).toBe(0)
        faults.release()
      }
      const report = (await flush).get(collection.name)!
      if (fault === 'slow') expect(report).toMatchObject({ written: 12, failure: null })
      else expect(report.failure).toMatchObject({ kind: 'outage' })
      expect(under.imbalance()).toBe(0)
      expect(await under.buffer.drain(10_000)).toBe(0)
      await expectStored(records(), collection, rows)
      expect(under.told).toMatchObject({ accepted: 12, stored: 12, merged: 0 })
      under.buffer.stop()
    },
  )

  test('whose store fails in any way at any time leaves exactly the merge of all that was accepted', async () => {
    let run = 0
    const keys = Array.from({ length: 4 }, (_, n) => keyOf(collection, 'run', n))
    const step = fc.record({
      updates: arbitraryUpdates(collection, keys, { maxLength: 5 }),
      faults: fc.array(fc.constantFrom(null, null, ...FAULTS), { maxLength: 3 }),
      flush: fc.boolean(),
      release: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), async (steps) => {
        run += 1
        const { backend, faults } = withFaults(store().backend)
        const under = onStore(backend)
        const everything: Row[] = []
        const flushes: Promise<unknown>[] = []
        for (const { updates, faults: planned, flush, release } of steps) {
          // A request brings one row a key.
          const rows = mergeByKey(renamed(updates, run))
          everything.push(...rows)
          await under.buffer.accept(collection, accepted(rows))
          faults.plan(...planned)
          if (flush) flushes.push(under.buffer.flush([collection]))
          if (release) faults.release()
          expect(under.imbalance()).toBe(0)
          expect(under.journal!.violations).toEqual([])
        }
        faults.always(null)
        const drained = under.buffer.drain(10_000)
        const letGo = setInterval(faults.release, 1)
        expect(await drained).toBe(0)
        await Promise.all(flushes)
        clearInterval(letGo)
        under.buffer.stop()
        await expectStored(records(), collection, mergeByKey(everything))
        expect(under.imbalance()).toBe(0)
        expect(under.told.stored + under.told.merged).toBe(under.told.accepted)
        expectJournalled(under)
      }),
      { numRuns: 12 },
    )
  })

  test('keeps a refused row while no dead letter can be written, and writes one in the end', async () => {
    const [field] = collection.slots
    await refuseInStore(store, collection, field!)
    const { backend, faults } = withFaults(store().backend)
    const under = onStore(backend)
    const rows = ['good', 'bad', 'fine'].map((value, n) =>
      fullRow(collection, keyOf(collection, 'letter', n), { n, fields: { [field!]: value } }),
    )
    await under.buffer.accept(collection, accepted(rows))
    // The tombstones, the write, and two counts come before it.
    faults.plan(null, null, null, null, 'refuse')
    const first = (await under.buffer.flush([collection])).get(collection.name)!
    expect(first.failure).toMatchObject({ code: 'FAULT_REFUSE' })
    expect(under.buffer.status().rows).toBe(3)
    // The letter is written, its answer lost: it is put again, and is one.
    faults.plan(null, null, null, null, 'lost')
    await under.buffer.flush([collection])
    expect(await under.buffer.drain(10_000)).toBe(0)
    under.buffer.stop()
    await expectStored(records(), collection, [rows[0]!, rows[2]!])
    const count = (n: number) =>
      store().backend.coordination!.countDeadLetters({ collection: collection.name, group: rows[n]!.key[0]! })
    expect(await count(1)).toBe(1)
    expect(under.told).toMatchObject({ accepted: 3, stored: 2, dead_lettered: 1 })
    expect(under.imbalance()).toBe(0)
  })
})

/** Makes the store refuse rows whose field says `bad`. */
async function refuseInStore(store: () => OpenStore, { name }: Collection, field: string): Promise<void> {
  await store().execute(
    store().spec.type === 'sqlite'
      ? `CREATE TRIGGER bad_${name} BEFORE INSERT ON ${name} WHEN NEW.${field} = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END`
      : `ALTER TABLE ${name} ADD CONSTRAINT bad_${name} CHECK (${field} <> 'bad')`,
  )
}

describe('sqlite: the buffer of a whole service', () => {
  let folder: FreshEnv
  let service: InProcess
  beforeEach(async () => {
    folder = await freshFolder()
    service = await startInProcess({ env: { ...folder.env, MAX_BUFFER_SIZE: '50' } })
  })
  afterEach(async () => {
    await service.stop()
    await folder.drop()
  })

  const item = (n: number, more: Record<string, unknown> = {}) => ({
    session_id: 's',
    task_id: `t-${n}`,
    batch_id: 'b',
    sheet_name: 'Sheet',
    row_index: n,
    column_name: 'A',
    source_text: `text ${n}`,
    status: 'pending',
    ...more,
  })
  const BASE = '/api/v1/translation'
  const flush = async () => (await service.http.post(`${BASE}/flush`)).status
  const accept = async (items: unknown[]) =>
    expect((await service.http.post(`${BASE}/tasks/batch`, { tasks: items })).status).toBe(202)
  const total = async () => {
    const { status, body } = await service.http.get<{ total: number }>(`${BASE}/sessions/s/tasks?page_size=1`)
    return status === 404 ? 0 : body.total
  }

  test('is flushed by itself at so many rows, and on request before', async () => {
    await accept(Array.from({ length: 49 }, (_, n) => item(n)))
    expect(await total()).toBe(0)
    expect(await flush()).toBe(200)
    expect(await total()).toBe(49)
    await accept(Array.from({ length: 50 }, (_, n) => item(100 + n)))
    await until(async () => (await total()) === 99, { message: 'the buffer is flushed' })
  })

  test('loses nothing of many requests that come while flushes run', async () => {
    const requests = Array.from({ length: 60 }, (_, request) =>
      accept(Array.from({ length: 20 }, (_, n) => item(request * 10 + n, { source_text: `of ${request}` }))),
    )
    await Promise.all([...requests, ...Array.from({ length: 10 }, () => flush())])
    expect(await flush()).toBe(200)
    expect(await total()).toBe(610)
  })

  test('keeps its rows while the store is away, and stores them when it is back', async () => {
    const execute = rawSql(folder)
    await accept([item(1)])
    execute(`ALTER TABLE ${tasks.name} RENAME TO put_aside`)
    expect(await flush()).toBeGreaterThanOrEqual(500)
    await accept([item(2), item(1, { source_text: 'newer' })])
    execute(`ALTER TABLE put_aside RENAME TO ${tasks.name}`)
    await until(async () => (await flush()) === 200, { message: 'the flush works again' })
    expect(await total()).toBe(2)
    const { body } = await service.http.get(`${BASE}/tasks/t-1?session_id=s`)
    expect(body).toMatchObject({ source_text: 'newer' })
  })

  test('parts with a row that the store refuses, and with no other', async () => {
    const execute = rawSql(folder)
    execute(
      `CREATE TRIGGER bad BEFORE INSERT ON ${tasks.name} WHEN NEW.source_text = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END`,
    )
    await accept([item(1), item(2, { source_text: 'bad' }), item(3)])
    expect(await flush()).toBe(200)
    expect(await total()).toBe(2)
    const [letter] = execute('SELECT group_key, error_code, attempts FROM dead_letters')
    expect(letter).toEqual({ group_key: 's', error_code: 'SQLITE_CONSTRAINT_TRIGGER', attempts: 1 })
  })
})

/** Statements past the service, on its own file. */
function rawSql({ env }: FreshEnv): (statement: string) => unknown[] {
  return (statement) => {
    const client = new Database(`${env.DATA_DIR}/persistence.sqlite`)
    try {
      client.run('PRAGMA busy_timeout = 5000')
      return client.query(statement).all()
    } finally {
      client.close()
    }
  }
}
