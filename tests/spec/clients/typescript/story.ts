/** A front end's day, by a client whose types are generated from the spec. SERVICE_URL and API_KEY say where. */
import createClient from 'openapi-fetch'
import type { components, paths } from './openapi.d.ts'

type Schemas = components['schemas']
type Api = ReturnType<typeof createApi>

declare const process: { env: Record<string, string | undefined> }

const { SERVICE_URL = '', API_KEY = '' } = process.env
const SESSION = crypto.randomUUID()
const PROVIDER = `story-${SESSION}`.slice(0, 40)
const START_TIME = '2025-09-30T10:10:00.250Z'
const NOBODY = { params: { path: { session_id: crypto.randomUUID() } } }
const THIS = { params: { path: { session_id: SESSION } } }

/** The media types leave out the lines of a restore: its answer is then the one object. */
function createApi(headers: Record<string, string>) {
  return createClient<paths, 'application/json' | 'application/problem+json'>({
    baseUrl: SERVICE_URL,
    headers,
  })
}

interface Answer<Data, Failure> {
  data?: Data
  error?: Failure
  response: Response
}

function expect(holds: boolean, what: string, seen?: unknown): asserts holds {
  if (!holds) throw new Error(`${what}${seen === undefined ? '' : `, not ${JSON.stringify(seen)}`}`)
}

function dataOf<Data, Failure>({ data, error, response }: Answer<Data, Failure>): Data {
  expect(data !== undefined, `${response.url}: data`, { status: response.status, error })
  return data
}

function errorOf<Data, Failure>(answer: Answer<Data, Failure>, status: number): Failure {
  const { error, response } = answer
  expect(error !== undefined && response.status === status, `${response.url}: ${status}`, response.status)
  return error
}

const task = (index: number, more: Partial<Schemas['TaskInput']> = {}): Schemas['TaskInput'] => ({
  task_id: `task_${index}`,
  session_id: SESSION,
  batch_id: 'batch_1',
  sheet_name: 'Dialogue',
  row_index: index,
  column_name: 'Text',
  source_text: `Hello, adventurer number ${index}!`,
  status: 'pending',
  ...more,
})

async function isRefusedWithoutKey(): Promise<void> {
  const api = createApi({})
  const error = errorOf(await api.GET('/api/v1/translation/sessions'), 401)
  expect(error.error_code === 'UNAUTHENTICATED', 'UNAUTHENTICATED', error.error_code)
  expect(dataOf(await api.GET('/health/live')).status === 'alive', 'open to everybody')
}

async function writes(api: Api): Promise<void> {
  const session: Schemas['SessionInput'] = {
    session_id: SESSION,
    filename: 'game.xlsx',
    file_path: '/uploads/game.xlsx',
    status: 'processing',
    llm_provider: PROVIDER,
    total_tasks: 6,
    game_info: { game_name: 'Fantasy RPG', languages: ['en', 'zh'] },
    metadata: null,
  }
  const sessions = dataOf(
    await api.POST('/api/v1/translation/sessions/batch', { body: { sessions: [session] } }),
  )
  expect(sessions.status === 'accepted' && sessions.count === 1, 'a session accepted', sessions)

  const done = task(0, { status: 'completed', target_text: '你好', confidence: 0.95, start_time: START_TIME })
  const tasks = [done, task(1), task(2), task(3), task(4), task(5, { row_index: -1 })]
  const sorted = dataOf(
    await api.POST('/api/v1/translation/tasks/batch', {
      params: { query: { partial: true } },
      body: { tasks },
    }),
  )
  const [rejected] = sorted.rejected ?? []
  expect(rejected?.index === 5, 'the last task rejected', sorted)
  expect(rejected.errors[0]?.field === 'tasks[5].row_index', 'its field named', rejected)

  const patch: Schemas['TaskPatch'] = { session_id: SESSION, task_id: 'task_1', context: 'A greeting' }
  const stored = dataOf(
    await api.PATCH('/api/v1/translation/tasks/batch', {
      params: { query: { wait: true } },
      body: { tasks: [patch] },
    }),
  )
  expect(stored.status === 'stored' && stored.outcomes[0]?.outcome === 'stored', 'a patch stored', stored)
  const flushed = dataOf(await api.POST('/api/v1/translation/flush'))
  expect(flushed.status === 'flushed' && flushed.duration_ms >= 0, 'all of it stored', flushed)
}

async function reads(api: Api): Promise<void> {
  const session = dataOf(await api.GET('/api/v1/translation/sessions/{session_id}', THIS))
  expect(session.game_info?.game_name === 'Fantasy RPG' && session.metadata === null, 'JSON', session)
  expect(session.completed_tasks === 1 && session.pending_tasks === 5, 'counters', session)
  expect(Date.now() - Date.parse(session.created_at) < 600_000, 'a time', session.created_at)

  const one = dataOf(
    await api.GET('/api/v1/translation/tasks/{task_id}', {
      params: { path: { task_id: 'task_0' }, query: { session_id: SESSION } },
    }),
  )
  expect(one.start_time === START_TIME && one.end_time === null, 'times of a task', one)
  expect(one.target_text === '你好' && one.confidence === 0.95, 'a translation', one)
}

