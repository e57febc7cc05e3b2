/** Two live processes under one INSTANCE_ID: they would give the same stamps, so one of them serves and the other says so. */
import { expect, test } from 'bun:test'
import { cp } from 'node:fs/promises'
import type { RowDataPacket } from 'mysql2/promise'
import { sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import { sessionItem } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const INSTANCE_ID = 'twice'
const TAKEN = 'Another live process has the INSTANCE_ID of this one.'
const TAKEN_LOG = /^ANOTHER LIVE PROCESS HAS THIS INSTANCE_ID/
/** Without a sign for 5 s an instance is dead; the other one looks every second. */
const SOON_MS = 20_000

const taken = (on: Instance) => on.http.get<{ reason: string }>('/health/ready')
const isTaken = async (on: Instance) => (await taken(on)).body.reason === TAKEN
const gauge = async (on: Instance) =>
  /^persistence_instance_id_taken (\d)$/m.exec((await on.http.get('/api/v1/system/metrics')).text)?.[1]

async function expectToldLoudly(on: Instance): Promise<void> {
  const { status, body } = await taken(on)
  expect([status, body.reason]).toEqual([503, TAKEN])
  expect(await on.health()).toMatchObject({ status: 'degraded', instance_fault: TAKEN })
  expect(await gauge(on)).toBe('1')
  const { status: refused, body: problem } = await on.sessions([sessionItem('refused')])
  expect([refused, problem.error_code]).toEqual([503, 'NOT_READY'])
}

for (const server of sqlServers) {
  test.concurrent(`two processes with one INSTANCE_ID on ${server}, each with a DATA_DIR of its own: the later one serves nothing and says so, until the first is dead`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const env = { DATABASE_URL: database.url, INSTANCE_ID }
    const firstService = await scene.start(env)
    const first = instance(firstService)
    const laterService = await scene.start(env, 'listening')
    const later = instance(laterService)
    await until(() => isTaken(later), { message: 'the later one knows' })
    await expectToldLoudly(later)
    expect(
      laterService.logs.filter(({ message }) => TAKEN_LOG.test(message)).map(({ level }) => level),
    ).toEqual(['ERROR'])
    // The first one goes on as if nothing were.
    expect(await first.health()).toMatchObject({ status: 'healthy', instance_fault: null })
    expect((await first.sessions([sessionItem('s')])).status).toBe(202)
    expect(await gauge(first)).toBe('0')
    // A flush through the later one is a flush of the first one's rows too: that is one of the others.
    expect((await later.flush()).body).toMatchObject({ status: 'flushed', sessions_written: 1 })

    await firstService.kill()
    await until(async () => (await later.ready()) === 200, {
      timeoutMs: SOON_MS,
      message: 'the later one serves',
    })
    expect((await later.sessions([sessionItem('t')])).status).toBe(202)
    expect((await later.health()).status).toBe('healthy')
    expect(laterService.logs.filter(({ message }) => TAKEN_LOG.test(message)).length).toBe(1)
    const rows = await database.query<RowDataPacket[]>('SELECT instance_id, number FROM instances')
    expect(rows.map(({ instance_id, number }) => [instance_id, number])).toEqual([[INSTANCE_ID, 1]])
  })

  test.concurrent(`a copied DATA_DIR on ${server}: the process that was there finds the other one within seconds, and stops serving`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const [original, copy] = [await scene.folder(), await scene.folder()]
    const env = { DATABASE_URL: database.url }
    // The id is made once, and copied with all the rest.
    const before = await scene.start({ ...env, DATA_DIR: original })
    const { instance_id } = await instance(before).health()
    expect(await before.stop()).toBe(0)
    await cp(original, copy, { recursive: true })
    const first = instance(await scene.start({ ...env, DATA_DIR: original }))
    const laterService = await scene.start({ ...env, DATA_DIR: copy })
    expect((await instance(laterService).health()).instance_id).toBe(instance_id)
    await until(() => isTaken(first), { message: 'the first one knows' })
    await expectToldLoudly(first)
    expect(await instance(laterService).ready()).toBe(200)
    // Its end is orderly, so nobody has to wait.
    expect(await laterService.stop()).toBe(0)
    await until(async () => (await first.ready()) === 200, {
      timeoutMs: 3000,
      message: 'the first one serves again',
    })
  })

  for (const BUFFER_JOURNAL of ['full', 'off']) {
    test.concurrent(`a restart after SIGKILL on the same DATA_DIR is not delayed on ${server} with BUFFER_JOURNAL=${BUFFER_JOURNAL}`, async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const env = { DATABASE_URL: database.url, INSTANCE_ID, BUFFER_JOURNAL, DATA_DIR: await scene.folder() }
      const first = await scene.start(env)
      await first.kill()
      // As if it had been seen a moment ago, for as long as the test may take.
      await database.query('UPDATE instance_holders SET expires_at = expires_at + 3600000')
      const next = await scene.start(env)
      expect(next.logs.filter(({ message }) => TAKEN_LOG.test(message))).toEqual([])
    })
  }
}
