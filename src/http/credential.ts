/** The credential that a request shows: one, and in a header. */
import type { HonoRequest } from 'hono'
import type { Credential } from '../auth/authenticator.ts'
import { AppError } from '../lib/errors.ts'

const BEARER = /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i

/** @throws AppError for two credentials, and for one that can't be read. */
export function readCredential(request: HonoRequest): Credential | null {
  const key = request.header('x-api-key')
  const authorization = request.header('authorization')
  // A header that was sent twice is joined by a comma and a space, which no key holds.
  if (key !== undefined && (authorization !== undefined || key.includes(', '))) {
    throw new AppError('MALFORMED_REQUEST', {
      detail: 'Send one credential: X-API-Key, or Authorization.',
    })
  }
  if (key !== undefined) return { kind: 'api_key', value: key }
  if (authorization === undefined) return null
  const token = BEARER.exec(authorization)?.[1]
  if (token === undefined) {
    throw new AppError('MALFORMED_REQUEST', { detail: 'Authorization is not of the form `Bearer <token>`.' })
  }
  return { kind: 'bearer', value: token }
}
