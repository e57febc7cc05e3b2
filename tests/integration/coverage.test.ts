/** Two instances on one database: what is asked of one covers what the other has accepted. */
import { describe, expect, test } from 'bun:test'
import { sqlServers } from '../support/backends.ts'
import type { Answer } from '../support/http.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene, type Scene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'
import { type Item, sessionItem, taskItem, taskItems } from '../support/translation_items.ts'
import { until } from '../support/waiting.ts'

const BASE = '/api/v1/translation'
const DEAD_AFTER_MS = 5000
/** What "at once" may take: some statements, on a machine that is busy. */
const AT_ONCE_MS = 1500

interface Pair {
  a: Instance
  b: Instance
  serviceA: Service
}

async function startPair(scene: Scene, server: (typeof sqlServers)[number]): Promise<Pair> {
  const { url } = await scene.database(server)
  const start = (id: string) => scene.start({ DATABASE_URL: url, INSTANCE_ID: id })
  const [serviceA, serviceB] = await Promise.all([start('a'), start('b')])
  return { a: instance(serviceA), b: instance(serviceB), serviceA }
}

const shown = async (on: Instance, id: string) => {
  const { body } = await on.http.get<{ items: Item[] }>('/api/v1/system/instances')
  return body.items.find(({ instance_id }) => instance_id === id)
}
const stateOf = async (on: Instance, id: string) => (await shown(on, id))?.state
const died = (on: Instance, id: string) =>
  until(async () => (await stateOf(on, id)) === 'dead', {
    message: `${id} counts as dead`,
    timeoutMs: 15_000,
  })

const restore = (on: Instance, id: string, accept = 'application/json') =>
  on.http.post<Item>(`${BASE}/recovery/restore/${id}`, undefined, { accept })
const incomplete = (on: Instance) => on.http.get<Item>(`${BASE}/recovery/incomplete-sessions`)
const strong = (on: Instance, path: string) =>
  on.http.get<Item>(`${BASE}/${path}${path.includes('?') ? '&' : '?'}consistency=strong`)
const idsOf = (items: unknown, field: string) => (items as Item[]).map((item) => String(item[field])).sort()

async function timed<T>(call: Promise<Answer<T>>): Promise<Answer<T> & { ms: number }> {
  const start = performance.now()
  const answer = await call
  return { ...answer, ms: performance.now() - start }
}

