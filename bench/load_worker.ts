/** The load generator: a process of its own, so that what it costs is not counted as the server's. */

import { openDirect, type RecordedRequest, replay } from './direct.ts'
import { connectRaw, getRequest } from './raw_http.ts'
import { batchRequest } from './tasks.ts'

/** What to do; a job comes on stdin as JSON, a result goes to stdout as JSON. */
export interface LoadJob {
  target:
    | {
        type: 'batches'
        url: string
        path: string
        tasks: number
        firstSession: number
        headers?: Record<string, string>
      }
    | { type: 'gets'; url: string; paths: readonly string[]; headers?: Record<string, string> }
    | { type: 'statements'; url: string; requests: readonly RecordedRequest[]; poolSize: number }
  connections: number
  /** Not measured: until everything is hot. */
  warmUpMs: number
  durationMs: number
  /** Requests a second at even distances, whatever is answered when; null = each connection as fast as it can. */
  rate: number | null
}

export interface LoadResult {
  /** Answers of each status within the measured time. */
  statuses: Record<string, number>
  /** From the moment a request was due to its answer, within the measured time. */
  latenciesMs: number[]
  measuredMs: number
  /** Requests in all, warm-up included. */
  sent: number
}

/** Sends the next request of one connection and answers its status. */
type Send = () => Promise<number>

const TASKS_PER_SESSION = 1000

async function sendersOf({ target, connections }: LoadJob): Promise<Send[]> {
  if (target.type === 'statements') {
    const direct = await openDirect({ url: target.url, poolSize: target.poolSize })
    let next = 0
    const send = async () => {
      await replay(direct, target.requests[next++ % target.requests.length]!)
      return 200
    }
    return Array.from({ length: connections }, () => send)
  }
  return Promise.all(
    Array.from({ length: connections }, async (_, number) => {
      const connection = await connectRaw(target.url)
      const nextRequest =
        target.type === 'batches' ? batches(target, number) : gets(target, number, connections)
      return async () => (await connection.send(nextRequest())).status
    }),
  )
}

function batches(
  { url, path, tasks, firstSession, headers = {} }: Extract<LoadJob['target'], { type: 'batches' }>,
  connection: number,
): () => Uint8Array {
  const request = batchRequest({ path, host: new URL(url).host, tasks, headers })
  // A million rows a connection before sessions of two connections could meet.
  let session = firstSession + connection * 1000
  let task = 0
  return () => {
    if (task >= TASKS_PER_SESSION) {
      session++
      task = 0
    }
    const bytes = request.next(session, task)
    task += tasks
    return bytes
  }
}

function gets(
  { url, paths, headers = {} }: Extract<LoadJob['target'], { type: 'gets' }>,
  connection: number,
  connections: number,
): () => Uint8Array {
  const requests = paths.map((path) => getRequest(url, path, headers))
  let next = connection
  return () => {
    const bytes = requests[next % requests.length]!
    next += connections
    return bytes
  }
}

async function run(job: LoadJob): Promise<LoadResult> {
  const senders = await sendersOf(job)
  const result: LoadResult = { statuses: {}, latenciesMs: [], measuredMs: job.durationMs, sent: 0 }
  const beginMs = performance.now()
  const fromMs = beginMs + job.warmUpMs
  const untilMs = fromMs + job.durationMs

  async function send(sender: Send, dueMs: number): Promise<void> {
    result.sent++
    const status = await sender()
    const nowMs = performance.now()
    if (nowMs < fromMs || nowMs > untilMs) return
    result.statuses[status] = (result.statuses[status] ?? 0) + 1
    if (status < 300) result.latenciesMs.push(nowMs - dueMs)
  }

  if (job.rate === null) {
    await Promise.all(
      senders.map(async (sender) => {
        for (let now = performance.now(); now < untilMs; now = performance.now()) await send(sender, now)
      }),
    )
  } else {
    await atRate(job.rate, { senders, beginMs, untilMs, send })
  }
  return result
}

/** A request that finds every connection busy waits, and its waiting counts. */
async function atRate(
  rate: number,
  {
    senders,
    beginMs,
    untilMs,
    send,
  }: {
    senders: Send[]
    beginMs: number
    untilMs: number
    send(sender: Send, dueMs: number): Promise<void>
  },
): Promise<void> {
  const idle = [...senders]
  const due: number[] = []
  const running = new Set<Promise<void>>()

  function dispatch(): void {
    while (due.length > 0 && idle.length > 0) {
      const sender = idle.pop()!
      const work = send(sender, due.shift()!).then(() => {
        running.delete(work)
        idle.push(sender)
        dispatch()
      })
      running.add(work)
    }
  }

  for (let number = 0; ; number++) {
    const dueMs = beginMs + (number * 1000) / rate
    if (dueMs >= untilMs) break
    // A timer is a millisecond late or so: the rest is waited for by letting answers in.
    while (performance.now() < dueMs) {
      const leftMs = dueMs - performance.now()
      if (leftMs > 1.5) await Bun.sleep(Math.floor(leftMs - 1))
      else await new Promise((resume) => setImmediate(resume))
    }
    due.push(dueMs)
    dispatch()
  }
  while (running.size > 0 || due.length > 0) await Promise.race(running)
}

if (import.meta.main) {
  const job = (await Bun.stdin.json()) as LoadJob
  const result = await run(job)
  await Bun.write(Bun.stdout, JSON.stringify(result))
  process.exit(0)
}
