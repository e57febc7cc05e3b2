/** Tokens that somebody else has signed: JSON Web Tokens, and what their claims say of who comes. */
import { errors, type JWTPayload, type JWTVerifyOptions, type JWTVerifyResult, jwtVerify } from 'jose'
import { type Clock, systemClock } from '../lib/clock.ts'
import { AppError, messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import type { Secret } from '../lib/secret.ts'
import { textFault } from '../lib/text.ts'
import { CredentialError, type JwtVerifier } from './authenticator.ts'
import { createIssuerKeys, type TokenKeys } from './jwks.ts'
import { type Principal, parseScopes } from './principal.ts'

interface JwtOptions {
  /** The secret of HS256, or where the issuer's public keys are: which of the two is not the token's choice. */
  key: { secret: Secret } | { jwksUrl: string }
  /** What the claim `iss` must be; null = anything. */
  issuer: string | null
  /** What the claim `aud` must hold; null = anything. */
  audience: string | null
  /** How far the issuer's clock may be off. */
  toleranceSeconds: number
  log: Logger
  clock?: Clock & { monotonicMs(): number }
}

/** A header holds little more than that. */
const MAX_TOKEN_LENGTH = 8192
/** Without the padding, and other forms, that jose would let pass. */
const SIGNED_TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/
const MAX_SUBJECT_CHARACTERS = 255
const CONTROL = /\p{Cc}/u
/** The header `typ`, where there is one: what is signed for another purpose lets nobody in. */
const TOKEN_TYPE = /^(application\/)?(at\+)?jwt$/i

export function createJwtVerifier(options: JwtOptions): JwtVerifier {
  const { key, issuer, audience, toleranceSeconds, log, clock = systemClock } = options
  const keys =
    'secret' in key
      ? secretKeys(key.secret)
      : createIssuerKeys({ url: new URL(key.jwksUrl), log, monotonicMs: clock.monotonicMs })
  const rules: JWTVerifyOptions = {
    algorithms: keys.algorithms,
    requiredClaims: ['exp', 'sub'],
    clockTolerance: toleranceSeconds,
    ...(issuer !== null && { issuer }),
    ...(audience !== null && { audience }),
  }

  async function check(token: string, nowMs: number): Promise<JWTVerifyResult> {
    const now = { ...rules, currentDate: new Date(nowMs) }
    try {
      return await jwtVerify(token, keys.find, now)
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error
      // Tokens need not name their key, and while keys change there are two.
      for await (const candidate of error) {
        try {
          return await jwtVerify(token, candidate, now)
        } catch (wrong) {
          // A key that is not fit for it, such as a short one, is jose's TypeError.
          if (!(wrong instanceof errors.JWSSignatureVerificationFailed || wrong instanceof TypeError))
            throw wrong
        }
      }
      throw new errors.JWSSignatureVerificationFailed()
    }
  }

  function refusalOf(error: unknown): AppError {
    if (error instanceof AppError) return error
    if (error instanceof errors.JWTExpired) return new CredentialError('expired', 'The token has expired.')
    // A key of the issuer that is too short, or broken.
    if (!(error instanceof errors.JOSEError))
      log.debug('token not checked', { meta: { error: messageOf(error) } })
    return invalid(faultOf(error, keys.algorithms))
  }

  return {
    async verify(token) {
      if (token.length > MAX_TOKEN_LENGTH) throw invalid(`is longer than ${MAX_TOKEN_LENGTH} characters`)
      if (!SIGNED_TOKEN.test(token)) throw invalid('is no signed JSON Web Token')
      const nowMs = clock.nowMs()
      const { payload, protectedHeader } = await check(token, nowMs).catch((error) => {
        throw refusalOf(error)
      })
      const { typ } = protectedHeader
      if (typ !== undefined && !(typeof typ === 'string' && TOKEN_TYPE.test(typ))) {
        throw invalid('is not an access token: its header has another typ')
      }
      if (payload.iat !== undefined && payload.iat > nowMs / 1000 + toleranceSeconds) {
        throw invalid('was issued in the future')
      }
      return principalOf(payload)
    },

    start() {
      keys.start()
      if ('jwksUrl' in key && audience === null) {
        log.warn('tokens that the issuer made for others are accepted too: no audience is configured')
      }
    },

    stop: keys.stop,
  }
}

/** The one key that both sides know. */
function secretKeys(secret: Secret): TokenKeys {
  const bytes = new TextEncoder().encode(secret.reveal())
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  const key = crypto.subtle.importKey('raw', bytes, hmac, false, ['verify'])
  return { algorithms: ['HS256'], find: () => key, start() {}, stop() {} }
}

/** `fault` says what the token does or is. */
function invalid(fault: string): CredentialError {
  return new CredentialError('invalid', `The token ${fault}.`)
}

/** What is wrong with a token, by what jose says; jose's own error holds its claims, and goes no further. */
function faultOf(error: unknown, algorithms: readonly string[]): string {
  if (error instanceof errors.JWTClaimValidationFailed) return faultOfClaim(error)
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'has a wrong signature'
  if (error instanceof errors.JWKSNoMatchingKey) return 'is signed with a key that its issuer does not have'
  if (error instanceof errors.JOSEAlgNotAllowed) return `is not signed by ${algorithms.join(', ')}`
  return 'can not be read or checked'
}

function faultOfClaim({ claim, reason }: errors.JWTClaimValidationFailed): string {
  if (reason === 'missing') return `has no claim ${claim}`
  if (reason === 'invalid') return `has a claim ${claim} that is not a number`
  if (claim === 'nbf') return 'is not valid yet'
  return claim === 'iss' ? 'is of another issuer' : 'is for another audience'
}

function principalOf({ sub, scope, scp }: JWTPayload): Principal {
  if (typeof sub !== 'string' || sub === '' || textFault(sub, MAX_SUBJECT_CHARACTERS) || CONTROL.test(sub)) {
    throw invalid(`has no claim sub of 1 to ${MAX_SUBJECT_CHARACTERS} characters, none a control character`)
  }
  const { scopes } = parseScopes([...wordsOf(scope), ...wordsOf(scp)])
  return { kind: 'jwt', id: `user:${sub}`, subject: sub, scopes }
}

/** A text with spaces, or a list: issuers differ. */
function wordsOf(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ').filter(Boolean)
  return Array.isArray(claim) ? claim.filter((word) => typeof word === 'string') : []
}
