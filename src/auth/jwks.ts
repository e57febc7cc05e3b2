/**
 * The keys of a token issuer, kept here and renewed in the background, so that no request waits for keys that
 * are merely old. Which key fits a token is jose's to say; when they are fetched is not: jose's
 * `createRemoteJWKSet` asks again for each request while the issuer fails, and takes an answer of any size.
 */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey, type LocalJWKSet } from 'jose'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { createBackoff, withDeadline } from '../lib/retry.ts'

/** What tokens are signed with. */
export interface TokenKeys {
  /** The signatures that count, whatever a token says of itself. */
  algorithms: string[]
  /** The key for a token. @throws what jose throws; AppError AUTH_UNAVAILABLE where it can't be known. */
  find: JWTVerifyGetKey
  start(): void
  stop(): void
}

interface IssuerKeysOptions {
  url: URL
  log: Logger
  monotonicMs(): number
  /** Default: the runtime's. */
  fetch?: (url: URL, init: RequestInit) => Promise<Response>
}

/** A key that the issuer withdraws stops working within this time, as long as the issuer answers. */
const REFRESH_MS = 600_000
/** Anybody can name a key that is not there: that makes this service ask the issuer no more often. */
const COOLDOWN_MS = 30_000
/** From the question to the last byte of the answer. */
const TIMEOUT_MS = 5000
const MAX_BYTES = 2 ** 20
/** Who can keep the issuer from answering must not keep a withdrawn key in use for ever. */
const MAX_AGE_MS = 24 * 3_600_000
const RETRY = { baseMs: 1000, maxMs: 30_000 }

export function createIssuerKeys({
  url,
  log,
  monotonicMs,
  fetch = globalThis.fetch,
}: IssuerKeysOptions): TokenKeys {
  const backoff = createBackoff(RETRY)
  const shownUrl = url.origin + url.pathname // what follows may be secret
  let keys: LocalJWKSet | null = null
  let fetchedAtMs = 0
  let loading: Promise<void> | null = null
  /** The last attempt failed: only the timer makes another, and no request waits for it. */
  let failing = false
  let timer: ReturnType<typeof setTimeout> | null = null
  let nextAtMs = 0
  /** When a token last made this service ask. */
  let askedAtMs = Number.NEGATIVE_INFINITY
  let download: AbortController | null = null
  let stopped = false

  /** One attempt, shared by all who want one meanwhile. Never rejects: `keys` and `failing` tell how it went. */
  function load(): Promise<void> {
    loading ??= attempt().finally(() => {
      loading = null
    })
    return loading
  }

  async function attempt(): Promise<void> {
    try {
      const set = await fetchKeySet()
      keys = createLocalJWKSet(set)
      fetchedAtMs = monotonicMs()
      tellOfSuccess(set)
      failing = false
      backoff.reset()
      plan(REFRESH_MS)
    } catch (error) {
      failing = true
      if (stopped) return
      tellOfFailure(error)
      plan(backoff.nextMs())
    }
  }

  function plan(waitMs: number): void {
    if (stopped) return
    if (timer) clearTimeout(timer)
    nextAtMs = monotonicMs() + waitMs
    timer = setTimeout(load, waitMs)
    timer.unref()
  }

  function tellOfSuccess(set: JSONWebKeySet): void {
    const meta = { url: shownUrl, keys: set.keys.length }
    if (failing) log.info('keys of the token issuer are there again', { meta })
    if (set.keys.length === 0) log.warn('the token issuer has no keys: no token is accepted', { meta })
  }

  function tellOfFailure(error: unknown): void {
    const meta = { url: shownUrl, error: messageOf(error) }
    if (keys === null) log.error('keys of the token issuer not to be had: no token can be checked', { meta })
    else log.warn('keys of the token issuer not renewed: those of before stay in use', { meta })
  }

  async function fetchKeySet(): Promise<JSONWebKeySet> {
    download = new AbortController()
    const { signal } = download
    const late = () => new TypeError(`no whole answer within ${TIMEOUT_MS} ms`)
    try {
      return await withDeadline(readKeySet(signal), TIMEOUT_MS, late)
    } finally {
      download.abort() // what is left of an answer that is not wanted
    }
  }

  async function readKeySet(signal: AbortSignal): Promise<JSONWebKeySet> {
    const headers = { accept: 'application/jwk-set+json, application/json' }
    const response = await fetch(url, { headers, signal, redirect: 'manual' })
    if (response.status !== 200) throw new TypeError(`the answer has the status ${response.status}`)
    return JSON.parse(await limitedText(response))
  }

  /** A token names a key that is not here: the issuer may have a new one. */
  async function lookAgain(): Promise<void> {
    if (!failing) {
      if (loading === null) {
        if (monotonicMs() - askedAtMs < COOLDOWN_MS) return
        askedAtMs = monotonicMs()
      }
      await load()
    }
    // The token may be good: a 401 would make an honest client throw it away.
    if (failing) throw unavailable()
  }

  function unavailable(): AppError {
    return new AppError('AUTH_UNAVAILABLE', {
      detail: "The token issuer's keys can not be had at the moment.",
      retryAfterSeconds: (nextAtMs - monotonicMs()) / 1000,
    })
  }

  return {
    algorithms: ['RS256', 'ES256', 'EdDSA'],

    async find(header, token) {
      if (keys === null && !failing) await load()
      if (keys === null || monotonicMs() - fetchedAtMs > MAX_AGE_MS) throw unavailable()
      try {
        return await keys(header, token)
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
      }
      await lookAgain()
      return keys(header, token)
    },

    start() {
      if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
        log.warn('keys of the token issuer come over plain http: who is between can make tokens', {
          meta: { url: shownUrl },
        })
      }
      void load()
    },

    stop() {
      stopped = true
      if (timer) clearTimeout(timer)
      download?.abort()
    },
  }
}

async function limitedText({ body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength
    if (bytes > MAX_BYTES) throw new TypeError(`the answer is larger than ${MAX_BYTES} bytes`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

function isLoopback(hostname: string): boolean {
  return /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
}
