/** How many requests a minute: by address, by key or subject, by translation session. */
import { createHash } from 'node:crypto'
import type { Principal } from '../auth/principal.ts'
import { AppError } from '../lib/errors.ts'
import { networkOf } from './client_address.ts'

/** What a request is counted by. */
export type Limit = 'address' | 'key' | 'session'

export interface Requester {
  principal: Principal
  address: string | null
  /** The translation session that is asked for, where that is counted. */
  session: string | null
}

export interface RateLimits {
  enabled: boolean
  /** Counts one request; answers the `RateLimit-*` headers. @throws AppError RATE_LIMITED. */
  take(requester: Requester): Promise<Record<string, string>>
}

/** Counts by key, each in a window of its own that begins with its first request. */
export interface Limiter {
  /** Counts one more. `resetMs` is what is left of the window. */
  take(key: string): Promise<{ allowed: boolean; remaining: number; resetMs: number }>
}

export interface LimiterOptions {
  /** Unique among the limiters that share a store. */
  name: Limit
  /** How many are allowed in a window. */
  points: number
  durationSeconds: number
}

export interface LimitEvents {
  onLimited(limit: Limit): void
}

interface RateLimitsOptions {
  /** How many are allowed in a window. */
  points: Record<Limit, number>
  createLimiter(options: LimiterOptions): Limiter
  events: LimitEvents
}

const WINDOW_SECONDS = 60
/** Longer keys are counted by their hash: a client chooses what it sends, not what is kept of it. */
const MAX_KEY_LENGTH = 128
/** Where a runtime does not tell addresses, all who show no credential are counted as one. */
const NO_ADDRESS = 'unknown'

const WHO: Record<Limit, string> = {
  address: 'requests a minute from this address',
  key: 'requests a minute with this credential',
  session: 'queries a minute of this session',
}

interface Count {
  limit: Limit
  remaining: number
  resetSeconds: number
}

export const noRateLimits: RateLimits = { enabled: false, take: async () => ({}) }

export function createRateLimits({ points, createLimiter, events }: RateLimitsOptions): RateLimits {
  const limiterOf = (name: Limit) =>
    createLimiter({ name, points: points[name], durationSeconds: WINDOW_SECONDS })
  const limiters: Record<Limit, Limiter> = {
    address: limiterOf('address'),
    key: limiterOf('key'),
    session: limiterOf('session'),
  }

  async function count(limit: Limit, key: string, before: readonly Count[] = []): Promise<Count[]> {
    const short = key.length <= MAX_KEY_LENGTH ? key : hashOf(key)
    const { allowed, remaining, resetMs } = await limiters[limit].take(short)
    const counted = { limit, remaining, resetSeconds: Math.max(1, Math.ceil(resetMs / 1000)) }
    const counts = [...before, counted]
    if (allowed) return counts
    events.onLimited(limit)
    throw new AppError('RATE_LIMITED', {
      detail: `More than ${points[limit]} ${WHO[limit]}.`,
      members: { limit },
      headers: headersOf(counted, counts),
      retryAfterSeconds: counted.resetSeconds,
    })
  }

  /** The names are those of the IETF's draft 06: the limit that is nearest, and every policy. */
  function headersOf({ limit, remaining, resetSeconds }: Count, counts: readonly Count[]) {
    return {
      'RateLimit-Limit': String(points[limit]),
      'RateLimit-Remaining': String(remaining),
      'RateLimit-Reset': String(resetSeconds),
      'RateLimit-Policy': counts.map((of) => `${points[of.limit]};w=${WINDOW_SECONDS}`).join(', '),
    }
  }

  return {
    enabled: true,

    async take({ principal, address, session }) {
      const known = principal.kind !== 'anonymous'
      const caller = known ? principal.id : address === null ? NO_ADDRESS : networkOf(address)
      // The caller's comes first: sessions that somebody makes up are paid for.
      let counts = await count(known ? 'key' : 'address', caller)
      if (session !== null) counts = await count('session', JSON.stringify([caller, session]), counts)
      return headersOf(tightest(counts), counts)
    },
  }
}

/** The limit that is reached first; of two, the one that lasts longer. */
function tightest(counts: readonly Count[]): Count {
  return counts.reduce((one, other) => {
    const difference = one.remaining - other.remaining || other.resetSeconds - one.resetSeconds
    return difference <= 0 ? one : other
  })
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
