/** Who may come in: a route's declared access, held against the request. */
import type { Context } from 'hono'
import { type Authenticator, CredentialError, type Refusal, type Scheme } from '../auth/authenticator.ts'
import { ANYONE, NOBODY, type Principal } from '../auth/principal.ts'
import { AppError } from '../lib/errors.ts'
import type { Access, Door, RequestEnv } from './context.ts'
import { readCredential } from './credential.ts'
import type { LimitEvents, RateLimits } from './rate_limit.ts'

export interface DoorEvents extends LimitEvents {
  onRefused(reason: Refusal | 'scope'): void
}

interface DoorOptions {
  authenticator: Authenticator
  limits: RateLimits
  events: DoorEvents
}

const REALM = 'realm="persistence-service"'
const WAYS: Record<Scheme, string> = {
  ApiKey: 'an API key in X-API-Key',
  Bearer: 'a token in Authorization: Bearer',
}

export function createDoor({ authenticator, limits, events }: DoorOptions): Door {
  /** A credential that is not good costs its sender what a request without one costs. */
  async function refuse(c: Context<RequestEnv>, refusal: Refusal, error: AppError): Promise<never> {
    events.onRefused(refusal)
    await take(c, NOBODY, null)
    if (refusal !== 'unavailable') {
      c.header('WWW-Authenticate', challengeOf(authenticator.schemes(), refusal))
    }
    throw error
  }

  async function reject(c: Context<RequestEnv>, error: unknown): Promise<never> {
    if (error instanceof CredentialError) return refuse(c, error.refusal, error)
    if (error instanceof AppError && error.code === 'AUTH_UNAVAILABLE') return refuse(c, 'unavailable', error)
    // One that can't be read is paid for as well.
    await take(c, NOBODY, null)
    throw error
  }

  /** Counted like any other request, or guessing would be free. */
  async function forbid(c: Context<RequestEnv>, principal: Principal, access: Access): Promise<never> {
    const { scope } = access
    events.onRefused('scope')
    await count(c, principal, access)
    if (principal.kind === 'jwt') {
      c.header('WWW-Authenticate', `Bearer ${REALM}, error="insufficient_scope", scope="${scope}"`)
    }
    throw new AppError('FORBIDDEN', { detail: `This needs the scope ${scope}.`, members: { scope } })
  }

  /** Who it is where nobody has to say it: a credential that is not good is none. */
  async function identify(c: Context<RequestEnv>): Promise<Principal> {
    try {
      return await authenticator.authenticate(readCredential(c.req))
    } catch (error) {
      if (error instanceof AppError) return NOBODY
      throw error
    }
  }

  // Not async: with an API key and nothing to count, a request comes in without a turn of the event loop.
  function enter(c: Context<RequestEnv>, principal: Principal, access: Access): Promise<void> | void {
    c.set('principal', principal)
    if (access.scope !== 'open') {
      if (principal === NOBODY) {
        const detail = `Send ${authenticator
          .schemes()
          .map((scheme) => WAYS[scheme])
          .join(', or ')}.`
        return refuse(c, 'missing', new AppError('UNAUTHENTICATED', { detail }))
      }
      if (!principal.scopes.has(access.scope)) return forbid(c, principal, access)
    }
    if (access.limit === 'none' || !limits.enabled) return
    return count(c, principal, access)
  }

  async function count(c: Context<RequestEnv>, principal: Principal, { limit }: Access): Promise<void> {
    const session =
      limit === 'session' ? (c.req.param('session_id') ?? c.req.query('session_id') ?? null) : null
    await take(c, principal, session)
  }

  async function take(c: Context<RequestEnv>, principal: Principal, session: string | null): Promise<void> {
    const headers = await limits.take({ principal, address: c.get('address'), session })
    for (const [name, value] of Object.entries(headers)) c.header(name, value)
  }

  return {
    schemes: authenticator.schemes,

    admit(c, access) {
      if (!authenticator.required()) return enter(c, ANYONE, access)
      if (access.scope === 'open') {
        if (!limits.enabled || access.limit === 'none') return enter(c, NOBODY, access)
        return identify(c).then((known) => enter(c, known, access))
      }
      let principal: Principal | Promise<Principal>
      try {
        principal = authenticator.authenticate(readCredential(c.req))
      } catch (error) {
        return reject(c, error)
      }
      if (!(principal instanceof Promise)) return enter(c, principal, access)
      return principal.then(
        (known) => enter(c, known, access),
        (error) => reject(c, error),
      )
    },
  }
}

/** RFC 9110 wants every way in named; RFC 6750 whether it was the token. */
function challengeOf(schemes: readonly Scheme[], refusal: Refusal): string {
  const ways = schemes.map((scheme) => {
    const error = scheme === 'Bearer' && refusal !== 'missing' ? ', error="invalid_token"' : ''
    return `${scheme} ${REALM}${error}`
  })
  return ways.join(', ')
}
