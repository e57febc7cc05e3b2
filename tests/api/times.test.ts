/** Times: any offset, any fraction, naive ones as UTC, from year 1 to 9999; the same on every backend. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend, rawRequest } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  type Item,
  type Page,
  sessionItem,
  taskItem,
  translation,
} from '../support/translation_data.ts'

/** What is sent, and what comes back. */
const TIMES: Readonly<Record<string, string>> = {
  '2025-09-30T10:10:00Z': '2025-09-30T10:10:00.000Z',
  '2025-09-30t10:10:00z': '2025-09-30T10:10:00.000Z',
  '2025-09-30 10:10:00': '2025-09-30T10:10:00.000Z',
  '2025-09-30T10:10:00': '2025-09-30T10:10:00.000Z',
  '2025-09-30T10:10': '2025-09-30T10:10:00.000Z',
  '2025-09-30T10:10Z': '2025-09-30T10:10:00.000Z',
  '2025-09-30': '2025-09-30T00:00:00.000Z',
  '2025-09-30T10:10:00+08:00': '2025-09-30T02:10:00.000Z',
  '2025-09-30T10:10:00+0800': '2025-09-30T02:10:00.000Z',
  '2025-09-30T10:10:00-05:30': '2025-09-30T15:40:00.000Z',
  '2025-09-30T10:10:00-00:00': '2025-09-30T10:10:00.000Z',
  '2025-09-30T10:10:00+14:00': '2025-09-29T20:10:00.000Z',
  '2025-09-30T10:10:00+23:59': '2025-09-29T10:11:00.000Z',
  '2025-09-30T10:10:00.1Z': '2025-09-30T10:10:00.100Z',
  '2025-09-30T10:10:00.123456Z': '2025-09-30T10:10:00.123Z',
  '2025-09-30T10:10:00.123456789+01:00': '2025-09-30T09:10:00.123Z',
  '2025-09-30T10:10:00.999999999999Z': '2025-09-30T10:10:00.999Z',
  '2025-09-30T10:10:00,5Z': '2025-09-30T10:10:00.500Z',
  '2024-02-29T23:59:59.999Z': '2024-02-29T23:59:59.999Z',
  '1970-01-01T00:00:00Z': '1970-01-01T00:00:00.000Z',
  '1969-12-31T23:59:59.999Z': '1969-12-31T23:59:59.999Z',
  '2038-01-19T03:14:08Z': '2038-01-19T03:14:08.000Z',
  '2106-02-07T06:28:16Z': '2106-02-07T06:28:16.000Z',
  '9999-12-31T23:59:59.999Z': '9999-12-31T23:59:59.999Z',
  '9999-12-31': '9999-12-31T00:00:00.000Z',
  '1582-10-10T00:00:00Z': '1582-10-10T00:00:00.000Z',
  '1000-01-01T00:00:00Z': '1000-01-01T00:00:00.000Z',
  '0999-12-31T23:59:59.999Z': '0999-12-31T23:59:59.999Z',
  '0099-01-01T00:00:00Z': '0099-01-01T00:00:00.000Z',
  '0001-01-01T00:00:00Z': '0001-01-01T00:00:00.000Z',
}

