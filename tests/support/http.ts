/** A small JSON client for tests: every answer comes back whole, whatever its status. */

const REQUEST_TIMEOUT_MS = 30_000

export interface Answer<T> {
  status: number
  headers: Headers
  /** The parsed body where the answer is JSON (`application/json`, `application/problem+json`), else undefined. */
  body: T
  text: string
}

type Json = Record<string, unknown>
type Extra = Record<string, string>

/**
 * Calls below a base URL. A body that is text or bytes goes out as it is, anything else as JSON;
 * `headers` win over the content type that follows from the body.
 */
export function api(baseUrl: string) {
  async function call<T>(method: string, path: string, body?: unknown, headers?: Extra): Promise<Answer<T>> {
    const raw = body === undefined || typeof body === 'string' || body instanceof Uint8Array
    const response = await fetch(new URL(path, baseUrl), {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      redirect: 'manual',
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      ...(body === undefined ? {} : { body: raw ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = /^application\/([\w.-]+\+)?json\b/.test(response.headers.get('content-type') ?? '')
    const parsed = isJson && text !== '' ? JSON.parse(text) : undefined
    return { status: response.status, headers: response.headers, body: parsed as T, text }
  }
  return {
    get: <T = Json>(path: string, headers?: Extra) => call<T>('GET', path, undefined, headers),
    post: <T = Json>(path: string, body?: unknown, headers?: Extra) => call<T>('POST', path, body, headers),
    put: <T = Json>(path: string, body?: unknown, headers?: Extra) => call<T>('PUT', path, body, headers),
    patch: <T = Json>(path: string, body?: unknown, headers?: Extra) => call<T>('PATCH', path, body, headers),
    delete: <T = Json>(path: string, body?: unknown, headers?: Extra) =>
      call<T>('DELETE', path, body, headers),
    /** Any other method. */
    request: <T = Json>(method: string, path: string, body?: unknown, headers?: Extra) =>
      call<T>(method, path, body, headers),
  }
}

/** What `api` returns. */
export type Api = ReturnType<typeof api>
