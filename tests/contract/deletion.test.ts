/** What deletes and retention do behind their answers, on every store: repeat, resume, spare, put off. */
import { beforeEach, describe, expect, test } from 'bun:test'
import type { RecordStore } from '../../src/backends/backend.ts'
import type { Coordination } from '../../src/backends/coordination.ts'
import { createStampSource } from '../../src/buffer/stamp_source.ts'
import type { WriteBuffer } from '../../src/buffer/write_buffer.ts'
import type { CollectionRouter } from '../../src/collections/router.ts'
import type { Row } from '../../src/collections/row.ts'
import { makeStamp, type Stamp } from '../../src/collections/stamp.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { createLogger } from '../../src/lib/log.ts'
import { createDeletion } from '../../src/translation/deletion.ts'
import { createReader } from '../../src/translation/read.ts'
import { createRetention, type RetentionResult } from '../../src/translation/retention.ts'
import { onEachBackend } from '../support/contract_backends.ts'
import { fullRow, rowWith, stampOf, T0 } from '../support/contract_rows.ts'

const DAY_MS = 86_400_000
/** A year after the rows were written. */
const NOW = T0 + 365 * DAY_MS
const DAYS = { completedDays: 90, failedDays: 30, deletedDays: 7, incompleteDays: 30 }
const later: Stamp = makeStamp(NOW, 0, 2)

/** An instance that holds nothing itself: what others hold is what these tests are about. */
const emptyBuffer = {
  get: () => undefined,
  group: () => new Map(),
  withRest: () => [],
  all: () => [],
  flush: async () => new Map(),
  erase: async () => undefined,
} as unknown as WriteBuffer

