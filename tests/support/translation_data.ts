/** What API tests send and look at: fresh ids, calls by name, texts that are hard to keep, printed shapes. */
import type { Answer, Api } from './http.ts'
import type { Item } from './translation_items.ts'

export { type Item, sessionItem, taskItem, taskItems } from './translation_items.ts'

export const BASE = '/api/v1/translation'

let made = 0

/** An id that no other test of this process has; short enough for a session. */
export function freshId(prefix = 's'): string {
  return `${prefix}-${process.pid}-${++made}`
}

/** A problem document's members that tests look at. */
export interface Problem extends Item {
  status: number
  detail: string
  error_code: string
  errors?: { field: string; message: string }[]
}

/** A page of a list. */
export interface Page extends Item {
  total: number
  total_exact: boolean
  page: number
  page_size: number
  total_pages: number
  items: Item[]
  next_cursor: string | null
}

type Query = Record<string, string | number>

/** The path of a session, or of what is below it. */
export function sessionPath(sessionId: string, below = ''): string {
  return `${BASE}/sessions/${encodeURIComponent(sessionId)}${below}`
}

function queryText(query: Query): string {
  const text = new URLSearchParams(
    Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]),
  )
  return text.size === 0 ? '' : `?${text}`
}

/** The translation endpoints by name. `on` is asked for its client at each call. */
export function translation(on: { readonly http: Api }) {
  const write =
    (method: 'POST' | 'PATCH', kind: 'sessions' | 'tasks') =>
    (items: unknown, query: Query = {}) =>
      on.http.request<Item & Partial<Problem>>(method, `${BASE}/${kind}/batch${queryText(query)}`, {
        [kind]: items,
      })
  const calls = {
    postSessions: write('POST', 'sessions'),
    postTasks: write('POST', 'tasks'),
    patchSessions: write('PATCH', 'sessions'),
    patchTasks: write('PATCH', 'tasks'),
    flush: () => on.http.post<Item & { sessions_written: number; tasks_written: number }>(`${BASE}/flush`),
    session: (sessionId: string) => on.http.get<Item>(sessionPath(sessionId)),
    sessions: (query: Query = {}) =>
      on.http.get<Page & Partial<Problem>>(`${BASE}/sessions${queryText(query)}`),
    tasksOf: (sessionId: string, query: Query = {}) =>
      on.http.get<Page & Partial<Problem>>(sessionPath(sessionId, `/tasks${queryText(query)}`)),
    tasks: (query: Query = {}) => on.http.get<Page & Partial<Problem>>(`${BASE}/tasks${queryText(query)}`),
    task: (taskId: string, query: Query = {}) =>
      on.http.get<Item>(`${BASE}/tasks/${encodeURIComponent(taskId)}${queryText(query)}`),
    restore: (sessionId: string) =>
      on.http.post<Item & { tasks: Item[]; session: Item }>(
        `${BASE}/recovery/restore/${encodeURIComponent(sessionId)}`,
      ),
    incomplete: async () =>
      (await on.http.get<{ sessions: Item[] }>(`${BASE}/recovery/incomplete-sessions`)).body.sessions,
    remove: (sessionId: string) => on.http.delete<Item>(sessionPath(sessionId)),
    /** Writes sessions and tasks and stores them; throws when anything of it is not taken. */
    async store(sessions: readonly Item[], tasks: readonly Item[] = []): Promise<void> {
      const answers: Answer<unknown>[] = []
      for (const part of chunks(sessions)) answers.push(await calls.postSessions(part))
      for (const part of chunks(tasks)) answers.push(await calls.postTasks(part))
      answers.push(await calls.flush())
      const wrong = answers.find(({ status }) => status !== 202 && status !== 200)
      if (wrong) throw new Error(`not stored: ${wrong.status} ${wrong.text}`)
    },
  }
  return calls
}

function* chunks(items: readonly Item[]): Generator<readonly Item[]> {
  for (let at = 0; at < items.length; at += 1000) yield items.slice(at, at + 1000)
}

/** Texts that something on the way to a column might change. */
export const HARD_TEXTS: Readonly<Record<string, string>> = {
  'an empty text': '',
  'white space alone': ' \t ',
  'white space at both ends': '  padded  ',
  'line ends of all kinds': 'a\nb\r\nc\rd\u0085e\u2028f',
  'control characters': 'a\u0001\u001b\u007f\u009fb',
  'a NUL in the middle': 'before\u0000after',
  'a NUL alone': '\u0000',
  'emoji of four bytes': '🐉🔥 a dragon',
  'joined emoji and flags': '👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇳',
  'Chinese beyond the basic plane': '你好，冒险者！𠮷𠀋',
  'Arabic with marks of direction': '\u202bمرحبا\u202c \u200fעברית\u200e',
  'combining marks, not composed': 'e\u0301 n\u0303 한 \u1112\u1161\u11ab',
  'a byte order mark': '\ufeffmarked',
  noncharacters: '\uffff\ufffe\u{10ffff}',
  quotes: `' " \` ''; -- /* */`,
  backslashes: '\\ \\\\ \\n \\0 \\x1a \\u0041',
  'wildcards and placeholders': '% _ ? :name $1 {0} %s %% {{x}}',
  markup: '<script>alert("&amp;")</script>',
}

/**
 * Where `actual` lacks a printed field, or has another type there. A printed null says nothing of the type;
 * a printed list is a sample of each item.
 */
export function shapeFaults(printed: unknown, actual: unknown, path = 'body'): string[] {
  if (printed === null) return actual === undefined ? [`${path} is missing`] : []
  const kind = kindOf(printed)
  if (kindOf(actual) !== kind) return [`${path} is ${kindOf(actual)}, printed as ${kind}`]
  if (Array.isArray(printed)) {
    const items = actual as unknown[]
    if (printed.length === 0) return []
    return items.length === 0
      ? [`${path} is empty`]
      : items.flatMap((item, i) => shapeFaults(printed[0], item, `${path}[${i}]`))
  }
  if (kind !== 'an object') return []
  return Object.entries(printed as Item).flatMap(([name, value]) =>
    shapeFaults(value, (actual as Item)[name], `${path}.${name}`),
  )
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return TIME.test(value) ? 'a time' : 'a text'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
