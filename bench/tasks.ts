/** Tasks like those of the API's documents: realistic texts, the same ones in every run. */
import { type Row, rowOf } from '../src/collections/row.ts'
import { makeStamp } from '../src/collections/stamp.ts'
import { translationSessions, translationTasks } from '../src/collections/translation.ts'
import { sessionItem, taskItem } from '../src/translation/schema.ts'
import { headerText } from './raw_http.ts'

/** An item as it travels. */
export type WireItem = Record<string, string | number | null>

const SOURCES = [
  'Hello, adventurer! The road to the northern keep is closed until the snow melts.',
  'You need 3 more potions before the alchemist will speak to you.',
  'Attack the dragon from behind: its scales are thinner there, and it cannot turn quickly.',
  'New game',
  'The merchant shakes his head. “I have seen what becomes of those who cross the marsh at night.”',
  'Save your progress? Unsaved progress will be lost.',
  'Level %d reached — %s has learned a new spell!',
  'Long ago, before the towers fell, this valley was a garden, and the river ran clear through it all year.',
]
const TARGETS = [
  '你好，冒险者！通往北方要塞的道路在积雪融化之前一直关闭。',
  '在炼金术士愿意与你交谈之前，你还需要 3 瓶药水。',
  '从背后攻击巨龙：那里的鳞片更薄，而且它转身很慢。',
  '新游戏',
  '商人摇了摇头。“我见过那些在夜里穿越沼泽的人的下场。”',
  '要保存进度吗？未保存的进度将会丢失。',
  '达到 %d 级——%s 学会了新法术！',
  '很久以前，在高塔倒塌之前，这座山谷曾是一座花园，清澈的河水终年流淌。',
]
const TASKS_PER_BATCH = 100
const TASK_DIGITS = 8

export type TaskState = 'completed' | 'pending'

/** What is different in each task of a session. */
function numbersOf(sessionId: string, n: number) {
  return {
    task_id: `task_${String(n).padStart(TASK_DIGITS, '0')}`,
    session_id: sessionId,
    batch_id: `batch_${String(Math.floor(n / TASKS_PER_BATCH)).padStart(4, '0')}`,
    row_index: n,
  }
}

/** Task number `n` of a session: finished as in the documents' example, or still to be done. */
export function wireTask(sessionId: string, n: number, state: TaskState = 'completed'): WireItem {
  const text = n % SOURCES.length
  const common = {
    ...numbersOf(sessionId, n),
    sheet_name: 'Dialogue',
    column_name: 'Text',
    source_text: SOURCES[text]!,
    context: 'NPC greeting dialogue',
    status: state,
    retry_count: 0,
  }
  if (state === 'pending') return common
  return {
    ...common,
    target_text: TARGETS[text]!,
    confidence: 0.95,
    error_message: null,
    start_time: '2025-09-30T10:10:00Z',
    end_time: '2025-09-30T10:10:05Z',
    duration_ms: 5000,
  }
}

/** A session as it travels. */
export function wireSession(sessionId: string, totalTasks: number): Record<string, unknown> {
  return {
    session_id: sessionId,
    filename: 'game_translation.xlsx',
    file_path: '/uploads/game_translation.xlsx',
    status: 'processing',
    game_info: { game_name: 'Fantasy RPG', source_language: 'en', target_language: 'zh', game_type: 'RPG' },
    llm_provider: 'openai',
    metadata: { user_id: 'user_123', project_id: 'proj_456' },
    total_tasks: totalTasks,
    completed_tasks: 0,
    failed_tasks: 0,
    processing_tasks: 0,
  }
}

/** The same random-looking UUID for the same number. */
export function sessionIdOf(n: number): string {
  const hex = new Bun.CryptoHasher('md5').update(`session ${n}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** Validated once a text and state: what the service makes of an item but for its numbers. */
const validated = new Map<string, Readonly<Record<string, string | number | null | undefined>>>()

/** Task number `n` of a session as the service stores it when it was accepted at that time. */
export function taskRow(
  { sessionId, n, state }: { sessionId: string; n: number; state: TaskState },
  acceptedAtMs: number,
): Row {
  const name = `${n % SOURCES.length} ${state}`
  let common = validated.get(name)
  if (!common) {
    common = taskItem.parse(wireTask(sessionId, n, state))
    validated.set(name, common)
  }
  const record = { ...common, ...numbersOf(sessionId, n) }
  return rowOf(translationTasks, record, makeStamp(acceptedAtMs, 0, 1))
}

/** A session as the service stores it. */
export function sessionRow(sessionId: string, totalTasks: number, acceptedAtMs: number): Row {
  const item = sessionItem.parse(wireSession(sessionId, totalTasks))
  return rowOf(translationSessions, item, makeStamp(acceptedAtMs, 0, 1))
}

const SESSION_MARK = '00000000-0000-4000-8000-000000000000'

export interface BatchRequest {
  /** The whole request, headers and all; changed in place by the next call. */
  next(sessionNumber: number, firstTask: number): Uint8Array
}

/** A request of `POST path` with `tasks` tasks, whose ids alone change: sending costs little then. */
export function batchRequest({
  path,
  host,
  tasks,
  headers = {},
}: {
  path: string
  host: string
  tasks: number
  headers?: Record<string, string>
}): BatchRequest {
  const items = Array.from({ length: tasks }, (_, n) => wireTask(SESSION_MARK, n))
  const body = Buffer.from(JSON.stringify({ tasks: items }))
  const lines = {
    Host: host,
    'Content-Type': 'application/json',
    'Content-Length': body.length,
    ...headers,
  }
  const head = `POST ${path} HTTP/1.1\r\n${headerText(lines)}\r\n`
  const bytes = Buffer.concat([Buffer.from(head), body])
  const sessions = positionsOf(bytes, SESSION_MARK)
  const ids = positionsOf(bytes, '"task_id":"task_').map((at) => at + '"task_id":"task_'.length)
  return {
    next(sessionNumber, firstTask) {
      const session = sessionNumber.toString(16).padStart(12, '0')
      for (const at of sessions) bytes.write(session, at + SESSION_MARK.length - session.length, 'latin1')
      for (const [i, at] of ids.entries())
        bytes.write(String(firstTask + i).padStart(TASK_DIGITS, '0'), at, 'latin1')
      return bytes
    },
  }
}

function positionsOf(bytes: Buffer, text: string): number[] {
  const found: number[] = []
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1)) found.push(at)
  return found
}
