/** Cleanup: what its days say, no less and no more; a dry run changes nothing. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  type Item,
  type Problem,
  sessionItem,
  taskItem,
  taskItems,
  translation,
} from '../support/translation_data.ts'

const DAY_MS = 86_400_000
const TASKS = 3

interface Cleaned {
  status: string
  deleted_sessions: number
  deleted_tasks: number
  dry_run: boolean
}

/** Days since the last change, and what the defaults (90 and 30) make of it. */
const AGES: readonly [status: string, days: number, goes: boolean][] = [
  ['completed', 89.99, false],
  ['completed', 90.01, true],
  ['completed', 30.01, false],
  ['failed', 29.99, false],
  ['failed', 30.01, true],
  ['cancelled', 29.99, false],
  ['cancelled', 30.01, true],
  ['processing', 4000, false],
  ['pending', 4000, false],
]

onEachBackend('cleanup', {}, (on) => {
  const api = translation(on)
  const cleanup = async (body?: unknown) =>
    (await on.http.post<Cleaned>(`${BASE}/sessions/cleanup`, body)).body

  /** A session with tasks that was last changed so many days ago. */
  async function aged(status: string, days: number): Promise<string> {
    const id = freshId()
    await api.store([sessionItem(id, { status })], taskItems(id, TASKS))
    await on.store.run('UPDATE translation_sessions SET updated_at = ? WHERE session_id = ?', [
      on.store.time(Date.now() - days * DAY_MS),
      id,
    ])
    return id
  }

  const exists = async (id: string) => (await api.session(id)).status === 200
  const remove = async (ids: readonly string[]) => {
    for (const id of ids) await api.remove(id)
  }

  test('removes completed sessions after 90 days, failed and cancelled ones after 30, others never', async () => {
    const sessions = await Promise.all(
      AGES.map(async ([status, days, goes]) => ({ id: await aged(status, days), goes })),
    )
    const going = sessions.filter(({ goes }) => goes).length
    const want = { status: 'completed', deleted_sessions: going, deleted_tasks: going * TASKS }
    expect(await cleanup({ dry_run: true })).toEqual({ ...want, dry_run: true })
    for (const { id } of sessions) expect(await exists(id)).toBe(true)
    expect(await cleanup()).toEqual({ ...want, dry_run: false })
    for (const { id, goes } of sessions) {
      expect(await exists(id)).toBe(!goes)
      expect((await api.tasks({ session_id: id })).body.total).toBe(goes ? 0 : TASKS)
    }
    expect(await cleanup()).toMatchObject({ deleted_sessions: 0, deleted_tasks: 0 })
    await remove(sessions.map(({ id }) => id))
  })

  test('the days of the request hold instead, each for its own', async () => {
    const ids = [await aged('completed', 10), await aged('failed', 10), await aged('cancelled', 10)] as const
    expect(await cleanup({ completed_days: 11, failed_days: 11 })).toMatchObject({ deleted_sessions: 0 })
    expect(await cleanup({ failed_days: 9, dry_run: true })).toMatchObject({ deleted_sessions: 2 })
    expect(await cleanup({ completed_days: 9 })).toMatchObject({ deleted_sessions: 1, deleted_tasks: TASKS })
    expect(await Promise.all(ids.map(exists))).toEqual([false, true, true])
    expect(await cleanup({ failed_days: 9 })).toMatchObject({ deleted_sessions: 2 })
    expect(await Promise.all(ids.map(exists))).toEqual([false, false, false])
  })

  test('0 days take every finished session, however young', async () => {
    const [done, open] = [await aged('completed', 0.001), await aged('processing', 0.001)]
    expect(await cleanup({ completed_days: 0 })).toMatchObject({ deleted_sessions: 1 })
    expect([await exists(done), await exists(open)]).toEqual([false, true])
    await remove([open])
  })

  test('spares what was written again, stored or only buffered', async () => {
    const [stored, session, task, control] = [
      await aged('failed', 40),
      await aged('failed', 40),
      await aged('failed', 40),
      await aged('failed', 40),
    ]
    await api.patchSessions([{ session_id: stored, total_tasks: 5 }])
    await api.flush()
    await api.patchSessions([{ session_id: session, total_tasks: 5 }])
    await api.postTasks([taskItem(task, 'new')])
    expect(await cleanup()).toMatchObject({ deleted_sessions: 1, deleted_tasks: TASKS })
    expect(await Promise.all([stored, session, task, control].map(exists))).toEqual([true, true, true, false])
    await remove([stored, session, task])
  })

  test('removes nothing, with 503, while an instance that may hold newer rows is missing', async () => {
    const [id, other] = [await aged('failed', 40), freshId('dead')]
    const minuteAgo = Date.now() - 60_000
    await on.store.run(
      `INSERT INTO instances (instance_id, number, state, version, buffered_rows, started_at, seen_at)
       VALUES (?, 777, 'live', '1', 3, ?, ?)`,
      [other, minuteAgo, minuteAgo],
    )
    for (const method of ['POST', 'DELETE']) {
      const answer = await on.http.request<Problem>(method, `${BASE}/sessions/cleanup`, '{}')
      expect(answer.status).toBe(503)
      expect(answer.headers.get('retry-after')).toMatch(/^\d+$/)
      expect(answer.body).toMatchObject({
        error_code: 'BACKEND_UNAVAILABLE',
        missing_instances: [other],
      })
    }
    expect(await cleanup({ dry_run: true })).toMatchObject({ deleted_sessions: 1 })
    expect(await exists(id)).toBe(true)
    await on.store.run('DELETE FROM instances WHERE instance_id = ?', [other])
    expect(await cleanup()).toMatchObject({ deleted_sessions: 1, deleted_tasks: TASKS })
  })

  test('what it removed starts clean when it is made anew', async () => {
    const id = await aged('failed', 40)
    await cleanup()
    await api.store([sessionItem(id)])
    expect((await api.session(id)).body).toMatchObject({ total_tasks: 0, status: 'processing' })
    await remove([id])
  })

  test('more sessions than it examines at once all go', async () => {
    const ids = Array.from({ length: 120 }, () => freshId())
    await api.store(
      ids.map((id) => sessionItem(id, { status: 'failed' })),
      ids.map((id) => taskItem(id, 't')),
    )
    await on.store.run("UPDATE translation_sessions SET updated_at = ? WHERE status = 'failed'", [
      on.store.time(Date.now() - 40 * DAY_MS),
    ])
    expect(await cleanup({ dry_run: true })).toMatchObject({ deleted_sessions: 120, deleted_tasks: 120 })
    expect(await cleanup()).toMatchObject({ deleted_sessions: 120, deleted_tasks: 120 })
    expect((await api.sessions({ status: 'failed' })).body.total).toBe(0)
  })

  test('DELETE on the same path is the same', async () => {
    const id = await aged('failed', 40)
    const dry = await on.http.delete<Cleaned>(`${BASE}/sessions/cleanup`, { dry_run: true })
    expect(dry.body).toEqual({
      status: 'completed',
      deleted_sessions: 1,
      deleted_tasks: TASKS,
      dry_run: true,
    })
    const real = await on.http.delete<Cleaned>(`${BASE}/sessions/cleanup`)
    expect(real.body).toEqual({
      status: 'completed',
      deleted_sessions: 1,
      deleted_tasks: TASKS,
      dry_run: false,
    })
    expect(await exists(id)).toBe(false)
  })

  describe('a bad body is 422 that names the field, and removes nothing', () => {
    for (const [field, values] of Object.entries({
      completed_days: ['-1', '1.5', '"90"', 'null', 'true', '[]', '36501', '1e400'],
      failed_days: ['-1', '1.5', '"30"', 'null', '{}', '36501'],
      dry_run: ['"true"', '1', '0', 'null', '[]'],
    })) {
      for (const json of values) {
        test(`${field}: ${json}`, async () => {
          for (const method of ['POST', 'DELETE']) {
            const answer = await on.http.request<Problem>(
              method,
              `${BASE}/sessions/cleanup`,
              `{"${field}":${json}}`,
            )
            expect(answer.status).toBe(422)
            expect(new Set(answer.body.errors!.map((fault) => fault.field))).toEqual(new Set([field]))
          }
        })
      }
    }

    for (const body of ['[]', 'null', '5', '"x"']) {
      test(`${body} is no object`, async () => {
        expect((await on.http.post<Item>(`${BASE}/sessions/cleanup`, body)).status).toBe(422)
      })
    }
  })
})