onEachBackend('deletes and retention', 'coordination', (store) => {
  const records = (): RecordStore => store().backend.records!
  const coordination = (): Coordination => store().backend.coordination!

  /** The services of one instance; `intercept` replaces methods of its coordination or its store. */
  function instance(
    intercept: {
      coordination?: Partial<Coordination>
      records?: Partial<RecordStore>
      storedByAll?: () => Promise<{ missing: string[] }>
      repeatAfterMs?: number
      keepMs?: number
    } = {},
  ) {
    const logs: { message: string; level: string; meta?: unknown; session_id?: string }[] = []
    const log = createLogger({
      level: 'debug',
      instance: 'one',
      write: (line) => logs.push(JSON.parse(line)),
    })
    const clock = { nowMs: () => NOW }
    const router = { records: () => ({ ...records(), ...intercept.records }) } as unknown as CollectionRouter
    const shared = { ...coordination(), ...intercept.coordination }
    const stamps = createStampSource({ clock, instanceNumber: () => 1 })
    const base = { router, buffer: emptyBuffer, coordination: shared, stamps, clock, log }
    const reader = createReader(base)
    const deletion = createDeletion({
      ...base,
      reader,
      mode: 'hard',
      nowMs: clock.nowMs,
      repeatAfterMs: intercept.repeatAfterMs ?? 0,
      keepMs: intercept.keepMs ?? 0,
    })
    const retention = createRetention({
      ...base,
      deletion,
      storedByAll: intercept.storedByAll ?? (async () => ({ missing: [] })),
      days: DAYS,
    })
    return { deletion, retention, reader, logs }
  }

  const session = (id: string, options: { stamp?: Stamp; fields?: Record<string, string | number> } = {}) =>
    fullRow(sessions, [id], { ...options, fields: { status: 'failed', ...options.fields } })
  const task = (id: string, n: number, stamp = stampOf(1)) => fullRow(tasks, [id, `t${n}`], { n, stamp })
  const write = async (...rows: Row[]) => {
    await records().write(
      sessions,
      rows.filter(({ key }) => key.length === 1),
    )
    await records().write(
      tasks,
      rows.filter(({ key }) => key.length === 2),
    )
  }
  const rowsOf = async (id: string) =>
    (await records().count(sessions, [{ op: 'eq', field: 'session_id', value: id }])) +
    (await records().count(tasks, [{ op: 'eq', field: 'session_id', value: id }]))
  const hasTombstone = async (id: string) => (await coordination().tombstonesOf(sessions.name, [id])).has(id)

  beforeEach(async () => {
    for (const table of ['tombstones', 'dead_letters', 'facts', 'translation_sessions', 'translation_tasks'])
      await store().execute(`DELETE FROM ${table}`)
  })

  describe('a delete', () => {
    test('is applied once more: what a late statement brought back goes, what came after stays shown', async () => {
      const { deletion, reader, logs } = instance()
      await write(session('a'), task('a', 1))
      expect(await deletion.remove('a')).toEqual({ status: 'deleted', deletedTasks: 1 })
      // A statement of before commits, and the session is made anew.
      await write(task('a', 1), task('a', 2), session('a', { stamp: later }), task('a', 3, later))
      await coordination().putDeadLetters([
        { collection: tasks.name, row: task('a', 4), code: '1', reason: 'late' },
      ])
      const read = coordination().isBeingErased(sessions.name, 'a')
      expect(await deletion.repeatDeletes()).toBe(1)
      expect(await read).toBe(false)
      expect(await rowsOf('a')).toBe(2)
      expect(await reader.shownSession('a')).not.toBeNull()
      expect(await coordination().countDeadLetters({ group: 'a' })).toBe(0)
      expect(logs).toContainEqual(
        expect.objectContaining({
          level: 'WARN',
          session_id: 'a',
          meta: { removed_sessions: 0, removed_tasks: 2 },
        }),
      )
      await write(task('a', 1))
      expect(await deletion.repeatDeletes()).toBe(0)
    })

    test('is not applied once more before its time, nor while it is unfinished', async () => {
      const { deletion } = instance({ repeatAfterMs: 600_000 })
      await write(session('a'))
      await deletion.remove('a')
      await coordination().putTombstone(sessions.name, 'b', stampOf(1))
      expect(await deletion.repeatDeletes()).toBe(0)
      await store().execute('UPDATE tombstones SET created_at = created_at - 600000')
      expect(await deletion.repeatDeletes()).toBe(1)
    })

    test('more than one page of them is', async () => {
      const { deletion } = instance()
      for (let n = 0; n < 45; n++) {
        await coordination().putTombstone(sessions.name, `s${n}`, stampOf(n))
        await coordination().finishTombstone(sessions.name, `s${n}`, stampOf(n))
      }
      await write(task('s44', 1))
      expect(await deletion.repeatDeletes()).toBe(45)
      expect(await rowsOf('s44')).toBe(0)
    })

    test('whose tombstone alone is there is carried out by resume', async () => {
      const { deletion } = instance()
      await write(session('a'), task('a', 1), task('a', 2, later))
      await coordination().putTombstone(sessions.name, 'a', stampOf(5))
      // Put a moment ago, it is whoever put it that removes the rows.
      await deletion.resume()
      expect(await rowsOf('a')).toBe(3)
      await store().execute('UPDATE tombstones SET created_at = created_at - 30000')
      await deletion.resume()
      expect(await coordination().isBeingErased(sessions.name, 'a')).toBe(false)
      expect(await rowsOf('a')).toBe(1)
    })

    test('answers all that was there, also where another one of the same session takes some of it', async () => {
      await write(session('a'), task('a', 1), task('a', 2), task('a', 3))
      const inner = coordination()
      const { deletion } = instance({
        coordination: {
          async putTombstone(...args) {
            await inner.putTombstone(...args)
            await records().erase(tasks, 'a', args[2], 2)
          },
        },
      })
      expect(await deletion.remove('a')).toEqual({ status: 'deleted', deletedTasks: 3 })
      expect(await rowsOf('a')).toBe(0)
    })

    test('is forgotten when nothing older can come, and not while it is unfinished', async () => {
      const { deletion } = instance()
      await coordination().putTombstone(sessions.name, 'a', stampOf(1))
      await coordination().finishTombstone(sessions.name, 'a', stampOf(1))
      await coordination().putTombstone(sessions.name, 'b', stampOf(1))
      expect(await instance({ keepMs: DAY_MS }).deletion.purgeTombstones()).toBe(0)
      expect(await deletion.purgeTombstones()).toBe(1)
      expect([await hasTombstone('a'), await hasTombstone('b')]).toEqual([false, true])
    })

    test('takes its stamp above everything stored, whatever clock wrote it', async () => {
      const ahead = makeStamp(NOW + 30 * DAY_MS, 7, 9)
      await write(session('a'), task('a', 1, ahead))
      await instance().deletion.remove('a')
      expect(await rowsOf('a')).toBe(0)
      expect((await coordination().tombstonesOf(sessions.name, ['a'])).get('a')).toBeGreaterThan(ahead)
    })

    test('of what is not there is 404, with a finished tombstone', async () => {
      const failure = await instance()
        .deletion.remove('nothing')
        .catch((error) => error)
      expect(failure).toMatchObject({ code: 'SESSION_NOT_FOUND' })
      expect(await hasTombstone('nothing')).toBe(true)
      expect(await coordination().isBeingErased(sessions.name, 'nothing')).toBe(false)
    })
  })

  describe('retention', () => {
    const old = async (id: string) => {
      await write(session(id), task(id, 1), task(id, 2))
    }
    const reopening = (id: string) => rowWith(sessions, [id], { status: 'processing' }, later)

    test('removes what is old, up to the newest stamp that it saw', async () => {
      await old('a')
      expect(await instance().retention.run()).toMatchObject({ deletedSessions: 1, deletedTasks: 2 })
      expect(await rowsOf('a')).toBe(0)
      expect((await coordination().tombstonesOf(sessions.name, ['a'])).get('a')).toBe(stampOf(1))
    })

    test('lets the others store first: a session that was opened again in a buffer of theirs keeps all', async () => {
      await old('a')
      const { retention } = instance({
        async storedByAll() {
          await write(reopening('a'))
          return { missing: [] }
        },
      })
      expect(await retention.cleanup(DAYS, { dryRun: false })).toEqual({
        deletedSessions: 0,
        deletedTasks: 0,
      })
      expect(await rowsOf('a')).toBe(3)
      expect(await hasTombstone('a')).toBe(false)
    })

    test('lets the others store for each page, after it looked: what they accepted during the look is spared', async () => {
      const ids = Array.from({ length: 101 }, (_, n) => `s${String(n).padStart(3, '0')}`)
      for (const id of ids) await old(id)
      const inner = coordination()
      /** What another instance has accepted, and not stored yet. */
      const held: Row[] = []
      let stores = 0
      const { retention } = instance({
        coordination: {
          async stampsOf(...args) {
            const found = await inner.stampsOf(...args)
            if (args[1] === 's000') held.push(reopening('s000'))
            if (args[1] === 's050') held.push(task('s050', 3, later))
            // Examined long after the first page's look, in another one.
            if (args[1] === 's100') held.push(reopening('s100'))
            return found
          },
        },
        async storedByAll() {
          stores++
          await write(...held.splice(0))
          return { missing: [] }
        },
      })
      expect(await retention.cleanup(DAYS, { dryRun: false })).toEqual({
        deletedSessions: 98,
        deletedTasks: 196,
      })
      expect(await Promise.all(['s000', 's050', 's100', 's001'].map(rowsOf))).toEqual([3, 4, 3, 0])
      expect(await Promise.all(['s000', 's050', 's100'].map(hasTombstone))).toEqual([false, false, false])
      expect(stores).toBe(2)
    })

    test('asks nobody to store where nothing is old, and stops at the page for which one is missing', async () => {
      let stores = 0
      const { retention } = instance({
        storedByAll: async () => ({ missing: ++stores > 1 ? ['two'] : [] }),
      })
      await write(session('open', { fields: { status: 'processing' } }), task('open', 1))
      expect(await retention.cleanup(DAYS, { dryRun: false })).toMatchObject({ deletedSessions: 0 })
      expect(stores).toBe(0)
      for (let n = 0; n < 101; n++) await write(session(`s${n}`))
      expect(await retention.run()).toMatchObject({ deletedSessions: 100 })
      const failure = await retention.cleanup(DAYS, { dryRun: false }).catch((error) => error)
      expect(failure).toMatchObject({ code: 'BACKEND_UNAVAILABLE', members: { missing_instances: ['two'] } })
      expect(await retention.cleanup(DAYS, { dryRun: true })).toMatchObject({ deletedSessions: 1 })
    })

    test('puts all tombstones of a page before it erases anything, and counts what another one erases', async () => {
      for (const id of ['a', 'b', 'c']) await old(id)
      const inner = records()
      const marked: boolean[] = []
      const { retention } = instance({
        records: {
          async erase(...args) {
            marked.push(await hasTombstone('c'))
            if (args[0] === tasks) await inner.erase(...args)
            return inner.erase(...args)
          },
        },
      })
      expect(await retention.run()).toMatchObject({ deletedSessions: 3, deletedTasks: 6 })
      expect(new Set(marked)).toEqual(new Set([true]))
    })

    for (const at of ['stampsOf', 'putTombstoneIfUnchanged'] as const) {
      test(`spares a session that is written while it is examined (before ${at})`, async () => {
        await old('a')
        const inner = coordination()
        const { retention } = instance({
          coordination: {
            [at]: async (...args: unknown[]) => {
              await write(reopening('a'))
              return (inner[at] as (...args: unknown[]) => Promise<unknown>)(...args)
            },
          },
        })
        expect(await retention.run()).toMatchObject({ deletedSessions: 0, deletedTasks: 0 })
        expect(await rowsOf('a')).toBe(3)
        expect(await hasTombstone('a')).toBe(false)
      })
    }

    test('spares a session that is written after its age was seen', async () => {
      await old('a')
      const inner = records()
      const { retention } = instance({
        records: {
          async count(...args) {
            const found = await inner.count(...args)
            await write(reopening('a'))
            return found
          },
        },
      })
      expect(await retention.run()).toMatchObject({ deletedSessions: 0, deletedTasks: 0 })
      expect(await rowsOf('a')).toBe(3)
      expect(await hasTombstone('a')).toBe(false)
    })

    test('is put off while an instance is missing: nothing goes, its timer logs whom it waits for', async () => {
      await old('a')
      await write(rowWith(sessions, ['half'], { filename: 'half' }, stampOf(1)), task('alone', 1))
      const { retention, logs } = instance({ storedByAll: async () => ({ missing: ['two'] }) })
      expect(await retention.run()).toBeNull()
      expect(logs).toContainEqual(
        expect.objectContaining({ level: 'WARN', meta: { missing_instances: ['two'] } }),
      )
      const failure = await retention.cleanup(DAYS, { dryRun: false }).catch((error) => error)
      expect(failure).toMatchObject({ code: 'BACKEND_UNAVAILABLE', members: { missing_instances: ['two'] } })
      expect(await retention.cleanup(DAYS, { dryRun: true })).toEqual({ deletedSessions: 1, deletedTasks: 2 })
      expect([await rowsOf('a'), await rowsOf('half'), await rowsOf('alone')]).toEqual([3, 1, 1])
    })

    test('counts what never became whole, or has no session, as it goes', async () => {
      await write(rowWith(sessions, ['half'], { filename: 'half' }, stampOf(1)), task('alone', 1))
      await write(session('open', { fields: { status: 'processing' } }), task('open', 1))
      await write(rowWith(tasks, ['open', 'half'], { status: 'failed' }, stampOf(1)))
      expect(await instance().retention.run()).toEqual({
        deletedSessions: 0,
        deletedTasks: 0,
        incompleteSessions: 1,
        incompleteTasks: 1,
        parentlessTasks: 1,
      })
      expect([await rowsOf('half'), await rowsOf('alone'), await rowsOf('open')]).toEqual([0, 0, 2])
    })

    test('an undelete that is overtaken by the purge shows nothing, and leaves nothing for long', async () => {
      await write(session('a', { fields: { deleted_at: T0 } }), task('a', 1))
      const inner = coordination()
      const { retention } = instance()
      let purged: RetentionResult | null = null
      const { deletion, reader } = instance({
        coordination: {
          // The last thing that an undelete looks at before it marks.
          async isBeingErased(...args) {
            const erasing = await inner.isBeingErased(...args)
            purged ??= await retention.run()
            return erasing
          },
        },
      })
      await deletion.undelete('a')
      expect(purged).toMatchObject({ deletedSessions: 1, deletedTasks: 1 })
      expect(await reader.session('a').catch((error) => error)).toMatchObject({ code: 'SESSION_NOT_FOUND' })
      expect(await rowsOf('a')).toBe(1)
      expect(await reader.sessionRow('a')).toMatchObject({ key: ['a'] })
      const aMonthLater = createRetention({
        router: { records } as unknown as CollectionRouter,
        buffer: emptyBuffer,
        coordination: inner,
        deletion,
        storedByAll: async () => ({ missing: [] }),
        clock: { nowMs: () => NOW + 31 * DAY_MS },
        log: createLogger({ level: 'error', instance: 'one', write: () => undefined }),
        days: DAYS,
      })
      expect(await aMonthLater.run()).toMatchObject({ incompleteSessions: 1 })
      expect(await rowsOf('a')).toBe(0)
    })

    test('a purge that is overtaken by the undelete spares the session', async () => {
      await write(session('a', { fields: { deleted_at: T0 } }), task('a', 1))
      const inner = coordination()
      const { deletion, reader } = instance()
      const { retention } = instance({
        coordination: {
          async putTombstoneIfUnchanged(...args) {
            await deletion.undelete('a')
            return inner.putTombstoneIfUnchanged(...args)
          },
        },
      })
      expect(await retention.run()).toMatchObject({ deletedSessions: 0 })
      expect(await reader.session('a')).toMatchObject({ session_id: 'a', total_tasks: 1 })
    })
  })
})
