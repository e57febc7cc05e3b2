/** A restore beside deletes that other instances made: what is of before one is not handed back. */
import { expect, test } from 'bun:test'
import { stampHex } from '../../src/collections/stamp.ts'
import { onEachBackend } from '../support/in_process.ts'
import { freshId, sessionItem, taskItem, taskItems, translation } from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

onEachBackend('restore after a delete', {}, (on) => {
  const api = translation(on)
  const idsOf = (items: readonly unknown[]) =>
    items.map((item) => (item as { task_id: string }).task_id).sort()
  const unfinished = async (id: string) =>
    (await api.incomplete()).some(({ session_id }) => session_id === id)

  /** Another instance's finished delete of everything up to now; from here on the time is later. */
  async function deletedElsewhere(id: string): Promise<void> {
    const now = Date.now()
    await until(() => Date.now() > now + 1, { message: 'the next millisecond' })
    const stamp = Buffer.from(stampHex(BigInt(now + 1) << 22n), 'hex')
    await on.store.run(
      'INSERT INTO tombstones (collection, group_key, stamp, finished, created_at) VALUES (?, ?, ?, 1, ?)',
      ['translation_sessions', id, stamp, now],
    )
  }

  test('leaves out what was buffered here before it, and has what came after', async () => {
    const id = freshId()
    await api.postSessions([sessionItem(id)])
    await api.postTasks(taskItems(id, 3))
    expect((await api.restore(id)).body.tasks_count).toBe(3)
    expect(await unfinished(id)).toBe(true)
    await deletedElsewhere(id)
    expect((await api.restore(id)).status).toBe(404)
    expect(await unfinished(id)).toBe(false)
    // A field of after it makes no whole task of what is void.
    await api.postSessions([sessionItem(id, { total_tasks: 9 })])
    await api.patchTasks([{ session_id: id, task_id: 'task_0', status: 'processing' }])
    await api.postTasks([taskItem(id, 'new')])
    const { status, body } = await api.restore(id)
    expect([status, idsOf(body.tasks)]).toEqual([200, ['new']])
    expect(body.session).toMatchObject({ total_tasks: 9 })
    expect(await unfinished(id)).toBe(true)
  })

  test('leaves out what a statement of before it has stored late', async () => {
    const id = freshId()
    await api.store([sessionItem(id)], taskItems(id, 3, { context: 'of before' }))
    expect(await unfinished(id)).toBe(true)
    await deletedElsewhere(id)
    expect((await api.restore(id)).status).toBe(404)
    expect(await unfinished(id)).toBe(false)
    await api.store([sessionItem(id)], [taskItem(id, 'stored'), taskItem(id, 'task_1')])
    await api.postTasks([taskItem(id, 'buffered')])
    const { status, body } = await api.restore(id)
    expect([status, idsOf(body.tasks)]).toEqual([200, ['buffered', 'stored', 'task_1']])
    expect(await unfinished(id)).toBe(true)
    expect(body.tasks.find(({ task_id }) => task_id === 'task_1')).toMatchObject({ context: null })
  })
})
