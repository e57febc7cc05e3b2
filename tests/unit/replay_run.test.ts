/** The driver and the verification on a client that keeps what it is sent in memory. */
import { describe, expect, test } from 'bun:test'
import type { Client } from '../../tools/replay/client.ts'
import { driveSessions } from '../../tools/replay/driver.ts'
import { planSessions } from '../../tools/replay/plan.ts'
import type { ReplayRow } from '../../tools/replay/reader.ts'
import { verifySessions } from '../../tools/replay/verify.ts'

type Item = Record<string, unknown>

const ROWS: ReplayRow[] = Array.from({ length: 45 }, (_, n) => ({
  sheet: n < 30 ? 'Dialogue' : 'Items',
  row: n,
  context: `context ${n}`,
  source: `source ${n}`,
  target: `译文 ${n} e\u0301`,
}))

const BATCH_SIZE = 10

interface Memory {
  client: Client
  posted: { sessions: Item[]; tasks: Item[] }
  /** What is read back; tests spoil it. */
  sessions: Map<string, Item>
  tasks: Map<string, Item>
  /** Ids in the order of the lists. */
  listed: string[]
}

function createMemory(): Memory {
  const posted: Memory['posted'] = { sessions: [], tasks: [] }
  const sessions = new Map<string, Item>()
  const tasks = new Map<string, Item>()
  const listed: string[] = []

  function post(path: string, body: unknown): Item {
    const kind = path.includes('/sessions/') ? 'sessions' : 'tasks'
    const items = (body as Record<string, Item[]>)[kind]!
    posted[kind].push(...items)
    const [table, key] = kind === 'sessions' ? [sessions, 'session_id'] : [tasks, 'task_id']
    for (const item of items) {
      const id = kind === 'sessions' ? String(item[key]) : `${item.session_id} ${item.task_id}`
      if (kind === 'tasks' && !tasks.has(id)) listed.push(id)
      table.set(id, { ...table.get(id), ...item })
    }
    return { count: items.length }
  }

  function find(path: string): Item | null {
    const { pathname, searchParams } = new URL(path, 'http://memory')
    const [, , , , kind, id, list] = pathname.split('/')
    if (list) {
      const ids = listed.filter((key) => key.startsWith(`${id} `))
      const from = Number(searchParams.get('cursor') ?? 0)
      const items = ids.slice(from, from + 7).map((key) => tasks.get(key))
      return { items, next_cursor: from + 7 < ids.length ? String(from + 7) : null }
    }
    if (kind === 'tasks') return tasks.get(`${searchParams.get('session_id')} ${id}`) ?? null
    const session = sessions.get(id!)
    if (!session) return null
    return { pending_tasks: 0, progress: session.status === 'completed' ? 100 : 50, ...session }
  }

  const client: Client = {
    post: async (path, body) => post(path, body),
    find: async (path) => find(path),
    writesMs: [],
    readsMs: [],
    retries: () => 0,
  }
  return { client, posted, sessions, tasks, listed }
}

async function replayed(spoil: (memory: Memory, firstSession: string) => void = () => {}) {
  const memory = createMemory()
  const { client } = memory
  const sessions = planSessions(ROWS, { file: 'game.jsonl', sessions: null, batchSize: BATCH_SIZE })
  const shared = { client, replayId: 'r', connections: 3, stop: new AbortController() }
  let completed = 0
  const onCompleted = (tasks: number) => {
    completed += tasks
  }
  await driveSessions(sessions, { ...shared, tasksPerSecond: 0, onCompleted })
  spoil(memory, sessions[0]!.sessionId)
  let compared = 0
  const onCompared = (tasks: number) => {
    compared += tasks
  }
  const verify = () => verifySessions(sessions, { ...shared, batchSize: BATCH_SIZE, onCompared })
  return { memory, completed, verify, compared: () => compared }
}

