/**
 * A full buffer refuses, stays as large as it is, and takes rows again once it has drained to 80 %; an instance
 * that has to end without its database keeps its rows in the journal, and its next start finds them there.
 */
import { expect, test } from 'bun:test'
import { sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import { run } from '../support/processes.ts'
import type { DatabaseProxy } from '../support/proxy.ts'
import { createScene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { sessionItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'
import { startTrial } from '../torture/trial.ts'

const ROWS_LEFT = 75
const SHUTDOWN_TIMEOUT_S = 2
/** What a process takes to end, besides its deadline. */
const SLACK_MS = 2500
const MAX_ROWS = 5000
const MEMORY_SLACK_BYTES = 96 * 2 ** 20
const REFUSED_REQUESTS = 1500
const TEST_TIMEOUT_MS = 90_000

for (const server of sqlServers) {
  test(
    `${server} is away and the buffer full: ${REFUSED_REQUESTS} large requests are refused with Retry-After, and memory and journal stay as they are`,
    async () => {
      await using scene = createScene()
      const proxy = await scene.proxy(await scene.database(server))
      const service = await scene.start({ DATABASE_URL: proxy.url, BUFFER_MAX_ROWS: String(MAX_ROWS) })
      const on = instance(service)
      await proxy.refuse()
      const context = 'x'.repeat(500)
      let sent = 0
      // Until it is full, and then as many again, so that what refusing costs is in the first figure.
      let full = false
      for (let refused = 0; refused < 100; ) {
        const { status } = await on.tasks(taskItems('s', 200, { from: sent, context }))
        sent += 200
        expect([202, 503]).toContain(status)
        full ||= status === 503
        if (full) refused++
      }
      const held = (await on.health()).buffer.total_count
      expect(held).toBeGreaterThan(MAX_ROWS - 200)
      const [memory, journal] = [await residentBytes(service), await journalBytes(on)]

      for (let i = 0; i < REFUSED_REQUESTS; i += 10) {
        const answers = await Promise.all(
          Array.from({ length: 10 }, (_, j) =>
            on.tasks(taskItems('s', 200, { from: sent + j * 200, context })),
          ),
        )
        sent += 2000
        for (const { status, body, headers } of answers) {
          expect([status, body.error_code]).toEqual([503, 'BUFFER_FULL'])
          const seconds = Number(headers.get('retry-after'))
          expect(Number.isInteger(seconds) && seconds >= 1 && seconds <= 60).toBe(true)
        }
      }
      expect((await on.health()).buffer.total_count).toBe(held)
      expect(await residentBytes(service)).toBeLessThan(memory + MEMORY_SLACK_BYTES)
      expect(await journalBytes(on)).toBeLessThanOrEqual(journal)

      await proxy.pass()
      await until(async () => (await on.health()).buffer.total_count === 0, {
        message: 'the buffer drains',
        timeoutMs: 30_000,
      })
      expect((await on.allTasks('s')).length).toBe(held)
      expect(await on.balance()).toMatchObject({ accepted: held, stored: held, dead_lettered: 0 })
    },
    TEST_TIMEOUT_MS,
  )

  test(
    `${server} takes rows slowly: a buffer that was full refuses although there is room, until it has drained to 80 %`,
    async () => {
      await using scene = createScene()
      const proxy = await scene.proxy(await scene.database(server))
      const capacity = 400
      const on = instance(
        await scene.start({
          DATABASE_URL: proxy.url,
          BUFFER_MAX_ROWS: String(capacity),
          MAX_BUFFER_SIZE: String(capacity),
          BUFFER_MIN_BATCH_ROWS: '10',
          BUFFER_MAX_BATCH_ROWS: '10',
          BUFFER_FLUSH_CONNECTIONS: '1',
        }),
      )
      await proxy.refuse()
      expect((await on.tasks(taskItems('s', capacity - 10))).status).toBe(202)
      expect((await on.tasks(taskItems('s', 11, { from: capacity }))).status).toBe(503)
      await proxy.pass()
      proxy.slow(150)

      const depth = async () => (await on.health()).buffer.total_count
      let refusedWithRoom = 0
      const resumedAt = await until(
        async () => {
          // It only gets less, so there was as much room when the request came.
          const before = await depth()
          const { status } = await on.tasks(taskItems('s', 1, { from: 2 * capacity }))
          if (status === 503) {
            if (before < capacity - 10) refusedWithRoom++
            return null
          }
          expect(status).toBe(202)
          return { depth: (await depth()) - 1 }
        },
        { message: 'rows are taken again', timeoutMs: 30_000 },
      )
      expect(refusedWithRoom).toBeGreaterThan(0)
      expect(resumedAt.depth).toBeLessThanOrEqual(capacity * 0.8)
      // Not only when it is empty.
      expect(resumedAt.depth).toBeGreaterThan(0)
      proxy.slow(0)
      await until(async () => (await on.flush()).status === 200, { message: 'a flush', timeoutMs: 30_000 })
      expect((await on.allTasks('s')).length).toBe(capacity - 10 + 1)
    },
    TEST_TIMEOUT_MS,
  )
}

const WAYS: [title: string, begin: (proxy: DatabaseProxy, on: Instance) => unknown][] = [
  ['refuses connections', (proxy) => proxy.refuse()],
  ['is a black hole', (proxy) => proxy.hang()],
  ['is so slow that not all of it can be stored', (proxy) => proxy.slow(400)],
  ['went silent in the middle of a statement', silentInStatement],
  ['lost the answer to a statement that it has committed', silentAfterCommit],
]

// Mostly waiting, so for both servers at the same time.
for (const [title, begin] of WAYS) {
  for (const server of sqlServers) {
    test.concurrent(
      `${server} ${title}: SIGTERM ends with 75 in time, the next start has the rows before it reaches the database, and stores them`,
      async () => {
        await using scene = createScene()
        const proxy = await scene.proxy(await scene.database(server))
        const env = {
          DATABASE_URL: proxy.url,
          DATA_DIR: await scene.folder(),
          INSTANCE_ID: 'drained',
          SHUTDOWN_TIMEOUT: String(SHUTDOWN_TIMEOUT_S),
          BUFFER_MIN_BATCH_ROWS: '50',
          BUFFER_MAX_BATCH_ROWS: '50',
        }
        const service = await scene.start({ ...env, MAX_BUFFER_SIZE: '5000' })
        const on = instance(service)
        await on.sessions([sessionItem('s')])
        await on.tasks(taskItems('s', 900, { target_text: 'first' }))
        await on.patchTasks(
          taskItems('s', 300).map(({ task_id }) => ({ session_id: 's', task_id, target_text: 'second' })),
        )
        await begin(proxy, on)
        const begunMs = performance.now()
        const code = await service.stop()
        expect(performance.now() - begunMs).toBeLessThan(SHUTDOWN_TIMEOUT_S * 1000 + SLACK_MS)
        expect(code, service.output()).toBe(ROWS_LEFT)
        const [last] = service.logs.filter(({ message }) => message === 'stopped')
        const left = Number(last?.meta?.rows_left)
        expect(left).toBeGreaterThan(0)

        await proxy.refuse()
        const next = instance(await scene.start({ ...env, MAX_BUFFER_SIZE: '5000' }, 'listening'))
        await until(async () => (await next.health()).buffer.total_count === left, {
          message: () => `the ${left} rows of the journal`,
        })
        await proxy.pass()
        await until(async () => (await next.flush()).status === 200, {
          message: 'a flush',
          timeoutMs: 30_000,
        })
        const tasks = await next.allTasks('s')
        expect(tasks.length).toBe(900)
        expect(tasks.filter(({ target_text }) => target_text === 'second').length).toBe(300)
        expect((await next.session('s')).status).toBe(200)
        expect(await next.balance()).toMatchObject({ accepted: 1200, buffered: 0, dead_lettered: 0, lost: 0 })
      },
      TEST_TIMEOUT_MS,
    )
  }
}

for (const server of sqlServers) {
  test(
    `${server} is away while an instance is asked to end under load, three times over: every acknowledged write is stored in the end`,
    async () => {
      await using scene = createScene()
      const proxy = await scene.proxy(await scene.database(server))
      const trial = await startTrial(scene, {
        envs: [
          { DATABASE_URL: proxy.url, SHUTDOWN_TIMEOUT: '1', MAX_BUFFER_SIZE: '50', FLUSH_INTERVAL: '0.5' },
        ],
        pauseMs: 5,
      })
      for (let round = 0; round < 3; round++) {
        const running = trial.load()
        const from = await trial.acknowledged()
        await until(async () => (await trial.acknowledged()) > from + 30, {
          message: 'writes with the database',
        })
        await proxy.refuse()
        const away = await trial.acknowledged()
        await until(async () => (await trial.acknowledged()) > away + 30, { message: 'writes without it' })
        expect(await trial.services[0]!.stop(), trial.services[0]!.output()).toBe(ROWS_LEFT)
        await running.stop()
        await proxy.pass()
        await trial.restart(0)
      }
      await trial.settle()
    },
    TEST_TIMEOUT_MS,
  )
}

async function silentInStatement(proxy: DatabaseProxy, on: Instance): Promise<void> {
  const held = proxy.intercept('INSERT INTO `translation_tasks`', 'hold')
  on.flush().catch(() => undefined) // the instance ends before it is answered
  await held
  proxy.hang()
}

async function silentAfterCommit(proxy: DatabaseProxy, on: Instance): Promise<void> {
  const losing = proxy.loseCommits('INSERT INTO `translation_tasks`')
  on.flush().catch(() => undefined) // the instance ends before it is answered
  await until(() => losing.lost() > 0, { message: 'an answer is lost' })
  losing.stop()
  await proxy.refuse()
}

/** What the process occupies in memory. */
async function residentBytes({ pid }: Service): Promise<number> {
  return Number(await run(['ps', '-o', 'rss=', '-p', String(pid)], 5000)) * 1024
}

async function journalBytes(on: Instance): Promise<number> {
  const { body } = await on.http.get<{ journal: { bytes: number } }>('/health')
  return body.journal.bytes
}
