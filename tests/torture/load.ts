/** Clients that write, each with keys of its own, and tell the judge before they send and after the answer. */
import type { Judge } from './judge_messages.ts'
import type { Outcome } from './ledger.ts'
import type { Random } from './random.ts'
import { type CollectionName, sparseFields, type WrittenItem, wholeFields } from './records.ts'

/** Where a client writes to. */
export interface Target {
  name: string
  /** Null while nobody is there. */
  url(): string | null
}

export interface Load {
  /** Everybody writes until `stop` is called, which waits for the answers under way. */
  start(): { stop(): Promise<void> }
  /** Keys that were sent so far. */
  keys(): readonly WrittenItem['key'][]
  sessionIds(): readonly string[]
}

interface LoadOptions {
  judge: Judge
  random: Random
  targets: readonly Target[]
  clientsPerTarget?: number
  /** Items of the largest request. */
  maxItems?: number
  /** Each client's pause after a request, for a load that lasts. */
  pauseMs?: number
}

/** What these say is that nothing of the request was taken. */
const REFUSALS = ['BUFFER_FULL', 'NOT_READY', 'SHUTTING_DOWN']
/** Few, so that their rows are written again and again. */
const SHARED_SESSIONS = ['torture-0', 'torture-1', 'torture 二🐉']
const KEYS_AT_FIRST = 20
const KEYS_AT_MOST = 120
const WRITES_PER_NEW_KEY = 8
const REQUEST_TIMEOUT_MS = 30_000
const NOBODY_THERE_MS = 5
const AFTER_REFUSAL_MS = 20

/** Makes the clients; they go on where they were at each start. */
export function createLoad({
  judge,
  random,
  targets,
  clientsPerTarget = 3,
  maxItems = 30,
  pauseMs = 0,
}: LoadOptions): Load {
  let writes = 0
  let stopped = true
  const keys = new Map<string, string[]>()
  const clients = targets.flatMap((target) =>
    Array.from({ length: clientsPerTarget }, (_, i) =>
      createClient(target, `${target.name}${i}`, random.fork()),
    ),
  )
  // A shared session's own row is one client's.
  for (const [i, id] of SHARED_SESSIONS.entries()) clients[i % clients.length]!.sessions.push(id)

  function createClient(target: Target, name: string, choice: Random) {
    const sessions = [`own-${name}`]
    let ownWrites = 0

    function keyOf(collection: CollectionName): string[] {
      if (collection === 'sessions') return [choice.pick(sessions)]
      const newest = Math.min(KEYS_AT_MOST, KEYS_AT_FIRST + Math.floor(ownWrites / WRITES_PER_NEW_KEY))
      return [choice.pick(SHARED_SESSIONS), `${name}-${choice.int(0, newest)}`]
    }

    function compose(write: number): { method: string; collection: CollectionName; items: WrittenItem[] } {
      const collection: CollectionName = choice.chance(0.15) ? 'sessions' : 'tasks'
      const method = choice.chance(0.5) ? 'POST' : 'PATCH'
      const count = choice.int(1, choice.chance(0.3) ? maxItems : 3)
      const mark = { client: name, write, random: choice }
      const items = Array.from({ length: count }, () => ({
        collection,
        key: keyOf(collection),
        fields: method === 'POST' ? wholeFields(collection, mark) : sparseFields(collection, mark),
      }))
      return { method, collection, items }
    }

    async function writeOnce(url: string): Promise<void> {
      const write = ++writes
      ownWrites++
      const { method, collection, items } = compose(write)
      for (const { key } of items) keys.set(key.join('\n'), key)
      judge.intend(write, target.name, items)
      const outcome = await send(url, method, collection, items)
      judge.conclude(write, outcome)
      if (outcome !== 'acknowledged') await Bun.sleep(AFTER_REFUSAL_MS)
      else if (pauseMs > 0) await Bun.sleep(pauseMs)
    }

    return {
      sessions,
      async run() {
        while (!stopped) {
          const url = target.url()
          if (url === null) await Bun.sleep(NOBODY_THERE_MS)
          else await writeOnce(url)
        }
      },
    }
  }

  return {
    start() {
      stopped = false
      const running = Promise.all(clients.map((client) => client.run()))
      running.catch(() => undefined) // `stop` tells of it
      return {
        async stop() {
          stopped = true
          await running
        },
      }
    },
    keys: () => [...keys.values()],
    sessionIds: () => [...SHARED_SESSIONS, ...clients.flatMap(({ sessions }) => sessions[0]!)],
  }
}

async function send(
  url: string,
  method: string,
  collection: CollectionName,
  items: readonly WrittenItem[],
): Promise<Outcome> {
  let response: Response
  let text: string
  try {
    response = await fetch(new URL(`/api/v1/translation/${collection}/batch`, url), {
      method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ [collection]: items.map(itemOf) }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    })
    text = await response.text()
  } catch {
    return 'unknown' // cut, or nobody there: whatever became of it
  }
  if (response.status === 202) return 'acknowledged'
  if (response.status < 500) throw new Error(`a write was answered ${response.status}: ${text}`)
  return REFUSALS.some((code) => text.includes(`"${code}"`)) ? 'refused' : 'unknown'
}

function itemOf({ key: [session_id, task_id], fields }: WrittenItem) {
  return { session_id, ...(task_id !== undefined && { task_id }), ...fields }
}
