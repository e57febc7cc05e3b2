/**
 * Machines whose clocks are wrong: five minutes ahead, five minutes behind, stepped back between two lives. What
 * was accepted last wins all the same, and the times that clients see are the database's.
 */
import { describe, expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { clockErrorMs, clocksApart, flushOwn } from '../support/acceptance.ts'
import { type FreshDatabase, sqlServers } from '../support/backends.ts'
import { findFakeClock } from '../support/fake_clock.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { type Item, sessionItem, taskItem } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const AHEAD_S = 300
const BEHIND_S = -300
const STEPPED_BACK_S = -3600
/** How well the times agree with the database's; an answer takes its time as well. */
const TOLERANCE_MS = 1000
/** An estimate of loopback: half a round trip, on a machine that is busy. */
const SMALL_ERROR_MS = 100

const { fakeClock, missing } = findFakeClock()
if (missing && process.env.REQUIRE_FAKETIME === '1') {
  test('REQUIRE_FAKETIME=1: clocks can be set wrong here', () => {
    throw new Error(missing)
  })
}

/** The database's clock, in milliseconds. */
async function databaseMs(database: FreshDatabase): Promise<number> {
  const [row] = await database.query<RowDataPacket[]>('SELECT UNIX_TIMESTAMP(NOW(3)) * 1000 AS now')
  return Number(row!.now)
}

/** Whether this service's own clock, as its log shows it, is off by so much. */
function expectOwnClock(service: Service, aheadSeconds: number): void {
  const aheadMs = Date.parse(service.logs.at(-1)!.timestamp) - Date.now()
  // The line may be older than a moment, and nothing here is off by less than minutes.
  expect(Math.abs(aheadMs / 1000 - aheadSeconds)).toBeLessThan(60)
}

function expectAt(time: unknown, { after, before }: { after: number; before: number }): void {
  const ms = Date.parse(String(time))
  expect(ms).toBeGreaterThan(after - TOLERANCE_MS)
  expect(ms).toBeLessThan(before + TOLERANCE_MS)
}

const patch = (fields: Item) => [{ session_id: 's', task_id: 't', ...fields }]
const theTask = async (on: Instance) => (await on.task('s', 't')).body
const accepted = ({ status }: { status: number }) => expect(status).toBe(202)

for (const server of sqlServers) {
  const title = `clocks, ${server}${missing ? ` (not tested: ${missing})` : ''}`
  describe.skipIf(missing !== undefined)(title, () => {
    const clock = fakeClock!

    test('five minutes ahead and five behind: the later write wins whoever accepts it, in whatever order they are stored', async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const start = (aheadSeconds: number) =>
        scene.start({ DATABASE_URL: database.url, ...(aheadSeconds !== 0 && clock(aheadSeconds)) })
      const services = await Promise.all([AHEAD_S, BEHIND_S, 0].map(start))
      for (const [i, seconds] of [AHEAD_S, BEHIND_S, 0].entries()) expectOwnClock(services[i]!, seconds)
      const all = services.map(instance) as [Instance, Instance, Instance]
      const [ahead, behind] = all
      for (const on of all) {
        const errorMs = await clockErrorMs(on)
        expect(errorMs).toBeGreaterThan(0)
        expect(errorMs).toBeLessThan(SMALL_ERROR_MS)
      }

      const createdAfter = await databaseMs(database)
      accepted(await ahead.sessions([sessionItem('s')]))
      accepted(await ahead.tasks([taskItem('s', 't', { target_text: 'ahead', context: 'ahead' })]))
      const createdBefore = await databaseMs(database)
      // Every order of who writes, and in turn who stores first.
      const orders: [writers: Instance[], storers: Instance[]][] = [
        [
          [ahead, behind],
          [ahead, behind],
        ],
        [
          [ahead, behind],
          [behind, ahead],
        ],
        [
          [behind, ahead],
          [ahead, behind],
        ],
        [
          [behind, ahead],
          [behind, ahead],
        ],
        [all, all.toReversed()],
        [all.toReversed(), all],
      ]
      for (const [i, [writers, storers]] of orders.entries()) {
        let updatedAfter = 0
        for (const [j, writer] of writers.entries()) {
          await clocksApart(all)
          updatedAfter = await databaseMs(database)
          accepted(
            await writer.patchTasks(
              patch({ target_text: `round ${i}, write ${j}`, retry_count: 10 * i + j }),
            ),
          )
        }
        const updatedBefore = await databaseMs(database)
        for (const storer of storers) await flushOwn(storer)
        const last = writers.length - 1
        for (const on of all) {
          const task = await theTask(on)
          expect(task).toMatchObject({
            target_text: `round ${i}, write ${last}`,
            retry_count: 10 * i + last,
            context: 'ahead',
          })
          expectAt(task.created_at, { after: createdAfter, before: createdBefore })
          expectAt(task.updated_at, { after: updatedAfter, before: updatedBefore })
        }
      }
      expectAt((await behind.session('s')).body.created_at, { after: createdAfter, before: createdBefore })
    })

    test('stepped back an hour while it was dead, with the database down at its start: what it accepts is newer than all of before', async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const proxy = await scene.proxy(database)
      const env = { DATABASE_URL: proxy.url, DATA_DIR: await scene.folder(), INSTANCE_ID: 'stepped' }
      const first = await scene.start({ ...env, ...clock(AHEAD_S) })
      const before = instance(first)
      accepted(await before.sessions([sessionItem('s')]))
      accepted(await before.tasks([taskItem('s', 't', { target_text: 'stored', context: 'stored' })]))
      await flushOwn(before)
      accepted(await before.patchTasks(patch({ target_text: 'in the journal', error_message: 'journal' })))
      accepted(await before.tasks([taskItem('s', 'u', { target_text: 'in the journal' })]))
      await first.kill()

      await proxy.refuse()
      const second = await scene.start({ ...env, ...clock(STEPPED_BACK_S) }, 'listening')
      const on = instance(second)
      await until(async () => (await on.ready()) === 200, { message: () => `it accepts\n${second.output()}` })
      expectOwnClock(second, STEPPED_BACK_S)
      accepted(await on.patchTasks(patch({ target_text: 'after the step' })))
      accepted(await on.patchTasks([{ session_id: 's', task_id: 'u', target_text: 'after the step' }]))
      accepted(await on.patchTasks(patch({ retry_count: 7 })))
      expect((await on.flush()).status).toBe(503)

      await proxy.pass()
      await until(async () => (await on.flush()).status === 200, { message: 'a flush', timeoutMs: 20_000 })
      expect(await theTask(on)).toMatchObject({
        target_text: 'after the step',
        context: 'stored',
        error_message: 'journal',
        retry_count: 7,
      })
      expect((await on.task('s', 'u')).body).toMatchObject({ target_text: 'after the step' })

      // In contact again its time is the database's, and another instance's later write wins.
      const other = instance(await scene.start({ DATABASE_URL: database.url }))
      await until(async () => (await clockErrorMs(on)) < SMALL_ERROR_MS, { message: 'the clock is compared' })
      const after = await databaseMs(database)
      accepted(await on.patchTasks(patch({ target_text: 'in contact' })))
      await flushOwn(on)
      expectAt((await theTask(on)).updated_at, { after, before: await databaseMs(database) })
      await clocksApart([on, other])
      accepted(await other.patchTasks(patch({ target_text: 'of the other' })))
      await flushOwn(other)
      accepted(await on.patchTasks(patch({ context: 'last' })))
      await flushOwn(on)
      expect(await theTask(other)).toMatchObject({ target_text: 'of the other', context: 'last' })
    })

    test('five minutes ahead, and started with the database down: it goes by the offset that its journal knows', async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const proxy = await scene.proxy(database)
      const env = {
        DATABASE_URL: proxy.url,
        DATA_DIR: await scene.folder(),
        INSTANCE_ID: 'ahead',
        ...clock(AHEAD_S),
      }
      const first = await scene.start(env)
      accepted(await instance(first).sessions([sessionItem('s')]))
      await flushOwn(instance(first))
      expect(await first.stop()).toBe(0)

      await proxy.refuse()
      const second = await scene.start(env, 'listening')
      const on = instance(second)
      await until(async () => (await on.ready()) === 200, { message: () => `it accepts\n${second.output()}` })
      const after = await databaseMs(database)
      accepted(await on.tasks([taskItem('s', 't', { target_text: 'while it was down', context: 'first' })]))
      const before = await databaseMs(database)

      // Another one, whose clock is right, accepts later, and stores first.
      const other = instance(await scene.start({ DATABASE_URL: database.url }))
      await until(async () => (await databaseMs(database)) > before + TOLERANCE_MS, {
        message: 'a second later',
      })
      accepted(await other.patchTasks(patch({ target_text: 'later' })))
      await flushOwn(other)
      await proxy.pass()
      await until(async () => (await on.flush()).status === 200, { message: 'a flush', timeoutMs: 20_000 })
      for (const each of [on, other]) {
        const task = await theTask(each)
        expect(task).toMatchObject({ target_text: 'later', context: 'first' })
        expectAt(task.created_at, { after, before })
      }
    })
  })
}