describe('what is sent', () => {
  test('takes every task through its three states in order, required fields each time', async () => {
    const { memory, completed } = await replayed()
    expect(completed).toBe(45)
    const states = Map.groupBy(memory.posted.tasks, (item) => `${item.session_id} ${item.task_id}`)
    expect(states.size).toBe(45)
    for (const items of states.values()) {
      expect(items.map(({ status }) => status)).toEqual(['pending', 'processing', 'completed'])
    }
  })
  test('has each session before its tasks, counters that never fall, and completed at the end, once', async () => {
    const { memory } = await replayed()
    for (const items of Map.groupBy(memory.posted.sessions, ({ session_id }) => session_id).values()) {
      const counts = items.map((item) => Number(item.completed_tasks))
      expect(counts).toEqual(counts.toSorted((a, b) => a - b))
      expect(items[0]).toMatchObject({ status: 'processing', completed_tasks: 0, processing_tasks: 0 })
      const isCompleted = items.map(({ status }) => status === 'completed')
      expect(isCompleted.indexOf(true)).toBe(items.length - 1)
      expect(items.at(-1)).toMatchObject({ processing_tasks: 0, completed_tasks: items[0]!.total_tasks })
    }
  })
  test('must all be accepted', async () => {
    const { client } = createMemory()
    const short: Client = { ...client, post: async () => ({ count: 0 }) }
    const sessions = planSessions(ROWS, { file: 'f', sessions: 1, batchSize: 10 })
    const options = { client: short, replayId: 'r', connections: 1, stop: new AbortController() }
    const run = driveSessions(sessions, { ...options, tasksPerSecond: 0, onCompleted: () => {} })
    await expect(run).rejects.toThrow('1 items were sent, 0 accepted')
  })
})

describe('the verification', () => {
  test('finds nothing where all is stored, and has compared every task by list and twenty by id', async () => {
    const { verify, compared } = await replayed()
    const tally = await verify()
    expect(tally).toMatchObject({ tasks: 45, differences: 0 })
    expect(compared()).toBe(45)
    // Of a task: session, id, batch, sheet, column, source, target, context, status. Of a session:
    // id, name, path, status, provider.
    expect(tally.strings).toBe((45 + 20) * 9 + 2 * 5)
  })

  const found: [title: string, spoil: (memory: Memory, session: string) => void, first: object][] = [
    [
      'a lost task',
      ({ listed, tasks }, session) => {
        listed.splice(listed.indexOf(`${session} task_1`), 1)
        tasks.delete(`${session} task_1`)
      },
      { task_id: 'task_1', field: null, detail: 'is missing' },
    ],
    [
      'a task that is listed twice',
      ({ listed }, session) => listed.push(`${session} task_4`),
      { task_id: 'task_4', detail: 'is listed twice' },
    ],
    [
      'a task that nobody sent',
      ({ listed, tasks }, session) => {
        listed.push(`${session} x`)
        tasks.set(`${session} x`, { task_id: 'x' })
      },
      { task_id: 'x', detail: 'was never sent' },
    ],
    [
      'a text that was normalised',
      ({ tasks }, session) => {
        const task = tasks.get(`${session} task_29`)!
        task.target_text = String(task.target_text).normalize('NFC')
      },
      { task_id: 'task_29', field: 'target_text', read_from: 'list' },
    ],
    [
      'a context that a later write cleared',
      ({ tasks }, session) => {
        tasks.get(`${session} task_7`)!.context = null
      },
      { task_id: 'task_7', field: 'context' },
    ],
    [
      'a session that is not completed',
      ({ sessions }, session) => {
        sessions.get(session)!.status = 'processing'
      },
      { task_id: null, field: 'status', read_from: 'session' },
    ],
    [
      'a session that is not there',
      ({ sessions }, session) => sessions.delete(session),
      { task_id: null, field: null, read_from: 'session', detail: 'is missing' },
    ],
  ]
  test.each(found)('finds %s', async (_, spoil, first) => {
    const { verify } = await replayed(spoil)
    const tally = await verify()
    expect(tally.differences).toBeGreaterThan(0)
    expect(tally.first[0]).toMatchObject(first)
  })

  test('ends where the cursor goes in a circle', async () => {
    const { memory, verify } = await replayed()
    const { find } = memory.client
    memory.client.find = async (path) =>
      path.includes('/tasks?') ? { items: [], next_cursor: 'again' } : find(path)
    await expect(verify()).rejects.toThrow('the same next_cursor came twice')
  })
})
