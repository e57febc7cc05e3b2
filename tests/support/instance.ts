/** One running instance as its clients and its operators see it. */
import type { JournalCounts } from '../../src/buffer/journal.ts'
import { type Answer, type Api, api } from './http.ts'
import type { LogLine, Service } from './service.ts'
import type { Item } from './translation_items.ts'
import { until } from './waiting.ts'

/** The parts of /health that tests look at. */
export interface Health {
  status: 'healthy' | 'degraded'
  database: 'healthy' | 'unhealthy'
  buffer: { total_count: number; tasks_count: number; sessions_count: number; conservation: Conservation[] }
  backends: { name: string; status: string }[]
  instance_id: string
}

/** Where the rows of a collection went. */
export interface Conservation extends JournalCounts {
  collection: string
  buffered: number
  in_flight: number
  balanced: boolean
}

/** What tests do with an instance. */
export interface Instance {
  http: Api
  sessions(items: Item[]): Promise<Answer<Item>>
  tasks(items: Item[]): Promise<Answer<Item>>
  patchSessions(items: Item[]): Promise<Answer<Item>>
  patchTasks(items: Item[]): Promise<Answer<Item>>
  flush(): Promise<Answer<Item>>
  session(sessionId: string): Promise<Answer<Item>>
  task(sessionId: string, taskId: string): Promise<Answer<Item>>
  /** Every task of a session through the list, page by page, in the order of their ids. */
  allTasks(sessionId: string): Promise<Item[]>
  health(): Promise<Health>
  ready(): Promise<number>
  /** Waits for a line of the log. */
  logged(message: string, timeoutMs?: number): Promise<LogLine>
  /** Where the rows of the tasks went. Throws when the figures don't add up. */
  balance(): Promise<Conservation>
}

const BASE = '/api/v1/translation'

/** Drives a service that was started. */
export function instance(service: Service): Instance {
  const http = api(service.url)
  const health = async () => (await http.get<Health>('/health')).body
  return {
    http,
    sessions: (items) => http.post(`${BASE}/sessions/batch`, { sessions: items }),
    tasks: (items) => http.post(`${BASE}/tasks/batch`, { tasks: items }),
    patchSessions: (items) => http.patch(`${BASE}/sessions/batch`, { sessions: items }),
    patchTasks: (items) => http.patch(`${BASE}/tasks/batch`, { tasks: items }),
    flush: () => http.post(`${BASE}/flush`),
    session: (sessionId) => http.get(`${BASE}/sessions/${encodeURIComponent(sessionId)}`),
    task: (sessionId, taskId) =>
      http.get(`${BASE}/tasks/${encodeURIComponent(taskId)}?session_id=${encodeURIComponent(sessionId)}`),

    async allTasks(sessionId) {
      const items: Item[] = []
      let cursor: unknown = ''
      while (cursor !== null) {
        const query = new URLSearchParams({ page_size: '100', ...(cursor ? { cursor: String(cursor) } : {}) })
        const page = await http.get<{ items: Item[]; next_cursor: string | null }>(
          `${BASE}/sessions/${encodeURIComponent(sessionId)}/tasks?${query}`,
        )
        if (page.status !== 200) throw new Error(`a page of tasks answered ${page.status}: ${page.text}`)
        items.push(...page.body.items)
        cursor = page.body.next_cursor
      }
      return items.sort((a, b) => (String(a.task_id) < String(b.task_id) ? -1 : 1))
    },

    health,
    ready: async () => (await http.get('/health/ready')).status,

    logged: (message, timeoutMs = 10_000) =>
      until(() => service.logs.find((line) => line.message === message), {
        timeoutMs,
        message: () => `a log line "${message}"\n${service.output()}`,
      }),

    async balance() {
      const { conservation } = (await health()).buffer
      const unbalanced = conservation.filter((figures) => {
        const { stored, merged, voided, dead_lettered, transferred_out, lost, buffered, in_flight } = figures
        const gone = stored + merged + voided + dead_lettered + transferred_out + lost
        const come = figures.accepted + figures.transferred_in
        return !figures.balanced || come !== gone + buffered + in_flight
      })
      if (unbalanced.length > 0) throw new Error(`rows are unaccounted for: ${JSON.stringify(unbalanced)}`)
      return conservation.find(({ collection }) => collection === 'translation_tasks')!
    },
  }
}
