import { beforeEach, expect, test } from 'bun:test'
import type { Coordination, InstanceSign } from '../../src/backends/coordination.ts'
import { createReplayedRows } from '../../src/cluster/replayed.ts'
import { onEachBackend } from '../support/contract_backends.ts'
import { until } from '../support/waiting.ts'

const sign = (instanceId: string, more: Partial<InstanceSign> = {}): InstanceSign => ({
  instanceId,
  version: '1.2.3',
  state: 'live',
  bufferedRows: 0,
  ...more,
})

onEachBackend('what instances know of each other', 'coordination', (store) => {
  const coordination = (): Coordination => store().backend.coordination!
  const several = (count: number): Promise<Coordination[]> =>
    Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const backend = await store().openAnother({ owner: `other-${n}`, connection: { pool_size: 2 } })
        return backend.coordination!
      }),
    )
  const listed = async (id: string) =>
    (await coordination().listInstances()).instances.find(({ instanceId }) => instanceId === id)
  const wantedOf = (id: string) => coordination().flushWanted(id)

  beforeEach(async () => {
    await store().execute('DELETE FROM instances')
    await store().execute('DELETE FROM instance_flushes')
  })

  test("nobody is listed at first, and the time is the database's", async () => {
    const before = await coordination().now()
    const { nowMs, instances } = await coordination().listInstances()
    expect(instances).toEqual([])
    expect(nowMs).toBeGreaterThanOrEqual(before)
  })

  test('all are listed with what they said last, and when, by the clock that the list tells', async () => {
    for (const id of ['b', 'B', 'a']) await coordination().registerInstance(sign(id))
    await coordination().touchInstance(sign('a', { state: 'draining', bufferedRows: 17 }))
    await coordination().signOffInstance('B')
    const { nowMs, instances } = await coordination().listInstances()
    expect(instances.map(({ instanceId, state }) => [instanceId, state])).toEqual([
      ['B', 'gone'],
      ['a', 'draining'],
      ['b', 'live'],
    ])
    const a = instances[1]!
    expect(a).toMatchObject({
      version: '1.2.3',
      bufferedRows: 17,
      flushWanted: 0,
      flushDone: 0,
      flushReport: {},
    })
    expect(a.seenAtMs).toBeGreaterThanOrEqual(a.startedAtMs)
    expect(nowMs - a.seenAtMs).toBeWithin(0, 5000)
  })

  test('a request is to every other that did not sign off, and to nobody else', async () => {
    for (const id of ['me', 'a', 'b', 'gone']) await coordination().registerInstance(sign(id))
    await coordination().signOffInstance('gone')
    expect(await wantedOf('a')).toBe(0)
    await coordination().requestFlush('me')
    await coordination().requestFlush('me')
    await coordination().requestFlush('a')
    expect(await Promise.all(['me', 'a', 'b', 'gone', 'nobody'].map(wantedOf))).toEqual([1, 2, 3, 0, 0])
    expect(await listed('b')).toMatchObject({ flushWanted: 3, flushDone: 0 })
  })

  test('a report is of its request, and an older one takes nothing back', async () => {
    for (const id of ['me', 'a']) await coordination().registerInstance(sign(id))
    for (let i = 0; i < 3; i++) await coordination().requestFlush('me')
    await coordination().reportFlush('a', 2, { translation_tasks: 850, translation_sessions: 10 })
    expect(await listed('a')).toMatchObject({
      flushWanted: 3,
      flushDone: 2,
      flushReport: { translation_tasks: 850, translation_sessions: 10 },
    })
    await coordination().reportFlush('a', 1, {})
    expect(await listed('a')).toMatchObject({ flushDone: 2 })
    await coordination().reportFlush('a', 3, {})
    expect(await listed('a')).toMatchObject({ flushDone: 3, flushReport: {} })
  })

  test('a report that nobody asked for is no answer to the next request', async () => {
    for (const id of ['me', 'a']) await coordination().registerInstance(sign(id))
    await coordination().reportFlush('a', 5, {})
    await coordination().requestFlush('me')
    expect(await listed('a')).toMatchObject({ flushWanted: 1, flushDone: 0 })
  })

  test('requests of many at once all count: each is above what was wanted before', async () => {
    const instances = await several(6)
    for (const [n, one] of instances.entries()) await one.registerInstance(sign(`i-${n}`))
    await coordination().registerInstance(sign('me'))
    const rounds = 10
    for (let round = 0; round < rounds; round++) {
      await Promise.all(
        instances.map(async (one, n) => {
          const before = await wantedOf('me')
          await until(() => one.requestFlush(`i-${n}`).then(() => true), {
            message: 'a request, deadlocks or not',
          })
          expect(await wantedOf('me')).toBeGreaterThan(before)
        }),
      )
    }
    expect(await wantedOf('me')).toBeGreaterThanOrEqual(rounds * instances.length)
  })

  test('signs of life and reports go on beside requests', async () => {
    const [one, two] = (await several(2)) as [Coordination, Coordination]
    await one.registerInstance(sign('one'))
    await two.registerInstance(sign('two'))
    for (let round = 0; round < 20; round++) {
      const [, , seen] = await Promise.all([
        one.requestFlush('one'),
        two.reportFlush('two', round, {}),
        two.touchInstance(sign('two')),
      ])
      expect(seen).toBe(true)
    }
    expect(await listed('two')).toMatchObject({ flushWanted: 20, flushDone: 19 })
  })

  test('one that was not seen since is forgotten, and no report of before counts when it is back', async () => {
    for (const id of ['me', 'a']) await coordination().registerInstance(sign(id))
    await coordination().requestFlush('me')
    await coordination().reportFlush('a', 1, {})
    const { seenAtMs } = (await listed('a'))!
    expect(await coordination().forgetInstance('a', seenAtMs - 1)).toBe(false)
    expect(await coordination().forgetInstance('a', seenAtMs)).toBe(true)
    expect(await coordination().forgetInstance('a', seenAtMs)).toBe(false)
    expect(await listed('a')).toMatchObject({ state: 'gone', bufferedRows: 0 })
    // It was only cut off: its number is still its own.
    expect(await coordination().touchInstance(sign('a'))).toBe(true)
    expect(await listed('a')).toMatchObject({ state: 'live' })
    await coordination().requestFlush('me')
    const back = (await listed('a'))!
    expect(back.flushDone).toBeLessThan(back.flushWanted)
  })

  test('rows that came from journals are added up, also where all instances start at once', async () => {
    const instances = await several(4)
    const counts = instances.map((one) => createReplayedRows({ coordination: one }))
    const whole = counts[0]!
    expect(await whole.total()).toBe(0)
    await Promise.all(counts.flatMap((one, n) => [one.add(n * 10), one.add(1), one.add(0)]))
    expect(await whole.total()).toBe(64)
  })
})
