/** A restore as a stream: one snapshot for all of it, and nothing kept for a client that has gone. */
import { beforeAll, expect, test } from 'bun:test'
import { type OnBackend, onEachBackend, rawRequest } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  type Item,
  sessionItem,
  taskItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

const TASKS = 6000
/** More in all than the sockets between two ends hold. */
const TEXT = '龙'.repeat(2000)

onEachBackend('restore as a stream', {}, (on) => {
  const api = translation(on)
  const session = freshId()
  const restore = (accept: string, atFirstBytes: () => Promise<'read on' | 'hang up'>) =>
    rawRequest(on.url, {
      method: 'POST',
      target: `${BASE}/recovery/restore/${session}`,
      headers: { accept },
      atFirstBytes,
    })

  beforeAll(() => api.store([sessionItem(session)], taskItems(session, TASKS, { source_text: TEXT })))

  const restores = async () =>
    (await on.http.get<{ restores: Item[]; success_rate: number }>(`${BASE}/recovery/status`)).body

  for (const accept of ['application/json', 'application/x-ndjson']) {
    test(`a client that goes away in the middle frees the snapshot, and the restore counts as failed (${accept})`, async () => {
      const before = (await restores()).restores.length
      const { text: part } = await restore(accept, async () => {
        expect(await snapshotHeld(on)).toBe(true)
        return 'hang up'
      })
      // What was cut off can't be taken for the whole.
      expect(part).not.toContain('restored_tasks_count')
      const last = await until(
        async () => ((await restores()).restores.length > before ? restores() : null),
        {
          message: 'the failed restore in /recovery/status',
        },
      )
      expect(last.restores[0]).toMatchObject({ session_id: session, ok: false })
      expect(last.restores[0]!.tasks_count).toBeLessThan(TASKS)
      expect(last.success_rate).toBeLessThan(100)
      await until(async () => !(await snapshotHeld(on)), { message: 'the snapshot to be free' })
      const { text } = await on.http.get('/api/v1/system/metrics')
      expect(text).toMatch(/^persistence_restores_total\{result="failed"\} [1-9]/m)
    })
  }

  test('time stands still in it: what is written meanwhile changes nothing of it', async () => {
    const { text } = await restore('application/x-ndjson', async () => {
      await api.patchTasks(
        Array.from({ length: 1000 }, (_, i) => ({
          session_id: session,
          task_id: `task_${TASKS - 1 - i}`,
          status: 'completed',
        })),
      )
      await api.store([], [taskItem(session, 'zzz'), taskItem(session, 'aaa')])
      return 'read on'
    })
    const lines = text.trimEnd().split('\n')
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ tasks_count: TASKS })
    expect(lines.length).toBe(TASKS + 2)
    const tasks = lines.slice(1, -1).map((line) => (JSON.parse(line) as { task: Item }).task)
    expect(new Set(tasks.map(({ status }) => status))).toEqual(new Set(['pending']))
    expect((await restores()).restores[0]).toMatchObject({ ok: true, tasks_count: TASKS })
    // The next one sees what was written.
    expect((await api.restore(session)).body.tasks_count).toBe(TASKS - 1000 + 2)
  })
})

/** Whether a snapshot, or the connection that had it, is still held. */
async function snapshotHeld(on: OnBackend): Promise<boolean> {
  if (on.store.kind === 'sqlite') {
    // A checkpoint stops at what the oldest reader has not seen.
    await on.store.run(`PRAGMA user_version = ${Date.now() % 1_000_000}`)
    const [state] = await on.store.run<{ log: number; checkpointed: number }>(
      'PRAGMA wal_checkpoint(PASSIVE)',
    )
    return state!.checkpointed < state!.log
  }
  const { text } = await on.http.get('/api/v1/system/metrics')
  return Number(/^persistence_pool_connections\{.*state="active".*\} (\d+)$/m.exec(text)?.[1]) > 0
}

onEachBackend('a slow reader', { env: { CLIENT_TIMEOUT: '1' } }, (on) => {
  const api = translation(on)
  const session = freshId()
  const restore = (atFirstBytes: () => Promise<'read on'>) =>
    rawRequest(on.url, {
      method: 'POST',
      target: `${BASE}/recovery/restore/${session}`,
      headers: { accept: 'application/x-ndjson' },
      atFirstBytes,
    })

  beforeAll(() => api.store([sessionItem(session)], taskItems(session, TASKS, { source_text: TEXT })))

  test('a client that stops reading for CLIENT_TIMEOUT loses its snapshot, then its connection, and is told by no last line', async () => {
    const { text } = await restore(async () => {
      expect(await snapshotHeld(on)).toBe(true)
      await until(async () => !(await snapshotHeld(on)), { message: 'the snapshot to be free' })
      return 'read on'
    })
    expect(text).not.toContain('tasks_count')
    const { restores } = (await on.http.get<{ restores: Item[] }>(`${BASE}/recovery/status`)).body
    expect(restores[0]).toMatchObject({ session_id: session, ok: false })
    expect(on.logs.map(({ message }) => message)).toContain(
      'restore broke off: its client has stopped reading',
    )
  })

  test('one that only pauses, for less than that, gets all of it', async () => {
    const { text } = await restore(async () => {
      await Bun.sleep(400)
      return 'read on'
    })
    expect(JSON.parse(text.trimEnd().split('\n').at(-1)!)).toMatchObject({ tasks_count: TASKS })
  })
})
