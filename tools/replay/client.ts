/** Requests to the service: measured, tried again when it asks for patience, fatal otherwise. */
import { ReplayError } from './failure.ts'
import { pause } from './parallel.ts'

type Answer = Record<string, unknown>

/** Both reject with a ReplayError that names the request, or with the reason of `signal`. */
export interface Client {
  post(path: string, body?: unknown): Promise<Answer>
  /** null where the answer is 404. */
  find(path: string): Promise<Answer | null>
  /** Latencies of the requests that were answered well. */
  readonly writesMs: readonly number[]
  readonly readsMs: readonly number[]
  /** Requests sent again after a 503. */
  retries(): number
}

interface ClientOptions {
  url: string
  /** Ends all requests and waits. */
  signal: AbortSignal
  /** Told before a wait for a busy service. */
  onWait: (waitMs: number) => void
  /** For one request, answer included. */
  timeoutMs?: number
  /** How long one request is tried again before the run gives up. */
  patienceMs?: number
}

export function createClient(options: ClientOptions): Client {
  const { url, signal, onWait, timeoutMs = 30_000, patienceMs = 300_000 } = options
  const writesMs: number[] = []
  const readsMs: number[] = []
  let retries = 0

  async function exchange(path: string, init: RequestInit): Promise<{ response: Response; text: string }> {
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
      const response = await fetch(url + path, { ...init, signal: limit })
      return { response, text: await response.text() }
    } catch (error) {
      signal.throwIfAborted()
      const reason = error instanceof Error ? error.message : String(error)
      throw new ReplayError(`${init.method} ${url}${path}: ${reason}`, { cause: error })
    }
  }

  async function request(path: string, init: RequestInit, latenciesMs: number[]): Promise<Answer | null> {
    const begunMs = performance.now()
    for (;;) {
      const sentMs = performance.now()
      const { response, text } = await exchange(path, init)
      const nowMs = performance.now()
      const name = `${init.method} ${path}`
      if (response.ok) {
        latenciesMs.push(nowMs - sentMs)
        return parseAnswer(name, text)
      }
      if (response.status === 404 && init.method === 'GET') return null
      const waitMs =
        response.status === 503 ? retryAfterMs(response.headers.get('Retry-After'), Date.now()) : null
      const failure = `${name}: ${response.status} ${describeProblem(text)}`
      if (waitMs === null) throw new ReplayError(failure)
      if (nowMs + waitMs - begunMs > patienceMs) {
        throw new ReplayError(`${failure} (tried for ${Math.round((nowMs - begunMs) / 1000)} s)`)
      }
      retries++
      onWait(waitMs)
      await pause(waitMs, signal)
    }
  }

  return {
    async post(path, body) {
      const headers = { 'Content-Type': 'application/json' }
      const content = body === undefined ? {} : { headers, body: JSON.stringify(body) }
      return (await request(path, { method: 'POST', ...content }, writesMs))!
    },
    find: (path) => request(path, { method: 'GET' }, readsMs),
    writesMs,
    readsMs,
    retries: () => retries,
  }
}

/** Milliseconds to wait by a Retry-After of seconds or of a date; null where it says neither. */
export function retryAfterMs(header: string | null, nowMs: number): number | null {
  if (header === null) return null
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs)
}

function parseAnswer(name: string, text: string): Answer {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new ReplayError(`${name}: the answer is not JSON: ${excerpt(text)}`, { cause: error })
  }
  if (typeof value === 'object' && value !== null) return value as Answer
  throw new ReplayError(`${name}: the answer is not an object: ${excerpt(text)}`)
}

const SHOWN_FAULTS = 5

/** The detail, the first faults and the ids of a problem; else the start of what was answered. */
function describeProblem(text: string): string {
  let problem: Answer
  try {
    problem = parseAnswer('', text)
  } catch {
    return excerpt(text)
  }
  const { detail, errors, missing_instances: missing, request_id: requestId } = problem
  const faults = Array.isArray(errors) ? errors.slice(0, SHOWN_FAULTS) : []
  return [
    typeof detail === 'string' ? detail : excerpt(text),
    ...faults.map((fault: Answer) => `${fault.field}: ${fault.message}`),
    ...(Array.isArray(missing) ? [`missing instances: ${missing.join(', ')}`] : []),
    ...(typeof requestId === 'string' ? [`request ${requestId}`] : []),
  ].join('; ')
}

function excerpt(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
