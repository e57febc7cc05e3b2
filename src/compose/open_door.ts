/** Puts the door together: who may come in, and how often. */
import { openApiKeys } from '../auth/api_keys.ts'
import { type Authenticator, createAuthenticator, type JwtVerifier } from '../auth/authenticator.ts'
import { apiKeysFile, type Config } from '../config/mod.ts'
import { type AddressOf, createAddressOf } from '../http/client_address.ts'
import type { Door } from '../http/context.ts'
import { createDoor, type DoorEvents } from '../http/door.ts'
import { createRateLimits, type LimitEvents, noRateLimits, type RateLimits } from '../http/rate_limit.ts'
import type { Logger } from '../lib/log.ts'

interface OpenDoorOptions {
  config: Config
  log: Logger
  events: DoorEvents
}

export async function openDoor({
  config,
  log,
  events,
}: OpenDoorOptions): Promise<{ door: Door; authenticator: Authenticator; addressOf: AddressOf }> {
  const apiKeys = await openApiKeys({
    inline: config.auth.api_keys,
    file: apiKeysFile(config),
    nowMs: Date.now,
    log,
  })
  const authenticator = createAuthenticator({ apiKeys, jwt: await openJwt(config, log) })
  const door = createDoor({ authenticator, limits: await openRateLimits(config, events), events })
  return { door, authenticator, addressOf: createAddressOf(config.service.trusted_proxies) }
}

/** The library that counts is loaded where something is counted. */
async function openRateLimits({ rate_limit: limits }: Config, events: LimitEvents): Promise<RateLimits> {
  if (!limits.enabled) return noRateLimits
  const { createMemoryLimiter } = await import('../http/memory_limiter.ts')
  const points = { address: limits.per_address, key: limits.per_key, session: limits.per_session }
  return createRateLimits({ points, createLimiter: createMemoryLimiter, events })
}

/** Null where no tokens are configured: the library that checks them is then not loaded. */
async function openJwt({ auth }: Config, log: Logger): Promise<JwtVerifier | null> {
  const { jwt_secret: secret, jwt_jwks_url: jwksUrl } = auth
  if (secret === null && jwksUrl === null) return null
  const { createJwtVerifier } = await import('../auth/jwt.ts')
  return createJwtVerifier({
    key: secret === null ? { jwksUrl: jwksUrl! } : { secret },
    issuer: auth.jwt_issuer,
    audience: auth.jwt_audience,
    toleranceSeconds: auth.jwt_clock_tolerance,
    log,
  })
}