onEachBackend('times', {}, (on) => {
  const api = translation(on)

  for (const field of ['start_time', 'end_time']) {
    test(`${field} is kept to the millisecond, in UTC`, async () => {
      const items = Object.keys(TIMES).map((time) => taskItem(freshId(), 't', { [field]: time }))
      const answer = await api.postTasks(items, { partial: 'true' })
      expect(answer.body).toMatchObject({ count: items.length, rejected: [] })
      for (const flushed of [false, true]) {
        if (flushed) expect((await api.flush()).body.tasks_written).toBe(items.length)
        const wrong: string[] = []
        for (const item of items) {
          const { body } = await api.task('t', { session_id: String(item.session_id) })
          const sent = String(item[field])
          if (body[field] !== TIMES[sent]) wrong.push(`${sent} became ${body[field]}`)
        }
        expect(wrong).toEqual([])
      }
    })
  }

  test('a fraction may have any number of digits', async () => {
    const session = freshId()
    for (const digits of [13, 20, 100]) {
      const start_time = `2025-09-30T10:10:00.${'1'.repeat(digits)}Z`
      expect((await api.postTasks([taskItem(session, 't', { start_time })])).status).toBe(202)
      expect((await api.task('t', { session_id: session })).body.start_time).toBe('2025-09-30T10:10:00.111Z')
    }
  })

  test('a day that only some calendars have is refused, or stored: never accepted and then lost', async () => {
    for (const day of ['0000-01-01', '0000-02-29', '0004-02-29', '1582-10-10', '1900-02-28']) {
      const session = freshId()
      const start_time = `${day}T12:00:00.000Z`
      const { status } = await api.postTasks([taskItem(session, 't', { start_time })])
      if (status === 422) continue
      await api.flush()
      expect((await api.tasksOf(session)).body.items.map((task) => task.start_time)).toEqual([start_time])
    }
  })

  describe('bounds of lists', () => {
    /** Sessions of these moments, made so past the service. */
    const MOMENTS = [
      '2025-09-09T23:59:59.999Z',
      '2025-09-10T00:00:00.000Z',
      '2025-09-10T12:00:00.500Z',
      '2025-09-10T23:59:59.999Z',
      '2025-09-11T00:00:00.000Z',
    ]
    const provider = 'moments'

    async function listed(query: string): Promise<unknown> {
      const target = `${BASE}/sessions?llm_provider=${provider}&order=asc&${query}`
      const answer = await rawRequest(on.url, { method: 'GET', target })
      return answer.status === 200
        ? (answer.body as Page).items.map(({ created_at }) => created_at)
        : `${answer.status}`
    }

    test('are both included, to the millisecond', async () => {
      const sessions = MOMENTS.map((moment) =>
        sessionItem(freshId(), { filename: moment, llm_provider: provider }),
      )
      await api.store(sessions)
      for (const { session_id, filename } of sessions) {
        const time = on.store.time(Date.parse(String(filename)))
        await on.store.run('UPDATE translation_sessions SET created_at = ? WHERE session_id = ?', [
          time,
          String(session_id),
        ])
      }
      expect(await listed('')).toEqual(MOMENTS)
      expect(await listed('from_date=2025-09-10T00:00:00Z&to_date=2025-09-10T23:59:59.999Z')).toEqual(
        MOMENTS.slice(1, 4),
      )
      expect(await listed(`from_date=${MOMENTS[2]}&to_date=${MOMENTS[2]}`)).toEqual([MOMENTS[2]])
      expect(await listed('from_date=2025-09-10T00:00:00.001Z')).toEqual(MOMENTS.slice(2))
      expect(await listed('to_date=2025-09-10T23:59:59.998Z')).toEqual(MOMENTS.slice(0, 3))
    })

    test('a date alone begins, or ends, with its whole day', async () => {
      expect(await listed('from_date=2025-09-10&to_date=2025-09-10')).toEqual(MOMENTS.slice(1, 4))
      expect(await listed('to_date=2025-09-09')).toEqual(MOMENTS.slice(0, 1))
      expect(await listed('from_date=2025-09-11')).toEqual(MOMENTS.slice(4))
    })

    test('an offset counts, and its plus sign may have turned into a space', async () => {
      // 08:00 at +08:00 is midnight in UTC.
      for (const plus of ['%2B', '+', '%20']) {
        expect(
          await listed(`from_date=2025-09-10T08:00:00${plus}08:00&to_date=2025-09-10T20:00:00.5${plus}08:00`),
        ).toEqual(MOMENTS.slice(1, 3))
      }
      expect(await listed('from_date=2025-09-10T07:00:00-05:00')).toEqual(MOMENTS.slice(2))
    })

    test('the ends of the calendar hold everything, and a range upside down nothing', async () => {
      expect(await listed('from_date=0001-01-01&to_date=9999-12-31')).toEqual(MOMENTS)
      expect(await listed('from_date=0001-01-01T00:00:00Z&to_date=9999-12-31T23:59:59.999Z')).toEqual(MOMENTS)
      expect(await listed('from_date=2025-09-11&to_date=2025-09-10')).toEqual([])
    })

    for (const bad of [
      '',
      'yesterday',
      '2025-02-30',
      '2025-09-10T24:00:00Z',
      '10000-01-01',
      '1757462400',
      '2025-9-1',
      '%FF',
      '%00',
    ]) {
      test(`'${bad}' is 422 that names its parameter, for sessions and tasks`, async () => {
        for (const parameter of ['from_date', 'to_date']) {
          for (const list of ['sessions', 'tasks', 'sessions/x/tasks']) {
            const answer = await rawRequest(on.url, {
              method: 'GET',
              target: `${BASE}/${list}?${parameter}=${bad}`,
            })
            expect(answer.status).toBe(422)
            expect((answer.body.errors as Item[]).map(({ field }) => field)).toEqual([parameter])
          }
        }
      })
    }

    test('of tasks are those of their own created_at', async () => {
      const session = freshId()
      await api.store([sessionItem(session)], [taskItem(session, 'old'), taskItem(session, 'new')])
      await on.store.run(
        "UPDATE translation_tasks SET created_at = ? WHERE session_id = ? AND task_id = 'old'",
        [on.store.time(Date.parse('2025-09-10T10:00:00Z')), session],
      )
      const ids = async (query: Record<string, string>) => [
        (await api.tasksOf(session, query)).body.items.map(({ task_id }) => task_id),
        (await api.tasks({ session_id: session, ...query })).body.items.map(({ task_id }) => task_id),
      ]
      expect(await ids({ to_date: '2025-09-10' })).toEqual([['old'], ['old']])
      expect(await ids({ from_date: '2025-09-11' })).toEqual([['new'], ['new']])
    })
  })
})
