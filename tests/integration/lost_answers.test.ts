/**
 * The server has executed an upsert and the answer is lost: a proxy of the test's own swallows the OK and cuts.
 * Nothing is doubled, nothing goes back, however often that happens.
 */
import { expect, test } from 'bun:test'
import type { RowDataPacket } from 'mysql2/promise'
import { type FreshDatabase, sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import { sessionItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'
import { startTrial } from '../torture/trial.ts'

const TASKS = 'INSERT INTO `translation_tasks`'
const SESSIONS = 'INSERT INTO `translation_sessions`'
const LOST = 15
const LOST_WITHIN_MS = 40_000
const TEST_TIMEOUT_MS = 90_000
/** Flushes all the while, in small statements. */
const RESTLESS = {
  MAX_BUFFER_SIZE: '30',
  BUFFER_MIN_BATCH_ROWS: '10',
  BUFFER_MAX_BATCH_ROWS: '60',
  FLUSH_INTERVAL: '0.3',
}

for (const server of sqlServers) {
  for (const instances of [1, 2]) {
    test(
      `${server} commits and its answers are lost, again and again, under the load of ${instances === 1 ? 'an instance' : `${instances} instances`}: all is stored once, in its newest version`,
      async () => {
        await using scene = createScene()
        const proxy = await scene.proxy(await scene.database(server))
        const env = { DATABASE_URL: proxy.url, ...RESTLESS }
        const trial = await startTrial(scene, {
          envs: Array.from({ length: instances }, () => env),
          pauseMs: 5,
        })
        const running = trial.load()
        for (const text of [TASKS, SESSIONS]) {
          const losing = proxy.loseCommits(text, 3)
          await until(() => losing.lost() >= LOST / 2, {
            message: () => `answers get lost: ${losing.lost()}`,
            timeoutMs: LOST_WITHIN_MS,
          })
          losing.stop()
        }
        await running.stop()
        expect(await trial.settle()).toBeGreaterThan(100)
      },
      TEST_TIMEOUT_MS,
    )
  }

  test(`${server} commits, the answer is lost, and the instance is killed: its journal writes it again, over nothing that is newer`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const proxy = await scene.proxy(database)
    const [DATA_DIR, INSTANCE_ID] = [await scene.folder(), 'killed']
    const first = await scene.start({ DATABASE_URL: proxy.url, DATA_DIR, INSTANCE_ID })
    const other = instance(await scene.start({ DATABASE_URL: database.url, INSTANCE_ID: 'other' }))
    const on = instance(first)
    await on.sessions([sessionItem('s')])
    await on.tasks(taskItems('s', 300, { target_text: 'from the killed one', context: 'also' }))

    const losing = proxy.loseCommits(TASKS)
    const flushed = on.flush().catch(() => null) // it dies with its answer
    await until(() => losing.lost() > 0, { message: 'the answer is lost' })
    await first.kill()
    await flushed
    expect(await storedTasks(database)).toBe(300)
    losing.stop()

    // What the other one accepts now is newer than anything in the journal.
    const newer = taskItems('s', 100, { from: 50 }).map(({ session_id, task_id }) => ({
      session_id,
      task_id,
      target_text: 'newer',
    }))
    expect((await other.patchTasks(newer)).status).toBe(202)
    expect((await other.flush()).status).not.toBe(503)

    const again = instance(await scene.start({ DATABASE_URL: proxy.url, DATA_DIR, INSTANCE_ID }))
    await flush(again)
    expect((await again.health()).buffer.total_count).toBe(0)
    for (const each of [again, other]) {
      const tasks = await each.allTasks('s')
      expect(tasks.length).toBe(300)
      expect(tasks.every(({ context }) => context === 'also')).toBe(true)
      const texts = tasks
        .filter(({ target_text }) => target_text === 'newer')
        .map(({ row_index }) => Number(row_index))
      expect(texts.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => 50 + i))
    }
    expect(await again.balance()).toMatchObject({ accepted: 300, dead_lettered: 0, buffered: 0, lost: 0 })
  })
}

async function flush(on: Instance): Promise<void> {
  await until(async () => (await on.flush()).status === 200, { message: 'a flush', timeoutMs: 30_000 })
}

async function storedTasks(database: FreshDatabase): Promise<number> {
  const [row] = await database.query<RowDataPacket[]>('SELECT COUNT(*) AS n FROM translation_tasks')
  return Number(row?.n)
}
