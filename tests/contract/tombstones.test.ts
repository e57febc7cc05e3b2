/** Tombstones beyond their delete: what they void, that they are put only over what was examined, how they end. */
import { beforeEach, describe, expect, test } from 'bun:test'
import { createConnection } from 'mysql2/promise'
import type { Coordination } from '../../src/backends/coordination.ts'
import { packStamps } from '../../src/collections/row.ts'
import { makeStamp } from '../../src/collections/stamp.ts'
import { translationSessions as sessions } from '../../src/collections/translation.ts'
import { type OpenStore, onEachBackend } from '../support/contract_backends.ts'
import { fullRow, rowWith, stampOf, T0 } from '../support/contract_rows.ts'
import { revealed } from '../support/revealed.ts'
import { until } from '../support/waiting.ts'

onEachBackend('tombstones', 'coordination', (store, kind) => {
  const coordination = (): Coordination => store().backend.coordination!
  const records = () => store().backend.records!
  const unfinished = () => coordination().unfinishedTombstones(0, 100)
  const stampOfGroup = async (group: string) =>
    (await coordination().tombstonesOf(sessions.name, [group])).get(group)
  const age = (group: string, ms: number) =>
    store().execute(`UPDATE tombstones SET created_at = created_at - ${ms} WHERE group_key = '${group}'`)
  async function finished(group: string, stamp: bigint): Promise<void> {
    await coordination().putTombstone('c', group, stamp)
    await coordination().finishTombstone('c', group, stamp)
  }
  const groupsOf = (list: readonly { group: string }[]) => list.map(({ group }) => group)
  beforeEach(async () => {
    await store().execute('DELETE FROM tombstones')
    await store().execute('DELETE FROM translation_sessions')
  })

  describe('of many groups', () => {
    test('are told with their stamps, finished or not; groups without one are not there', async () => {
      const groups = Array.from({ length: 1203 }, (_, n) => `group-${n}`)
      const deleted = groups.filter((_, n) => n % 100 === 1)
      for (const [n, group] of deleted.entries()) {
        await coordination().putTombstone('c', group, stampOf(n))
        if (n % 2) await coordination().finishTombstone('c', group, stampOf(n))
      }
      expect(await coordination().tombstonesOf('c', groups)).toEqual(
        new Map(deleted.map((group, n) => [group, stampOf(n)])),
      )
      expect(await coordination().tombstonesOf('d', groups)).toEqual(new Map())
      expect(await coordination().tombstonesOf('c', [])).toEqual(new Map())
    })

    test('are told from their twins, to the last bit of the stamp', async () => {
      const high = makeStamp(2 ** 42 - 1, 4095, 1023)
      const groups = ['A', `it's`, '😀', '\\', '?']
      for (const group of groups) await coordination().putTombstone('c', group, high)
      const twins = ['a', 'its', '😁', '\\\\', '%']
      expect(await coordination().tombstonesOf('c', [...groups, ...twins])).toEqual(
        new Map(groups.map((group) => [group, high])),
      )
    })
  })

  describe('put only over what was examined', () => {
    const row = fullRow(sessions, ['s'], { stamp: stampOf(1) })
    const putIf = (stamp: bigint, seen: Uint8Array | null, group = 's') =>
      coordination().putTombstoneIfUnchanged(sessions, group, stamp, seen)

    test('stamps are read as they are stored; there are none where there is no row', async () => {
      expect(await coordination().stampsOf(sessions, 's')).toBeNull()
      await records().write(sessions, [row])
      const stamps = await coordination().stampsOf(sessions, 's')
      expect(Buffer.from(stamps!).toString('hex')).toBe(packStamps(row))
      expect(await coordination().stampsOf(sessions, 'S')).toBeNull()
    })

    test('it is put over the row that was seen, and only there', async () => {
      await records().write(sessions, [row, fullRow(sessions, ['other'], { stamp: stampOf(2) })])
      const seen = await coordination().stampsOf(sessions, 's')
      expect(await putIf(stampOf(1), seen)).toBe(true)
      expect(await unfinished()).toEqual([{ collection: sessions.name, group: 's', stamp: stampOf(1) }])
      expect(await putIf(stampOf(1), seen, 'other')).toBe(false)
      expect(await putIf(stampOf(1), seen, 'nobody')).toBe(false)
      expect(await putIf(stampOf(1), null)).toBe(false)
      expect(await unfinished()).toHaveLength(1)
    })

    test('any write in between keeps it away, a single field of a lower stamp too', async () => {
      await records().write(sessions, [rowWith(sessions, ['s'], { filename: 'a' }, stampOf(5))])
      const seen = await coordination().stampsOf(sessions, 's')
      await records().write(sessions, [rowWith(sessions, ['s'], { deleted_at: null }, stampOf(1))])
      expect(await putIf(stampOf(5), seen)).toBe(false)
      expect(await unfinished()).toEqual([])
      expect(await putIf(stampOf(5), await coordination().stampsOf(sessions, 's'))).toBe(true)
    })

    test('over a row that was not there it is put while there is none', async () => {
      expect(await putIf(stampOf(3), null)).toBe(true)
      expect(await stampOfGroup('s')).toBe(stampOf(3))
      await records().write(sessions, [row])
      expect(await putIf(stampOf(4), null)).toBe(false)
      expect(await stampOfGroup('s')).toBe(stampOf(3))
    })

    test('it raises an older delete, keeps a newer one, and says that it was put when it is there already', async () => {
      await records().write(sessions, [row])
      const seen = await coordination().stampsOf(sessions, 's')
      await coordination().putTombstone(sessions.name, 's', stampOf(3))
      await coordination().finishTombstone(sessions.name, 's', stampOf(3))
      for (const [stamp, stands, open] of [
        [2, 3, false],
        [3, 3, false],
        [5, 5, true],
        [5, 5, true],
        [4, 5, true],
      ] as const) {
        expect(await putIf(stampOf(stamp), seen)).toBe(true)
        expect(await stampOfGroup('s')).toBe(stampOf(stands))
        expect(await coordination().isBeingErased(sessions.name, 's')).toBe(open)
      }
    })

    test('of two that reach for it at once both see the same row, and the greater stands', async () => {
      await records().write(sessions, [row])
      const seen = await coordination().stampsOf(sessions, 's')
      const put = await Promise.all(Array.from({ length: 8 }, (_, n) => putIf(stampOf(n), seen)))
      expect(put).toEqual(put.map(() => true))
      expect(await stampOfGroup('s')).toBe(stampOf(7))
    })

    if (kind.dialect === 'sqlite') return

    for (const [what, seenBefore] of [
      ['change', true],
      ['first write', false],
    ] as const) {
      test(`it waits for a ${what} of the row that is under way, and sees it`, async () => {
        if (seenBefore) await records().write(sessions, [row])
        const seen = await coordination().stampsOf(sessions, 's')
        const writer = await connect(store())
        try {
          await writer.query('BEGIN')
          await writer.query(
            seenBefore
              ? `UPDATE translation_sessions SET stamps = CONCAT(stamps, X'00') WHERE session_id = 's'`
              : `INSERT INTO translation_sessions (session_id, created_at, updated_at, stamps) VALUES ('s', NOW(3), NOW(3), X'00')`,
          )
          let answered = false
          const put = putIf(stampOf(1), seen).finally(() => {
            answered = true
          })
          await until(async () => answered || (await waits(store())), { message: 'it waits for the lock' })
          expect(answered).toBe(false)
          await writer.query('COMMIT')
          expect(await put).toBe(false)
          expect(await unfinished()).toEqual([])
        } finally {
          await writer.end()
        }
      })
    }
  })

  describe('after their delete', () => {
    test('are applied once more, the oldest first, when they are old enough', async () => {
      for (const [n, group] of ['x', 'y', 'z'].entries()) {
        await finished(group, stampOf(n))
        await age(group, 60_000 + n * 1000)
      }
      await coordination().putTombstone('c', 'unfinished', stampOf(9))
      await age('unfinished', 3_600_000)
      await finished('young', stampOf(9))
      expect(groupsOf(await coordination().unrepeatedTombstones(59_000, 10))).toEqual(['z', 'y', 'x'])
      expect(await coordination().unrepeatedTombstones(59_000, 1)).toEqual([
        { collection: 'c', group: 'z', stamp: stampOf(2) },
      ])
      expect(groupsOf(await coordination().unrepeatedTombstones(3_600_000, 10))).toEqual([])
      await coordination().markRepeated({ collection: 'c', group: 'y', stamp: stampOf(1) })
      expect(groupsOf(await coordination().unrepeatedTombstones(59_000, 10))).toEqual(['z', 'x'])
      expect(groupsOf(await coordination().unrepeatedTombstones(0, 10))).toContain('young')
    })

    test('one that was repeated stays so, hides nothing, and begins anew with a later delete', async () => {
      await finished('g', stampOf(5))
      await coordination().markRepeated({ collection: 'c', group: 'g', stamp: stampOf(5) })
      await coordination().finishTombstone('c', 'g', stampOf(5))
      await coordination().putTombstone('c', 'g', stampOf(3))
      expect(await coordination().unrepeatedTombstones(0, 10)).toEqual([])
      expect(await coordination().isBeingErased('c', 'g')).toBe(false)
      await coordination().putTombstone('c', 'g', stampOf(6))
      expect(await coordination().isBeingErased('c', 'g')).toBe(true)
      await coordination().finishTombstone('c', 'g', stampOf(6))
      expect(groupsOf(await coordination().unrepeatedTombstones(0, 10))).toEqual(['g'])
    })

    test('neither an unfinished one nor a later delete is marked as repeated', async () => {
      await coordination().putTombstone('c', 'g', stampOf(5))
      await coordination().markRepeated({ collection: 'c', group: 'g', stamp: stampOf(5) })
      expect(await coordination().isBeingErased('c', 'g')).toBe(true)
      await coordination().finishTombstone('c', 'g', stampOf(5))
      await coordination().markRepeated({ collection: 'c', group: 'g', stamp: stampOf(4) })
      expect(groupsOf(await coordination().unrepeatedTombstones(0, 10))).toEqual(['g'])
    })

    test('are purged when they are old, as many as were asked for, and unfinished ones never', async () => {
      for (const group of ['a', 'b', 'c']) await finished(group, stampOf(1))
      await coordination().markRepeated({ collection: 'c', group: 'c', stamp: stampOf(1) })
      await finished('young', stampOf(1))
      await coordination().putTombstone('c', 'unfinished', stampOf(1))
      for (const group of ['a', 'b', 'c', 'unfinished']) await age(group, 120_000)
      expect(await coordination().purgeTombstones(60_000, 2)).toBe(2)
      expect(await coordination().purgeTombstones(60_000, 2)).toBe(1)
      expect(await coordination().purgeTombstones(60_000, 2)).toBe(0)
      const kept = await coordination().tombstonesOf('c', ['a', 'b', 'c', 'young', 'unfinished'])
      expect([...kept.keys()].toSorted()).toEqual(['unfinished', 'young'])
    })

    test('outlive the time of their stamp too: it may be ahead of the clock', async () => {
      const now = await coordination().now()
      await finished('ahead', makeStamp(now + 3_600_000, 0, 1))
      await finished('past', makeStamp(T0, 0, 1))
      for (const group of ['ahead', 'past']) await age(group, 120_000)
      expect(await coordination().purgeTombstones(60_000, 10)).toBe(1)
      expect([...(await coordination().tombstonesOf('c', ['ahead', 'past'])).keys()]).toEqual(['ahead'])
    })
  })
})

function connect({ spec }: OpenStore) {
  if (spec.type !== 'mysql') throw new TypeError('only a server has other connections')
  const { host, port, user, password, database } = spec.config
  return createConnection(revealed({ host, port, user, password, database }))
}

/** Whether a statement that puts a tombstone is being executed. */
async function waits(store: OpenStore): Promise<boolean> {
  const running = await store.execute(
    `SELECT info FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE 'INSERT INTO tombstones%'`,
  )
  return running.length > 0
}
