/** What is accepted comes back byte for byte: texts, identifiers, JSON, numbers; before a flush and after it. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  HARD_TEXTS,
  type Item,
  sessionItem,
  sessionPath,
  taskItem,
  translation,
} from '../support/translation_data.ts'

const EDGES: Readonly<Record<string, string>> = {
  '65,535 bytes of ASCII': 'x'.repeat(65_535),
  '65,535 bytes of Chinese': '龙'.repeat(21_845),
  '65,535 bytes of emoji and three letters': `${'🐉'.repeat(16_383)}abc`,
  '65,535 bytes of characters that SQL escapes': `'"\\\u0000\n`.repeat(13_107),
}

const FIELDS = {
  sessions: {
    texts: ['filename', 'file_path', 'llm_provider'],
    most: { filename: 255, file_path: 512, llm_provider: 50 },
  },
  tasks: {
    texts: ['sheet_name', 'column_name', 'source_text', 'target_text', 'context', 'error_message'],
    most: { sheet_name: 255, column_name: 255 },
  },
} as const

const IDENTIFIERS: Readonly<Record<string, string>> = {
  'a slash': 'a/b',
  'slashes alone': '///',
  'a percent sign': '100%',
  'a percent code': 'a%2Fb%41',
  'an inner space': 'inner space',
  'a plus sign': 'a+b',
  'a question mark and a hash': 'a?b=c#d',
  'an ampersand and a semicolon': 'a&b;c=d',
  quotes: `'"\``,
  'a backslash': '\\',
  'a wildcard': '%_*',
  Chinese: '会话一',
  'Chinese beyond the basic plane': '𠮷𠀋',
  emoji: '🐉👩‍👩‍👧‍👦',
  Arabic: 'جلسة',
  'a colon and braces': ':id{x}[0]',
  'three dots': '...',
  'dots and a slash': '../x',
  'a word of the paths in capitals': 'BATCH',
  'a word of the paths within': 'batch/cleanup',
  'a leading zero': '007',
  'a number': '42',
  null: 'null',
  'a name of every object': '__proto__',
  constructor: 'constructor',
  'a zero-width space at an end': 'a\u200b',
  'an encoded dot': '%2e',
}

const JSON_OBJECTS: Readonly<Record<string, string>> = {
  'an empty object': '{}',
  'names of every object':
    '{"__proto__":{"a":1},"constructor":{"prototype":2},"toString":null,"hasOwnProperty":[]}',
  'an empty name, and names that SQL escapes': `{"":1,"'":2,"\\"":3,"\\\\":4,"$.a[0]":5,"\\u0000":6}`,
  'hard texts': JSON.stringify(HARD_TEXTS),
  'nested lists and objects': '{"a":[[],{},[{"b":[null,true,false,"",0]}]]}',
  '30 levels of objects': `${'{"a":'.repeat(30)}1${'}'.repeat(30)}`,
  '30 levels of lists': `{"a":${'['.repeat(29)}${']'.repeat(29)}}`,
  'whole numbers': '{"a":[0,-0,1,-1,9007199254740991,-9007199254740991,2147483648]}',
  fractions: '{"a":[0.1,-0.5,1e-7,3.141592653589793,0.30000000000000004,123456.789]}',
  'large and small numbers': '{"a":[1e21,1e300,1.7976931348623157e308,1e-300,2.2250738585072014e-308]}',
  'the smallest number': '{"a":5e-324}',
  'many names': JSON.stringify(Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`name ${i}`, i]))),
  'a long name': JSON.stringify({ ['n'.repeat(60_000)]: 1 }),
  'a text of a megabyte': JSON.stringify({ a: 'x'.repeat(1_000_000) }),
  'escapes that JSON need not make': '{"\\u0061":"\\/\\u4f60"}',
}

onEachBackend('stored values', {}, (on) => {
  const api = translation(on)

  /** Writes the items, and looks at them twice: from the buffer and from the tables. */
  async function roundTrip(kind: 'sessions' | 'tasks', items: Item[], fields: readonly string[]) {
    const post = kind === 'sessions' ? api.postSessions : api.postTasks
    const accepted = await post(items)
    expect(accepted.text).toContain('"accepted"')
    const wrong: string[] = []
    for (const when of ['buffered', 'stored']) {
      if (when === 'stored') await api.flush()
      for (const item of items) {
        const { body } =
          kind === 'sessions'
            ? await api.session(String(item.session_id))
            : await api.task(String(item.task_id), { session_id: String(item.session_id) })
        for (const field of ['session_id', ...fields]) {
          if (!Bun.deepEquals(body[field], item[field])) {
            wrong.push(`${when} ${field}: ${short(item[field])} became ${short(body[field])}`)
          }
        }
      }
    }
    expect(wrong).toEqual([])
  }

  const short = (value: unknown) => JSON.stringify(value)?.slice(0, 100)

  for (const kind of ['sessions', 'tasks'] as const) {
    const make = (fields: Item) =>
      kind === 'sessions' ? sessionItem(freshId(), fields) : taskItem(freshId(), 't', fields)

    for (const field of FIELDS[kind].texts) {
      test(`${kind}: ${field} keeps every kind of text`, async () => {
        await roundTrip(
          kind,
          Object.values(HARD_TEXTS).map((text) => make({ [field]: text })),
          [field],
        )
      })
    }

    for (const [field, characters] of Object.entries(FIELDS[kind].most)) {
      test(`${kind}: ${field} holds ${characters} characters, whatever their bytes`, async () => {
        const texts = ['x', '龙', '🐉'].map((one) => one.repeat(characters))
        await roundTrip(
          kind,
          texts.map((text) => make({ [field]: text })),
          [field],
        )
      })
    }
  }

  for (const field of ['source_text', 'target_text', 'context', 'error_message']) {
    test(`tasks: ${field} holds 65,535 bytes`, async () => {
      await roundTrip(
        'tasks',
        Object.values(EDGES).map((text) => taskItem(freshId(), 't', { [field]: text })),
        [field],
      )
    })
  }

  test('a batch of rows at their largest is stored, whatever the packets of the database hold', async () => {
    const session = freshId()
    const text = '龙'.repeat(21_845)
    const full = { source_text: text, target_text: text, context: text, error_message: text }
    const items = Array.from({ length: 80 }, (_, i) => taskItem(session, `t${i}`, full))
    const answer = await api.postTasks(items)
    expect(answer.status).toBe(202)
    expect((await api.flush()).body.tasks_written).toBe(80)
    expect((await api.task('t79', { session_id: session })).body).toMatchObject(full)
    await api.remove(session)
  })

  describe('identifiers', () => {
    test('any text without control characters and white space at its ends is one, in bodies and in paths', async () => {
      const sessions = Object.values(IDENTIFIERS).map((id) => sessionItem(id, { filename: `of ${id}` }))
      const tasks = Object.values(IDENTIFIERS).map((id) => taskItem(id, id, { batch_id: id }))
      await roundTrip('sessions', sessions, ['filename'])
      await roundTrip('tasks', tasks, ['task_id', 'batch_id'])
    })

    for (const [name, id] of Object.entries(IDENTIFIERS)) {
      test(`${name} works in every path and filter that takes an id`, async () => {
        const fresh = `${id}!${name.length}`
        await api.store([sessionItem(fresh)], [taskItem(fresh, fresh, { batch_id: fresh })])
        const below = encodeURIComponent(fresh)
        const tasks = await api.tasksOf(fresh, { batch_id: fresh })
        expect(tasks.body).toMatchObject({ session_id: fresh, total: 1, items: [{ task_id: fresh }] })
        expect((await api.tasks({ session_id: fresh })).body).toMatchObject({ total: 1 })
        expect((await on.http.get(`${BASE}/tasks/${below}`)).body).toMatchObject({ task_id: fresh })
        const changed = await on.http.patch(sessionPath(fresh, '/status'), { status: 'pending' })
        expect(changed.body).toMatchObject({ session_id: fresh, status: 'pending' })
        expect((await api.restore(fresh)).body).toMatchObject({ session_id: fresh, tasks_count: 1 })
        expect((await api.remove(fresh)).body).toEqual({
          session_id: fresh,
          status: 'deleted',
          deleted_tasks: 1,
        })
        expect((await api.session(fresh)).body).toMatchObject({ session_id: fresh, status: 404 })
      })
    }

    test('a session_id holds 36 characters, a task_id and a batch_id 64, whatever their bytes', async () => {
      for (const one of ['x', '龙', '🐉']) {
        const [session, task] = [one.repeat(36), one.repeat(64)]
        await roundTrip('sessions', [sessionItem(session)], ['filename'])
        await roundTrip('tasks', [taskItem(session, task, { batch_id: task })], ['task_id', 'batch_id'])
      }
    })

    test('one character is enough', async () => {
      await roundTrip('sessions', [sessionItem('龙')], [])
      await roundTrip('tasks', [taskItem('龙', '1', { batch_id: '-' })], ['task_id', 'batch_id'])
    })
  })

  describe('JSON', () => {
    for (const [name, json] of Object.entries(JSON_OBJECTS)) {
      test(`${name} comes back as it was sent`, async () => {
        const id = freshId()
        const body = JSON.stringify({ sessions: [{ ...sessionItem(id), metadata: '@', game_info: '@' }] })
        const answer = await on.http.post(
          `${BASE}/sessions/batch`,
          body.replaceAll('"@"', () => json),
        )
        expect(answer.status).toBe(202)
        for (const flushed of [false, true]) {
          if (flushed) expect((await api.flush()).body.sessions_written).toBe(1)
          const { body: read } = await api.session(id)
          expect(inOrder(read.metadata)).toBe(inOrder(JSON.parse(json)))
          expect(inOrder(read.game_info)).toBe(inOrder(JSON.parse(json)))
        }
      })
    }

    test('the polluting names stay names: no object of the service gets them', async () => {
      const id = freshId()
      const body = JSON.stringify({ sessions: [{ ...sessionItem(id), metadata: '@' }] })
      await on.http.post(`${BASE}/sessions/batch`, body.replace('"@"', '{"__proto__":{"polluted":true}}'))
      expect(({} as Item).polluted).toBeUndefined()
      expect((await api.session(id)).text).toContain('"metadata":{"__proto__":{"polluted":true}}')
    })
  })

  describe('numbers', () => {
    test('counters hold 0 to 2,147,483,647, however they are spelt', async () => {
      const id = freshId()
      const body = JSON.stringify({ sessions: [sessionItem(id, { total_tasks: '@' })] })
      for (const [json, value] of Object.entries({
        0: 0,
        '-0': 0,
        '1.0': 1,
        '1e3': 1000,
        2147483647: 2147483647,
      })) {
        expect((await on.http.post(`${BASE}/sessions/batch`, body.replace('"@"', json))).status).toBe(202)
        expect((await api.session(id)).body.total_tasks).toBe(value)
        await api.flush()
        expect((await api.session(id)).body.total_tasks).toBe(value)
      }
    })

    test('every whole number of a task holds 2,147,483,647', async () => {
      const most = { row_index: 2147483647, retry_count: 2147483647, duration_ms: 2147483647 }
      await roundTrip('tasks', [taskItem(freshId(), 't', most)], Object.keys(most))
    })

    test('confidence is kept to 4 digits, rounded at the door', async () => {
      const rounded = {
        0: 0,
        1: 1,
        0.95: 0.95,
        0.12345: 0.1235,
        0.12344: 0.1234,
        0.99999: 1,
        0.00004: 0,
        1e-9: 0,
      }
      for (const [given, kept] of Object.entries(rounded)) {
        const id = freshId()
        await api.postTasks([taskItem(id, 't', { confidence: Number(given) })])
        expect((await api.task('t', { session_id: id })).body.confidence).toBe(kept)
        await api.flush()
        expect((await api.task('t', { session_id: id })).body.confidence).toBe(kept)
      }
    })
  })
})

/** JSON text with the names of every object sorted: a store may order them its own way. */
function inOrder(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inOrder).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([name, item]) => `${JSON.stringify(name)}:${inOrder(item)}`).join(',')}}`
}