async function lists(api: Api): Promise<void> {
  const from_date = new Date(Date.now() - 600_000).toISOString()
  const sessions = dataOf(
    await api.GET('/api/v1/translation/sessions', {
      params: {
        query: { llm_provider: PROVIDER, status: 'processing', from_date, order: 'asc', page_size: 5 },
      },
    }),
  )
  expect(sessions.total === 1 && sessions.items[0]?.session_id === SESSION, 'the one session', sessions)

  const seen: string[] = []
  let cursor: string | null = null
  do {
    const page: Schemas['SessionTaskList'] = dataOf(
      await api.GET('/api/v1/translation/sessions/{session_id}/tasks', {
        params: { path: { session_id: SESSION }, query: { page_size: 2, ...(cursor && { cursor }) } },
      }),
    )
    seen.push(...page.items.map(({ task_id }) => task_id))
    cursor = page.next_cursor
  } while (cursor !== null)
  expect(seen.join() === 'task_0,task_1,task_2,task_3,task_4', 'every task once, in order', seen)

  const found = dataOf(
    await api.GET('/api/v1/translation/tasks', {
      params: { query: { session_id: SESSION, status: 'pending', q: 'number 1', consistency: 'strong' } },
    }),
  )
  expect(found.items.map((item) => item.context).join() === 'A greeting', 'the one task', found)
}

async function recovers(api: Api): Promise<void> {
  const unfinished = dataOf(await api.GET('/api/v1/translation/recovery/incomplete-sessions'))
  expect(
    unfinished.sessions.some(({ session_id }) => session_id === SESSION),
    'the session among the unfinished ones',
  )
  const restored = dataOf(await api.POST('/api/v1/translation/recovery/restore/{session_id}', THIS))
  expect(restored.tasks_count === 4 && restored.tasks.length === 4, 'its unfinished tasks', restored)
  expect(restored.restored_session.filename === restored.session.filename, 'its session', restored)
  expect(restored.missing_instances.length === 0, 'nobody missing', restored.missing_instances)
}

async function operates(api: Api): Promise<void> {
  const stats = dataOf(await api.GET('/api/v1/translation/stats'))
  expect(stats.sessions.total >= 0 && stats.performance.success_rate >= 0, 'statistics', stats)
  const health = dataOf(await api.GET('/health'))
  expect(
    health.buffer.conservation.every(({ balanced }) => balanced),
    'every row accounted for',
    health.buffer,
  )
  const metrics = dataOf(await api.GET('/api/v1/system/metrics', { parseAs: 'text' }))
  expect(metrics.includes('persistence_'), 'metrics', metrics.slice(0, 100))
  const cleanup = dataOf(
    await api.POST('/api/v1/translation/sessions/cleanup', { body: { dry_run: true, completed_days: 90 } }),
  )
  expect(cleanup.dry_run, 'nothing removed', cleanup)
}

/** `error` of any answer tells by its `error_code` what it is. */
async function isToldWhatIsWrong(api: Api): Promise<void> {
  const missing = errorOf(await api.GET('/api/v1/translation/sessions/{session_id}', NOBODY), 404)
  expect(missing.error_code === 'SESSION_NOT_FOUND', 'SESSION_NOT_FOUND', missing)
  expect(missing.session_id === NOBODY.params.path.session_id, 'which session', missing)

  const tasks = [task(0), task(1, { row_index: -1, confidence: 2 })]
  const invalid = errorOf(await api.POST('/api/v1/translation/tasks/batch', { body: { tasks } }), 422)
  expect(invalid.error_code === 'VALIDATION_FAILED', 'VALIDATION_FAILED', invalid)
  const fields = (invalid.errors ?? []).map(({ field, message }) => message && field).sort()
  expect(fields.join() === 'tasks[1].confidence,tasks[1].row_index', 'both fields', invalid)
}

/** What the compiler refuses: never called, and each line an error, or this file does not compile. */
export async function isToldByTheCompiler(api: Api): Promise<void> {
  // @ts-expect-error: no such filter.
  await api.GET('/api/v1/translation/tasks', { params: { query: { colour: 'red' } } })
  // @ts-expect-error: no such status.
  await api.GET('/api/v1/translation/tasks', { params: { query: { status: 'cancelled' } } })
  // @ts-expect-error: the body is required.
  await api.POST('/api/v1/translation/tasks/batch', {})
  // @ts-expect-error: so is the session's id.
  await api.GET('/api/v1/translation/sessions/{session_id}', { params: { path: {} } })
  // @ts-expect-error: so are most fields of a task that is posted.
  await api.POST('/api/v1/translation/tasks/batch', { body: { tasks: [{ task_id: 't', session_id: 's' }] } })
}

async function ends(api: Api): Promise<void> {
  const changed = dataOf(
    await api.PATCH('/api/v1/translation/sessions/{session_id}/status', {
      ...THIS,
      body: { status: 'completed' },
    }),
  )
  expect(changed.status === 'completed', 'completed', changed)
  const deleted = dataOf(await api.DELETE('/api/v1/translation/sessions/{session_id}', THIS))
  expect(deleted.status === 'deleted' && deleted.deleted_tasks === 5, 'deleted', deleted)
  errorOf(await api.GET('/api/v1/translation/sessions/{session_id}', THIS), 404)
}

const api = createApi({ 'X-API-Key': API_KEY })
await isRefusedWithoutKey()
for (const part of [writes, reads, lists, recovers, operates, isToldWhatIsWrong, ends]) await part(api)
console.log('the generated TypeScript client compiled, and did all it was asked')
