/** The queries that are measured: paths of the API, several of each kind so that no row is always hot. */
import { encodeCursor } from '../src/lib/cursor.ts'
import { openDirect } from './direct.ts'
import type { SeededSession } from './seed.ts'
import type { BenchStore } from './store.ts'

export interface QueryKind {
  name: string
  paths: string[]
  /** Also measured with many connections. */
  underLoad: boolean
}

const BASE = '/api/v1/translation'
const VARIANTS = 20
const DEEP_PAGE = 10_000
const MAX_PAGE_ROWS = 20

/** The kinds of queries over what was seeded. */
export async function queryKinds(
  store: BenchStore,
  sessions: readonly SeededSession[],
  rows: number,
): Promise<QueryKind[]> {
  const step = Math.max(1, Math.floor(sessions.length / VARIANTS))
  const some = sessions.filter((_, n) => n % step === 0).slice(0, VARIANTS)
  // Page 10,000 lies within the rows that there are.
  const pageRows = Math.max(1, Math.min(MAX_PAGE_ROWS, Math.floor(rows / DEEP_PAGE / 2)))
  const pages = (page: number) => cursorPaths(store, page, pageRows)
  const kind = (name: string, paths: string[], underLoad = false): QueryKind => ({ name, paths, underLoad })
  return [
    kind('sessions, page 1', [`${BASE}/sessions?page=1&page_size=20&sort_by=created_at&order=desc`], true),
    kind(
      'a session',
      some.map(({ sessionId }) => `${BASE}/sessions/${sessionId}`),
      true,
    ),
    kind(
      "a session's tasks, page 1",
      some.map(({ sessionId }) => `${BASE}/sessions/${sessionId}/tasks?page=1&page_size=20`),
    ),
    kind(
      'a task of a session',
      some.map(({ sessionId, tasks }, n) => {
        const id = `task_${String((n * 47) % tasks).padStart(8, '0')}`
        return `${BASE}/tasks/${id}?session_id=${sessionId}`
      }),
      true,
    ),
    kind('tasks, page 1', [`${BASE}/tasks?page=1&page_size=20`], true),
    kind('pending tasks, page 1', [`${BASE}/tasks?status=pending&page=1&page_size=20`]),
    kind('tasks by cursor, page 2', await pages(2)),
    kind('tasks by cursor, page 10,000', await pages(DEEP_PAGE)),
  ]
}

/** Cursors that lead to a page and to its neighbours, as `next_cursor` of the pages before would. */
async function cursorPaths(store: BenchStore, page: number, pageRows: number): Promise<string[]> {
  const direct = await openDirect({ url: store.url ?? store.file!, poolSize: 1 })
  try {
    const found = await direct.run({
      sql: `SELECT created_at, session_id, task_id FROM translation_tasks ORDER BY created_at DESC, session_id DESC, task_id DESC LIMIT ${VARIANTS} OFFSET ${(page - 1) * pageRows - 1}`,
      values: [],
    })
    return rowsOf(found).map(([createdAt, sessionId, taskId]) => {
      const cursor = encodeCursor({
        sort: 'translation_tasks.created_at.desc',
        values: [page, timeOf(createdAt), String(sessionId), String(taskId)],
      })
      return `${BASE}/tasks?page_size=${pageRows}&cursor=${cursor}`
    })
  } finally {
    await direct.close()
  }
}

/** mysql2 answers `[rows, fields]` with objects, bun:sqlite arrays. */
function rowsOf(found: unknown): unknown[][] {
  const [first] = found as unknown[][]
  const rows = Array.isArray(first) && typeof first[0] === 'object' ? first : (found as unknown[])
  return rows.map((row) => (Array.isArray(row) ? row : Object.values(row as object)))
}

function timeOf(raw: unknown): number {
  return typeof raw === 'number' ? raw : Date.parse(`${String(raw).replace(' ', 'T')}Z`)
}
