import { beforeEach, describe, expect, test } from 'bun:test'
import type { Coordination, InstanceSign } from '../../src/backends/coordination.ts'
import { MAX_INSTANCE_NUMBER, makeStamp } from '../../src/collections/stamp.ts'
import { onEachBackend } from '../support/contract_backends.ts'
import { stampOf, T0 } from '../support/contract_rows.ts'
import { until } from '../support/waiting.ts'

const LONG_MS = 60_000
const sign = (instanceId: string, more: Partial<InstanceSign> = {}): InstanceSign => ({
  instanceId,
  version: '1.0.0',
  state: 'live',
  bufferedRows: 0,
  ...more,
})

onEachBackend('coordination', 'coordination', (store, kind) => {
  const coordination = (): Coordination => store().backend.coordination!
  /** Coordination of as many instances of their own, on the same store. */
  const several = (count: number): Promise<Coordination[]> =>
    Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const backend = await store().openAnother({ owner: `other-${n}`, connection: { pool_size: 2 } })
        return backend.coordination!
      }),
    )

  test('the clock is that of the database, in whole milliseconds, and goes forward', async () => {
    const first = await coordination().now()
    expect(Number.isSafeInteger(first)).toBe(true)
    expect(Math.abs(first - Date.now())).toBeLessThan(60_000)
    expect(await until(async () => (await coordination().now()) > first, { message: 'it goes on' })).toBe(
      true,
    )
  })

  describe('a lease', () => {
    let name: string
    beforeEach(() => {
      name = `lease-${crypto.randomUUID()}`
    })

    test('is held by one alone, and renewed by it', async () => {
      const taken = await coordination().takeLease(name, 'a', LONG_MS)
      expect(taken).toEqual({ fence: expect.any(Number) })
      expect(await coordination().takeLease(name, 'b', LONG_MS)).toBeNull()
      expect(await coordination().takeLease(name, 'a', LONG_MS)).toEqual(taken)
      expect(await coordination().takeLease(name, 'b', LONG_MS)).toBeNull()
    })

    test('is free when it is released, and the fence grows with the holder', async () => {
      const first = (await coordination().takeLease(name, 'a', LONG_MS))!
      await coordination().releaseLease(name, 'a')
      const second = (await coordination().takeLease(name, 'b', LONG_MS))!
      expect(second.fence).toBeGreaterThan(first.fence)
      expect(await coordination().takeLease(name, 'a', LONG_MS)).toBeNull()
      await coordination().releaseLease(name, 'b')
      expect((await coordination().takeLease(name, 'a', LONG_MS))!.fence).toBeGreaterThan(second.fence)
    })

    test('is not released by one that does not hold it', async () => {
      await coordination().takeLease(name, 'a', LONG_MS)
      await coordination().releaseLease(name, 'b')
      expect(await coordination().takeLease(name, 'b', LONG_MS)).toBeNull()
    })

    test('runs out, and then another takes it', async () => {
      const first = (await coordination().takeLease(name, 'a', 50))!
      const second = await until(() => coordination().takeLease(name, 'b', LONG_MS), {
        message: 'the lease runs out',
      })
      expect(second.fence).toBeGreaterThan(first.fence)
      expect(await coordination().takeLease(name, 'a', LONG_MS)).toBeNull()
    })

    test('that is renewed does not run out at its first expiry', async () => {
      await coordination().takeLease(name, 'a', 200)
      const expired = (await coordination().now()) + 250
      await coordination().takeLease(name, 'a', LONG_MS)
      await until(async () => (await coordination().now()) > expired, { message: 'the first expiry is past' })
      expect(await coordination().takeLease(name, 'b', LONG_MS)).toBeNull()
    })

    test('is apart from every other', async () => {
      await coordination().takeLease(name, 'a', LONG_MS)
      expect(await coordination().takeLease(`${name}-2`, 'b', LONG_MS)).not.toBeNull()
    })

    test('is won by exactly one of many that reach for it at once, round after round', async () => {
      const instances = await several(6)
      let fence = 0
      for (let round = 0; round < 8; round++) {
        const taken = await Promise.all(
          instances.map((instance, n) => instance.takeLease(name, `owner-${n}`, LONG_MS)),
        )
        const winners = taken.flatMap((lease, n) => (lease ? [{ n, fence: lease.fence }] : []))
        expect(winners.length).toBe(1)
        expect(winners[0]!.fence).toBeGreaterThanOrEqual(fence)
        fence = winners[0]!.fence
        await instances[winners[0]!.n]!.releaseLease(name, `owner-${winners[0]!.n}`)
      }
    })

    test('that ran out is won by exactly one of many', async () => {
      const instances = await several(6)
      const { fence } = (await coordination().takeLease(name, 'dead', 1))!
      const expired = (await coordination().now()) + 5
      await until(async () => (await coordination().now()) > expired, { message: 'it ran out' })
      const taken = await Promise.all(instances.map((one, n) => one.takeLease(name, `owner-${n}`, LONG_MS)))
      expect(taken.filter((lease) => lease !== null)).toEqual([{ fence: fence + 1 }])
    })
  })

  describe('an instance', () => {
    beforeEach(() => store().execute('DELETE FROM instances'))
    const least = kind.dialect === 'sqlite' ? 0 : 1

    test('gets a number that no other has, also when many register at once', async () => {
      const instances = await several(8)
      const numbers = await Promise.all(
        instances.flatMap((instance, n) => [
          instance.registerInstance(sign(`a-${n}`)),
          instance.registerInstance(sign(`b-${n}`)),
        ]),
      )
      expect(new Set(numbers).size).toBe(16)
      for (const number of numbers) {
        expect(number).toBeGreaterThanOrEqual(least)
        expect(number).toBeLessThanOrEqual(MAX_INSTANCE_NUMBER)
      }
    })

    test('keeps its number when it comes back, signed off or not', async () => {
      const [first, other] = [
        await coordination().registerInstance(sign('first')),
        await coordination().registerInstance(sign('other')),
      ]
      expect(first).not.toBe(other)
      expect(await coordination().registerInstance(sign('first', { version: '2.0.0' }))).toBe(first)
      await coordination().signOffInstance('first')
      expect(await coordination().registerInstance(sign('third'))).not.toBe(first)
      expect(await coordination().registerInstance(sign('first'))).toBe(first)
    })

    test('shows its state, its rows and when it was seen last', async () => {
      await coordination().registerInstance(sign('seen'))
      const before = await coordination().now()
      await coordination().touchInstance(sign('seen', { state: 'draining', bufferedRows: 17 }))
      const [row] = await store().execute(`SELECT * FROM instances WHERE instance_id = 'seen'`)
      expect(row).toMatchObject({ state: 'draining', buffered_rows: 17, version: '1.0.0' })
      expect(Number(row!.seen_at)).toBeGreaterThanOrEqual(before)
      await coordination().signOffInstance('seen')
      const [gone] = await store().execute(`SELECT * FROM instances WHERE instance_id = 'seen'`)
      expect(gone).toMatchObject({ state: 'gone', buffered_rows: 0 })
    })

    test('that was not seen for a day gives its number to another; one that was seen does not', async () => {
      const stale = await coordination().registerInstance(sign('stale'))
      const fresh = await coordination().registerInstance(sign('fresh'))
      const dayAgo = (await coordination().now()) - 24 * 3600 * 1000
      await store().execute(`UPDATE instances SET seen_at = ${dayAgo - 1000} WHERE instance_id = 'stale'`)
      await store().execute(`UPDATE instances SET seen_at = ${dayAgo + 60_000} WHERE instance_id = 'fresh'`)
      expect(await coordination().registerInstance(sign('next'))).toBe(stale)
      expect(await coordination().registerInstance(sign('after'))).not.toBe(fresh)
    })

    test('gets none when all are in use', async () => {
      const now = await coordination().now()
      const values = Array.from(
        { length: MAX_INSTANCE_NUMBER + 1 },
        (_, number) => `('all-${number}', ${number}, 'live', '1', 0, ${now}, ${now})`,
      )
      await store().execute(
        `INSERT INTO instances (instance_id, number, state, version, buffered_rows, started_at, seen_at) VALUES ${values.join(', ')}`,
      )
      const failure = await coordination()
        .registerInstance(sign('one too many'))
        .then(
          () => null,
          (error: unknown) => error,
        )
      expect(failure).toMatchObject({ kind: 'outage', code: 'NO_INSTANCE_NUMBER' })
    })
  })

  describe('a tombstone', () => {
    beforeEach(() => store().execute('DELETE FROM tombstones'))
    const unfinished = () => coordination().unfinishedTombstones(0, 100)

    test('stands until its delete is finished', async () => {
      expect(await coordination().isBeingErased('c', 'g')).toBe(false)
      await coordination().putTombstone('c', 'g', stampOf(1))
      expect(await coordination().isBeingErased('c', 'g')).toBe(true)
      expect(await coordination().isBeingErased('c', 'G')).toBe(false)
      expect(await coordination().isBeingErased('d', 'g')).toBe(false)
      expect(await unfinished()).toEqual([{ collection: 'c', group: 'g', stamp: stampOf(1) }])
      await coordination().finishTombstone('c', 'g', stampOf(1))
      expect(await coordination().isBeingErased('c', 'g')).toBe(false)
      expect(await unfinished()).toEqual([])
    })

    test('keeps the greatest stamp of its group, whichever came first', async () => {
      await coordination().putTombstone('c', 'g', stampOf(5))
      await coordination().putTombstone('c', 'g', stampOf(3))
      expect(await unfinished()).toEqual([{ collection: 'c', group: 'g', stamp: stampOf(5) }])
      await coordination().putTombstone('c', 'g', stampOf(7))
      expect(await unfinished()).toEqual([{ collection: 'c', group: 'g', stamp: stampOf(7) }])
    })

    test('is not finished by an older delete, and is begun again by a newer one', async () => {
      await coordination().putTombstone('c', 'g', stampOf(5))
      await coordination().finishTombstone('c', 'g', stampOf(3))
      expect(await coordination().isBeingErased('c', 'g')).toBe(true)
      await coordination().finishTombstone('c', 'g', stampOf(5))
      await coordination().putTombstone('c', 'g', stampOf(6))
      expect(await coordination().isBeingErased('c', 'g')).toBe(true)
    })

    test('that is finished is not left open by an older delete that comes late', async () => {
      await coordination().putTombstone('c', 'g', stampOf(5))
      await coordination().finishTombstone('c', 'g', stampOf(5))
      await coordination().putTombstone('c', 'g', stampOf(3))
      await coordination().finishTombstone('c', 'g', stampOf(3))
      expect(await coordination().isBeingErased('c', 'g')).toBe(false)
    })

    test('carries all 64 bits of its stamp', async () => {
      const high = makeStamp(2 ** 42 - 1, 4095, 1023)
      await coordination().putTombstone('c', 'high', high)
      await coordination().putTombstone('c', 'high', stampOf(1))
      expect(await unfinished()).toEqual([{ collection: 'c', group: 'high', stamp: high }])
    })

    test('comes up with the oldest first, as many as were asked for', async () => {
      for (const [n, group] of ['x', 'y', 'z'].entries()) {
        await coordination().putTombstone('c', group, stampOf(n))
        await store().execute(`UPDATE tombstones SET created_at = ${T0 - n} WHERE group_key = '${group}'`)
      }
      const found = await coordination().unfinishedTombstones(0, 2)
      expect(found.map(({ group }) => group)).toEqual(['z', 'y'])
    })

    test('whose delete goes on is told from one that was left, by its age on the clock of the database', async () => {
      for (const group of ['left', 'goes-on']) await coordination().putTombstone('c', group, stampOf(1))
      await store().execute(`UPDATE tombstones SET created_at = created_at - 40000 WHERE group_key = 'left'`)
      const found = await coordination().unfinishedTombstones(30_000, 100)
      expect(found.map(({ group }) => group)).toEqual(['left'])
    })

    test('of any group is told from its twins', async () => {
      for (const group of ['A', 'a', `it's`, '😀', 'a/b', '\\']) {
        expect(await coordination().isBeingErased('c', group)).toBe(false)
        await coordination().putTombstone('c', group, stampOf(1))
        expect(await coordination().isBeingErased('c', group)).toBe(true)
      }
    })
  })

  describe('a fact', () => {
    test('is what was put last, and nothing before', async () => {
      expect(await coordination().getFact('nothing')).toBeNull()
      const text = JSON.stringify({ a: [1, null, '😀 \0 "\\ ?'], long: 'x'.repeat(100_000) })
      await coordination().putFact('some', text)
      expect(await coordination().getFact('some')).toBe(text)
      await coordination().putFact('some', '{}')
      expect(await coordination().getFact('some')).toBe('{}')
      expect(await coordination().getFact('Some')).toBeNull()
    })

    test('put by many at once is one of theirs', async () => {
      const instances = await several(5)
      await Promise.all(instances.map((instance, n) => instance.putFact('shared', `${n}`)))
      expect(await coordination().getFact('shared')).toMatch(/^[0-4]$/)
    })
  })

  test('a fact that is a number is added to by many at once, and nothing is lost', async () => {
    const instances = await several(5)
    await Promise.all(
      instances.flatMap((one, n) => [1, 2, 3].map((by) => one.addFact('number', by * 10 ** n))),
    )
    expect(await coordination().getFact('number')).toBe('66666')
    const large = 2 ** 50
    await coordination().addFact('number', large)
    expect(await coordination().getFact('number')).toBe(`${large + 66666}`)
    expect(await coordination().getFact('Number')).toBeNull()
  })

  test('restores are listed with the newest first, and counted', async () => {
    expect(await coordination().listRestores(10)).toEqual([])
    expect(await coordination().countRestores()).toEqual({ total: 0, succeeded: 0 })
    const restores = [3, 1, 2].map((n) => ({
      sessionId: `会话-${n}`,
      tasksCount: n * 1000,
      instanceId: 'one',
      restoredAtMs: T0 + n,
      ok: n !== 2,
    }))
    for (const restore of restores) await coordination().putRestore(restore)
    const [third, first, second] = restores
    expect(await coordination().listRestores(10)).toEqual([third!, second!, first!])
    expect(await coordination().listRestores(1)).toEqual([third!])
    expect(await coordination().countRestores()).toEqual({ total: 3, succeeded: 2 })
  })
})
