/** Reads everything back through the API, as any client would. */
import { type Api, api } from '../support/http.ts'
import { until } from '../support/waiting.ts'
import type { Fault } from './ledger.ts'
import { type CollectionName, FIELDS, type ReadRow } from './records.ts'

const BASE = '/api/v1/translation'
const FLUSHED_WITHIN_MS = 30_000
const PAGE_SIZE = 100

type Item = Record<string, unknown>
interface Page {
  items: Item[]
  next_cursor: string | null
  total: number
}

/** Stores what an instance holds; tries again while it answers that it can't yet. */
export async function flushAll(url: string): Promise<void> {
  let last = ''
  await until(
    async () => {
      const { status, text } = await api(url).post(`${BASE}/flush`)
      last = `${status} ${text}`
      return status === 200
    },
    { timeoutMs: FLUSHED_WITHIN_MS, message: () => `a flush of everything: ${last}` },
  )
}

/** Every stored session and task, and what the lists say that can't be. */
export async function readEverything(
  url: string,
  sessionIds: readonly string[],
): Promise<{ rows: ReadRow[]; faults: Fault[] }> {
  const http = api(url)
  const rows: ReadRow[] = []
  const faults: Fault[] = []
  const count = (where: string, { total, items }: { total: number; items: Item[] }) => {
    if (total !== items.length)
      faults.push({ kind: 'miscounted', where, detail: `total is ${total}, its pages hold ${items.length}` })
  }

  const sessions = await pages(http, `${BASE}/sessions`)
  count('sessions', sessions)
  for (const { session_id } of sessions.items) {
    const { status, body, text } = await http.get<Item>(
      `${BASE}/sessions/${encodeURIComponent(String(session_id))}`,
    )
    if (status !== 200) throw new Error(`a listed session answered ${status}: ${text}`)
    rows.push(rowOf('sessions', body))
  }
  let tasks = 0
  for (const id of sessionIds) {
    const path = `${BASE}/sessions/${encodeURIComponent(id)}/tasks`
    const found = await pages(http, path)
    count(`tasks of ${id}`, found)
    rows.push(...found.items.map((item) => rowOf('tasks', item)))
    tasks += found.items.length
  }
  const all = await http.get<Page>(`${BASE}/tasks?page_size=1&count=exact`)
  if (all.body.total !== tasks) {
    const detail = `${all.body.total} in all, but their sessions hold ${tasks}`
    faults.push({ kind: 'miscounted', where: 'tasks', detail })
  }
  return { rows, faults }
}

/** Some rows by their keys, as the instance shows them whether stored or not. */
export async function readSome(url: string, keys: readonly string[][]): Promise<ReadRow[]> {
  const http = api(url)
  const rows: ReadRow[] = []
  for (const [session, task] of keys) {
    const id = encodeURIComponent(session!)
    const path = task === undefined ? `sessions/${id}` : `tasks/${encodeURIComponent(task)}?session_id=${id}`
    // An instance takes writes before it has reached its store again, and can't read until it has.
    const { status, body, text } = await until(
      async () => {
        const answer = await http.get<Item>(`${BASE}/${path}`)
        return answer.status === 503 ? null : answer
      },
      { message: `${path} can be read`, timeoutMs: FLUSHED_WITHIN_MS },
    )
    if (status === 200) rows.push(rowOf(task === undefined ? 'sessions' : 'tasks', body))
    else if (status !== 404) throw new Error(`${path} answered ${status}: ${text}`)
  }
  return rows
}

async function pages(http: Api, path: string): Promise<{ items: Item[]; total: number }> {
  const items: Item[] = []
  let cursor: string | null = ''
  let total = 0
  while (cursor !== null) {
    const query = new URLSearchParams({
      page_size: `${PAGE_SIZE}`,
      count: 'exact',
      ...(cursor && { cursor }),
    })
    const { status, body, text } = await http.get<Page>(`${path}?${query}`)
    if (status === 404) return { items: [], total: 0 } // not a row of it is there
    if (status !== 200) throw new Error(`${path} answered ${status}: ${text}`)
    items.push(...body.items)
    total = body.total
    cursor = body.next_cursor
  }
  return { items, total }
}

function rowOf(collection: CollectionName, item: Item): ReadRow {
  const key = collection === 'sessions' ? [item.session_id] : [item.session_id, item.task_id]
  const fields = Object.fromEntries(Object.keys(FIELDS[collection]).map((name) => [name, item[name]]))
  return { collection, key: key as string[], fields }
}