for (const server of sqlServers) {
  describe(`two instances on ${server}`, () => {
    test('a restore, the incomplete sessions and strong reads on one see what the other has only accepted', async () => {
      await using scene = createScene()
      const { a, b } = await startPair(scene, server)
      await a.sessions([sessionItem('s')])
      await a.tasks(taskItems('s', 3))
      expect((await b.session('s')).status).toBe(404)

      const restored = await timed(restore(b, 's'))
      expect(restored.body).toMatchObject({ tasks_count: 3, missing_instances: [] })
      expect(restored.ms).toBeLessThan(3000)

      await a.sessions([sessionItem('t')])
      const found = await incomplete(b)
      expect(found.body.missing_instances).toEqual([])
      expect(idsOf(found.body.sessions, 'session_id')).toEqual(['s', 't'])

      // Finished elsewhere, and not flushed: it must not be handed out again.
      await a.patchTasks([{ session_id: 's', task_id: 'task_0', status: 'completed' }])
      expect(idsOf((await restore(b, 's')).body.tasks, 'task_id')).toEqual(['task_1', 'task_2'])

      await a.tasks([taskItem('s', 'only')])
      const plain = await b.http.get<Item>(`${BASE}/sessions/s/tasks`)
      expect(idsOf(plain.body.items, 'task_id')).not.toContain('only')
      expect(plain.body.missing_instances).toBeUndefined()
      const listed = await strong(b, 'sessions/s/tasks')
      expect(idsOf(listed.body.items, 'task_id')).toContain('only')
      expect(listed.body.missing_instances).toEqual([])

      await a.patchTasks([{ session_id: 's', task_id: 'only', target_text: '译' }])
      expect((await strong(b, 'tasks/only')).body).toMatchObject({ target_text: '译', missing_instances: [] })
      await a.patchSessions([{ session_id: 's', total_tasks: 77 }])
      expect((await strong(b, 'sessions/s')).body).toMatchObject({ total_tasks: 77, missing_instances: [] })
      // What this instance holds itself is in the lists too.
      await b.sessions([sessionItem('own')])
      await a.sessions([sessionItem('others')])
      expect(idsOf((await strong(b, 'sessions')).body.items, 'session_id')).toEqual([
        'others',
        'own',
        's',
        't',
      ])
      await a.tasks([taskItem('s', 'last')])
      expect(idsOf((await strong(b, 'tasks')).body.items, 'task_id')).toContain('last')

      const wrong = await b.http.get(`${BASE}/sessions?consistency=eventual`)
      expect(wrong.status).toBe(422)
    })

    test('a flush on one stores what the other has accepted, and counts it; many at once do too', async () => {
      await using scene = createScene()
      const { a, b } = await startPair(scene, server)
      await a.sessions([sessionItem('s')])
      await a.tasks(taskItems('s', 40))
      await b.tasks(taskItems('s', 2, { from: 100 }))
      const flushed = await timed(b.flush())
      expect([flushed.status, flushed.body]).toMatchObject([
        200,
        { status: 'flushed', sessions_written: 1, tasks_written: 42 },
      ])
      expect(flushed.ms).toBeLessThan(3000)
      expect((await a.health()).buffer.total_count).toBe(0)
      expect((await b.allTasks('s')).length).toBe(42)

      await a.tasks(taskItems('s', 10, { status: 'completed' }))
      const all = await Promise.all([...Array(8)].flatMap(() => [a.flush(), b.flush()]))
      expect(all.map(({ status }) => status)).toEqual(all.map(() => 200))
      expect((await a.health()).buffer.total_count).toBe(0)
    })

    test('the status of a session that the other has only accepted is set; of one that nobody has it is not found', async () => {
      await using scene = createScene()
      const { a, b } = await startPair(scene, server)
      await a.sessions([sessionItem('s')])
      const changed = await b.http.patch<Item>(`${BASE}/sessions/s/status`, { status: 'completed' })
      expect([changed.status, changed.body.status]).toEqual([200, 'completed'])
      const missing = await timed(b.http.patch(`${BASE}/sessions/nowhere/status`, { status: 'completed' }))
      expect(missing.status).toBe(404)
      expect(missing.ms).toBeLessThan(3000)
    })

    test('one that is killed is named, at once when it counts as dead, until it is back or forgotten', async () => {
      await using scene = createScene()
      const { a, b, serviceA } = await startPair(scene, server)
      await b.sessions([sessionItem('s')])
      await b.tasks([taskItem('s', 't')])
      await a.tasks([taskItem('s', 'of-a')])
      await serviceA.kill()

      // It counts as live at first: it is waited for, and named once it dies.
      const dying = await timed(b.flush())
      expect(dying.status).toBe(504)
      expect(dying.body).toMatchObject({
        status: 'error',
        sessions_written: 1,
        tasks_written: 1,
        missing_instances: ['a'],
      })
      expect(dying.ms).toBeLessThan(DEAD_AFTER_MS + AT_ONCE_MS)
      await died(b, 'a')

      await b.tasks([taskItem('s', 'more')])
      const flushed = await timed(b.flush())
      expect([flushed.status, flushed.body]).toMatchObject([
        504,
        { tasks_written: 1, missing_instances: ['a'] },
      ])
      expect(flushed.body.duration_ms).toBeNumber()
      const restored = await timed(restore(b, 's'))
      expect([restored.status, restored.body]).toMatchObject([
        200,
        { tasks_count: 2, missing_instances: ['a'] },
      ])
      const lines = await timed(restore(b, 's', 'application/x-ndjson'))
      expect(JSON.parse(lines.text.trim().split('\n').at(-1)!)).toMatchObject({
        tasks_count: 2,
        missing_instances: ['a'],
      })
      const found = await timed(incomplete(b))
      expect([found.status, found.body]).toMatchObject([200, { count: 1, missing_instances: ['a'] }])
      const recovery = await timed(b.http.get<Item>(`${BASE}/recovery/status`))
      expect(recovery.body.missing_instances).toEqual(['a'])
      const read = await timed(strong(b, 'sessions/s/tasks'))
      expect(read.body.missing_instances).toEqual(['a'])
      const unknown = await timed(strong(b, 'sessions/of-a-alone'))
      expect([unknown.status, unknown.body]).toMatchObject([404, { missing_instances: ['a'] }])
      const calls = [flushed, restored, lines, found, recovery, read, unknown]
      expect(Math.max(...calls.map(({ ms }) => ms))).toBeLessThan(AT_ONCE_MS)

      const forget = (id: string) => b.http.delete<Item>(`/api/v1/system/instances/${id}`)
      expect([(await forget('b')).status, (await forget('nobody')).status]).toEqual([409, 404])
      expect((await forget('b')).body).toMatchObject({ error_code: 'INSTANCE_LIVE', instance_id: 'b' })
      const held = (await shown(b, 'a'))!.buffered_rows
      const forgotten = await forget('a')
      expect([forgotten.status, forgotten.body]).toEqual([200, { instance_id: 'a', status: 'forgotten' }])
      expect(await stateOf(b, 'a')).toBeUndefined()
      // What it held may be lost to everybody: a metric, and the log, say so.
      const { text } = await b.http.get('/api/v1/system/metrics')
      const counted = (rows: string) =>
        Number(
          new RegExp(`^persistence_instances_forgotten_total\\{rows="${rows}"\\} (\\d+)$`, 'm').exec(
            text,
          )?.[1],
        )
      expect([counted('held'), counted('none')]).toEqual(Number(held) > 0 ? [1, 0] : [0, 1])
      expect((await b.logged('a dead instance was forgotten')).meta).toEqual({ instance: 'a', rows: held })
      expect((await b.flush()).status).toBe(200)
      expect((await restore(b, 's')).body.missing_instances).toEqual([])
      expect((await forget('a')).status).toBe(404)
    })

    test('one that hangs is waited for as long as it may live, then named at once; it counts again when it goes on', async () => {
      await using scene = createScene()
      const { a, b, serviceA } = await startPair(scene, server)
      await b.sessions([sessionItem('s')])
      await a.tasks([taskItem('s', 'of-a')])
      serviceA.signal('SIGSTOP')
      scene.defer(() => serviceA.signal('SIGCONT'))

      const early = await timed(strong(b, 'sessions/s'))
      expect([early.status, early.body.missing_instances]).toEqual([200, ['a']])
      expect(early.ms).toBeWithin(2500, 5000)
      await died(b, 'a')
      const late = await timed(incomplete(b))
      expect(late.body.missing_instances).toEqual(['a'])
      expect(late.ms).toBeLessThan(AT_ONCE_MS)
      expect((await b.flush()).body).toMatchObject({ status: 'error', missing_instances: ['a'] })

      serviceA.signal('SIGCONT')
      await until(async () => (await stateOf(b, 'a')) === 'live', { message: 'it gives signs again' })
      expect((await b.flush()).status).toBe(200)
      expect(idsOf((await restore(b, 's')).body.tasks, 'task_id')).toEqual(['of-a'])
    })

    test('a live one that is not done in time keeps the status of an unknown session from being "not found"', async () => {
      await using scene = createScene()
      const { b, serviceA } = await startPair(scene, server)
      serviceA.signal('SIGSTOP')
      scene.defer(() => serviceA.signal('SIGCONT'))
      const answer = await timed(b.http.patch(`${BASE}/sessions/s/status`, { status: 'completed' }))
      expect([answer.status, answer.body]).toMatchObject([503, { missing_instances: ['a'] }])
      expect(answer.ms).toBeWithin(2500, 5000)
      expect((await b.health()).buffer.total_count).toBe(0)
      await died(b, 'a')
      const later = await timed(b.http.patch(`${BASE}/sessions/s/status`, { status: 'completed' }))
      expect([later.status, later.body]).toMatchObject([404, { missing_instances: ['a'] }])
    })

    test('one that ends with nothing left is gone: not listed, not waited for', async () => {
      await using scene = createScene()
      const { a, b, serviceA } = await startPair(scene, server)
      await a.sessions([sessionItem('s')])
      const { body } = await b.http.get<Item>('/api/v1/system/instances')
      expect(body).toMatchObject({ total: 2, total_pages: 1, next_cursor: null })
      expect(idsOf(body.items, 'instance_id')).toEqual(['a', 'b'])
      await until(
        async () => {
          const listed = await b.http.get<{ items: Item[] }>('/api/v1/system/instances')
          return listed.body.items[0]!.buffered_rows === 1
        },
        { message: 'its sign of life says what it holds' },
      )
      expect(await serviceA.stop()).toBe(0)
      expect(await stateOf(b, 'a')).toBeUndefined()
      const flushed = await timed(b.flush())
      expect(flushed.status).toBe(200)
      expect(flushed.ms).toBeLessThan(AT_ONCE_MS)
      expect((await b.session('s')).status).toBe(200)
    })

    test('with the database known to be down, whatever covers all instances answers 503 at once', async () => {
      await using scene = createScene()
      const database = await scene.database(server)
      const proxy = await scene.proxy(database)
      const env = { DATABASE_URL: proxy.url, INSTANCE_ID: 'b' }
      const b = instance(await scene.start(env))
      await b.sessions([sessionItem('whole')])
      await proxy.refuse()
      await until(async () => (await b.health()).database === 'unhealthy', {
        message: 'it is known',
        timeoutMs: 20_000,
      })
      const answers = await Promise.all([
        timed(b.flush()),
        timed(restore(b, 'whole')),
        timed(incomplete(b)),
        timed(strong(b, 'sessions')),
        timed(b.http.patch<Item>(`${BASE}/sessions/unknown/status`, { status: 'completed' })),
        timed(b.http.get<Item>('/api/v1/system/instances')),
      ])
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 503))
      expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(AT_ONCE_MS)
      const whole = await b.http.patch<Item>(`${BASE}/sessions/whole/status`, { status: 'completed' })
      expect([whole.status, whole.body.status]).toEqual([200, 'completed'])
    })
  })
}
