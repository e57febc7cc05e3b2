/** Rows that are too large for a packet of the database: nobody else waits for them, and they are not lost. */
import { expect, test } from 'bun:test'
import type { SqlServer } from '../support/backends.ts'
import { sqlServers } from '../support/backends.ts'
import { instance } from '../support/instance.ts'
import { missingServer, startOwnServer } from '../support/own_server.ts'
import { createScene } from '../support/scene.ts'
import { sessionItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const PACKET_BYTES = 1024 * 1024
/** Larger than the packet, with the rest of its row. */
const LARGE = { notes: 'x'.repeat(PACKET_BYTES - 100) }
const LETTERS = '/api/v1/system/dead-letters'

async function missing(server: SqlServer): Promise<string | null> {
  return sqlServers.includes(server) ? missingServer(server) : `${server} is not tested`
}

for (const server of ['mysql', 'mariadb'] as const) {
  const reason = await missing(server)
  const title = `${server}: a row larger than max_allowed_packet stays in the journal, visibly; every other is stored, and it too once the packet is larger`
  if (reason !== null) {
    test.skip(`${title} (left out: ${reason})`, () => undefined)
    continue
  }
  test(title, async () => {
    await using scene = createScene()
    await using own = await startOwnServer(server)
    await own.query(`SET GLOBAL max_allowed_packet = ${PACKET_BYTES}`)
    const env = { DATABASE_URL: own.url, DATA_DIR: await scene.folder(), FLUSH_INTERVAL: '1' }
    const first = await scene.start(env)
    let on = instance(first)
    await on.sessions([sessionItem('a'), sessionItem('large', { metadata: LARGE }), sessionItem('z')])
    await on.tasks(taskItems('a', 100))
    expect((await on.flush()).status).toBe(200)
    for (const id of ['a', 'z']) expect((await on.session(id)).status).toBe(200)
    expect((await on.allTasks('a')).length).toBe(100)
    expect((await on.http.get<{ total: number }>(LETTERS)).body.total).toBe(0)

    // It is held, and said so; its session takes nothing more, every other one does.
    expect((await on.session('large')).body).toMatchObject({ metadata: LARGE })
    const health = await on.health()
    expect(health.status).toBe('degraded')
    expect(JSON.stringify(health)).toContain('translation_sessions: 1 refused rows stay buffered')
    expect((await on.patchSessions([{ session_id: 'large', status: 'failed' }])).body).toMatchObject({
      error_code: 'DEAD_LETTERS_FULL',
    })
    expect((await on.sessions([sessionItem('b')])).status).toBe(202)
    expect((await on.flush()).status).toBe(200)
    expect((await on.health()).buffer).toMatchObject({ sessions_count: 1 })
    await on.balance()

    await first.kill()
    await own.query(`SET GLOBAL max_allowed_packet = ${16 * PACKET_BYTES}`)
    on = instance(await scene.start(env))
    await until(async () => (await on.health()).buffer.sessions_count === 0, { message: 'it is stored' })
    expect((await on.session('large')).body).toMatchObject({ metadata: LARGE })
    expect((await on.health()).status).toBe('healthy')
    expect(await on.balance()).toMatchObject({ buffered: 0 })
  })
}
