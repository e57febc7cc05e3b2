/** From a credential to a principal: API keys, and the tokens of one issuer. */
import { AppError } from '../lib/errors.ts'
import { ANYONE, NOBODY, type Principal } from './principal.ts'

/** What a request shows: the value of `X-API-Key`, or the token of `Authorization: Bearer`. */
export interface Credential {
  kind: 'api_key' | 'bearer'
  value: string
}

/** A way to say who one is, by its name in `WWW-Authenticate` and in the spec. */
export type Scheme = 'ApiKey' | 'Bearer'

/** Why somebody was not let in: for metrics and the log. */
export type Refusal = 'missing' | 'unknown' | 'revoked' | 'expired' | 'invalid' | 'unavailable'

/** Thrown for a credential that is not good. `detail` is for the caller, and holds nothing of the credential. */
export class CredentialError extends AppError {
  readonly refusal: Refusal

  constructor(refusal: Exclude<Refusal, 'unavailable'>, detail: string, cause?: unknown) {
    super('UNAUTHENTICATED', { detail, cause })
    this.refusal = refusal
  }
}

/** Keys that this service has given out. */
export interface ApiKeys {
  /** Whether any key was ever configured; once true, it stays so. */
  configured(): boolean
  /** @throws CredentialError */
  verify(key: string): Principal
  start(): void
  stop(): void
}

/** Tokens that somebody else has signed. */
export interface JwtVerifier {
  /** @throws CredentialError; AppError AUTH_UNAVAILABLE where the issuer's keys can't be had. */
  verify(token: string): Promise<Principal>
  start(): void
  stop(): void
}

export interface Authenticator {
  /** Whether callers must say who they are. */
  required(): boolean
  /** How callers may say it; none = they need not. */
  schemes(): readonly Scheme[]
  /** Who shows `credential` (null = none). @throws as the two above. */
  authenticate(credential: Credential | null): Principal | Promise<Principal>
  start(): void
  stop(): void
}

export function createAuthenticator(options: { apiKeys: ApiKeys; jwt: JwtVerifier | null }): Authenticator {
  const { apiKeys, jwt } = options
  const required = () => jwt !== null || apiKeys.configured()
  return {
    required,
    schemes: () => [
      ...(apiKeys.configured() ? (['ApiKey'] as const) : []),
      ...(jwt ? (['Bearer'] as const) : []),
    ],

    authenticate(credential) {
      if (!required()) return ANYONE
      if (credential === null) return NOBODY
      if (credential.kind === 'api_key') return apiKeys.verify(credential.value)
      if (jwt === null)
        throw new CredentialError('invalid', 'Bearer tokens are not accepted here; API keys are.')
      return jwt.verify(credential.value)
    },

    start() {
      apiKeys.start()
      jwt?.start()
    },

    stop() {
      apiKeys.stop()
      jwt?.stop()
    },
  }
}
