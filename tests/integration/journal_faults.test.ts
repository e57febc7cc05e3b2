import { expect, test } from 'bun:test'
import { readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { instance } from '../support/instance.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { smallDisk, smallDisksMissing } from '../support/small_disk.ts'
import { type Item, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const ID = 'faulty'
const SESSIONS = 20
const TASKS = 100
const ROWS = SESSIONS * TASKS
/** Nothing is flushed: what is accepted is in the journal alone. */
const HELD = { INSTANCE_ID: ID, MAX_BUFFER_SIZE: '100000', BUFFER_FLUSH_BYTES: '100000000' }

interface JournalHealth {
  status: string
  journal: { status: string; detail: string | null; faults: string[]; bytes: number }
  buffer: { total_count: number; conservation: (Item & { balanced: boolean; lost: number })[] }
}

const textOf = (session: string, n: number) => `${session}/${n}: 翻译 ${'x'.repeat((n * 397) % 6000)}`

function tasksOf(session: string): Item[] {
  return taskItems(session, TASKS).map((item, n) => ({ ...item, source_text: textOf(session, n) }))
}

/** A folder with the journal of an instance that was killed with so many rows in it. */
async function killedWithRows(scene: Scene): Promise<{ folder: string; journal: string }> {
  const folder = await scene.folder()
  const service = await scene.start({ ...HELD, DATA_DIR: folder })
  const on = instance(service)
  for (let n = 0; n < SESSIONS; n++) expect((await on.tasks(tasksOf(`s${n}`))).status).toBe(202)
  await service.kill()
  return { folder, journal: join(folder, 'journal', `${ID}.journal`) }
}

/** Reads everything that came back, holds it against what was accepted, and answers how many rows are there. */
async function intactRows(url: string): Promise<number> {
  let found = 0
  const flushed = await fetch(`${url}/api/v1/translation/flush`, { method: 'POST' })
  expect(flushed.status).toBe(200)
  for (let n = 0; n < SESSIONS; n++) {
    const answer = await fetch(`${url}/api/v1/translation/sessions/s${n}/tasks?page_size=100`)
    if (answer.status === 404) continue
    const { items } = (await answer.json()) as { items: { task_id: string; source_text: string }[] }
    for (const { task_id, source_text } of items)
      expect(source_text).toBe(textOf(`s${n}`, Number(task_id.replace('task_', ''))))
    found += items.length
  }
  return found
}

function testOnSmallDisk(title: string, body: () => Promise<void>): void {
  const missing = smallDisksMissing
  test.skipIf(missing !== null)(missing === null ? title : `${title} (left out: ${missing})`, body)
}

const healthOf = async (url: string) => (await (await fetch(`${url}/health`)).json()) as JournalHealth
const lossOf = async (url: string) =>
  Number(
    /^persistence_data_loss_total (\d+)/m.exec(
      await (await fetch(`${url}/api/v1/system/metrics`)).text(),
    )?.[1],
  )

const DAMAGES: [what: string, damage: (journal: string) => Promise<void>][] = [
  [
    'bytes flipped in the middle of the file',
    async (journal) => {
      const bytes = await readFile(journal)
      for (let at = 3 * 4096; at < bytes.length - 4096; at += 5 * 4096) bytes[at + 1000]! ^= 0xff
      await writeFile(journal, bytes)
    },
  ],
  ['the file cut in half', async (journal) => truncate(journal, Math.floor((await stat(journal)).size / 2))],
  [
    'the log behind it cut short',
    // To five frames: it may be longer than what was written into it since it was last emptied.
    (journal) => truncate(`${journal}-wal`, 32 + 5 * (24 + 4096)),
  ],
  [
    'the file and its log replaced by garbage',
    async (journal) => {
      await writeFile(journal, 'this is no journal '.repeat(1000))
      await writeFile(`${journal}-wal`, 'neither is this '.repeat(1000))
    },
  ],
]

test.each(DAMAGES)('%s: what is intact comes back, what is not is counted and told', async (_, damage) => {
  await using scene = createScene()
  const { folder, journal } = await killedWithRows(scene)
  await damage(journal)
  const service = await scene.start({ ...HELD, DATA_DIR: folder })
  const health = await healthOf(service.url)
  expect([health.status, health.journal.status]).toEqual(['degraded', 'damaged'])
  expect(health.journal.faults.length).toBeGreaterThan(0)
  expect(service.logs.some(({ level, message }) => level === 'ERROR' && /damaged/.test(message))).toBe(true)
  // The damaged file is kept for whoever can do more with it.
  expect((await readdir(join(folder, 'journal'))).some((name) => name.includes('.damaged-'))).toBe(true)

  const found = await intactRows(service.url)
  const after = (await healthOf(service.url)).buffer.conservation
  expect(after.filter(({ balanced }) => !balanced)).toEqual([])
  expect(after.reduce((sum, { lost }) => sum + lost, 0)).toBe(ROWS - found)
  expect(await lossOf(service.url)).toBe(ROWS - found)

  // It works on, and the next start finds nothing wrong.
  const on = instance(service)
  expect((await on.tasks(taskItems('later', 3))).status).toBe(202)
  await service.kill()
  const again = await scene.start({ ...HELD, DATA_DIR: folder })
  expect((await healthOf(again.url)).journal.status).toBe('healthy')
  expect((await instance(again).task('later', 'task_2')).status).toBe(200)
})

test('a damaged journal that another instance takes over: what is lost is counted by that one', async () => {
  await using scene = createScene()
  const { folder, journal } = await killedWithRows(scene)
  await truncate(journal, Math.floor((await stat(journal)).size / 2))
  const env = { ...HELD, INSTANCE_ID: 'another', DATA_DIR: folder }
  const first = await scene.start(env)
  const tookOver = 'took over the journal of a dead instance'
  await instance(first).logged(tookOver, 30_000)
  const lost = ROWS - (await intactRows(first.url))
  expect(lost).toBeGreaterThan(0)
  expect(await lossOf(first.url)).toBe(lost)
  const { conservation } = (await healthOf(first.url)).buffer
  expect(conservation.filter(({ balanced }) => !balanced)).toEqual([])
  // Whichever of the two runs next takes it along: it is never counted again, nor forgotten.
  expect(await first.stop()).toBe(0)
  for (const INSTANCE_ID of ['another', ID, 'another']) {
    const next = await scene.start({ ...env, INSTANCE_ID })
    await until(async () => (await lossOf(next.url)) === lost, { message: 'the loss is counted' })
    expect(await next.stop()).toBe(0)
  }
})

test('the journal gives the room of a peak back once all is stored, and what is accepted then is as safe as ever', async () => {
  await using scene = createScene()
  const env = { INSTANCE_ID: ID, DATA_DIR: await scene.folder() }
  const held = await scene.start({ ...HELD, ...env })
  const large = { source_text: 'x'.repeat(40_000), target_text: 'y'.repeat(40_000) }
  for (let n = 0; n < 5; n++) {
    const answer = await instance(held).tasks(taskItems(`peak ${n}`, 200, large))
    expect(answer.status).toBe(202)
  }
  const bytesOf = async (url: string) => (await healthOf(url)).journal.bytes
  expect(await bytesOf(held.url)).toBeGreaterThan(64 * 1024 * 1024)
  await held.kill()
  const service = await scene.start({ ...env, FLUSH_INTERVAL: '0.5' })
  await until(async () => (await bytesOf(service.url)) < 1024 * 1024, {
    message: 'it has become small',
    timeoutMs: 30_000,
  })
  expect((await healthOf(service.url)).buffer.total_count).toBe(0)
  expect((await instance(service).tasks(taskItems('later', 3))).status).toBe(202)
  await service.kill()
  const again = instance(await scene.start({ ...HELD, ...env }))
  expect((await again.task('later', 'task_2')).status).toBe(200)
  for (let n = 0; n < 5; n++) expect((await again.task(`peak ${n}`, 'task_199')).status).toBe(200)
  expect((await again.health()).status).toBe('healthy')
})

test('a second process under the same INSTANCE_ID and DATA_DIR does not start, and says why', async () => {
  await using scene = createScene()
  const folder = await scene.folder()
  const first = await scene.start({ ...HELD, DATA_DIR: folder })
  const second = await scene.start({ ...HELD, DATA_DIR: folder }, 'listening')
  expect(await second.exited).toBe(78)
  expect(second.output()).toMatch(/journal.*(lock|another process)/i)
  expect((await instance(first).tasks(taskItems('s', 1))).status).toBe(202)
})

testOnSmallDisk(
  'a full disk: 503 and nothing accepted until there is room, nothing of before lost, /health says so',
  async () => {
    await using scene = createScene()
    const folder = await scene.folder()
    const disk = smallDisk(join(folder, 'journal'), 8)
    scene.defer(disk.unmount)
    const service = await scene.start({ ...HELD, DATA_DIR: folder })
    const on = instance(service)
    let accepted = 0
    const refused = await until(
      async () => {
        const answer = await on.tasks(tasksOf(`s${accepted}`))
        if (answer.status !== 202) return answer
        accepted++
        return null
      },
      { message: 'the disk is full', timeoutMs: 30_000 },
    )
    expect([refused.status, refused.body.error_code]).toEqual([503, 'JOURNAL_UNAVAILABLE'])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    const full = await healthOf(service.url)
    expect([full.status, full.journal.status]).toEqual(['degraded', 'failing'])
    expect(full.buffer.total_count).toBe(accepted * TASKS)
    expect((await on.task(`s${accepted}`, 'task_0')).status).toBe(404)

    // Killed now, and started on the same full disk: it comes back with what it had acknowledged.
    await service.kill()
    const again = await scene.start({ ...HELD, DATA_DIR: folder }, 'listening')
    await until(async () => (await healthOf(again.url)).buffer.total_count === accepted * TASKS, {
      message: () => `the rows are back\n${again.output()}`,
    })
    disk.resize(64)
    await until(async () => (await instance(again).tasks(tasksOf('later'))).status === 202, {
      message: 'writes are accepted again',
    })
    expect((await instance(again).flush()).status).toBe(200)
    await until(async () => (await healthOf(again.url)).journal.status === 'healthy', {
      message: 'it is healthy',
    })
    for (const n of [0, accepted - 1]) {
      const [first] = await instance(again).allTasks(`s${n}`)
      expect(first?.source_text).toBe(textOf(`s${n}`, 0))
    }
    const { conservation } = (await healthOf(again.url)).buffer
    expect(conservation.filter(({ balanced }) => !balanced)).toEqual([])
  },
)

testOnSmallDisk(
  'a disk that the journal itself has filled has room again once its rows are stored',
  async () => {
    await using scene = createScene()
    const folder = await scene.folder()
    const disk = smallDisk(join(folder, 'journal'), 12)
    scene.defer(disk.unmount)
    const service = await scene.start({ ...HELD, DATA_DIR: folder })
    const on = instance(service)
    let accepted = 0
    while ((await on.tasks(tasksOf(`s${accepted}`))).status === 202) accepted++
    expect(accepted).toBeGreaterThan(10)
    expect((await on.flush()).status).toBe(200)
    await until(async () => (await on.tasks(tasksOf('later'))).status === 202, {
      message: () => `writes are accepted again\n${service.output().slice(-3000)}`,
      timeoutMs: 20_000,
    })
    await until(async () => (await healthOf(service.url)).journal.status === 'healthy', {
      message: 'it is healthy',
    })
    expect((await on.allTasks(`s${accepted - 1}`)).length).toBe(TASKS)
    expect((await healthOf(service.url)).buffer.conservation.filter(({ balanced }) => !balanced)).toEqual([])
  },
)
