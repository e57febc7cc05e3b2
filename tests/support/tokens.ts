/** JSON Web Tokens made by hand, the good and the bad: nothing here knows the library that checks them. */
import { createHmac } from 'node:crypto'

/** Something to sign tokens with. */
export interface TestKey {
  /** What its tokens say in their header. */
  alg: string
  kid?: string
  /** The public half, as an issuer publishes it. */
  jwk: Record<string, unknown>
  sign(input: string): Promise<Uint8Array>
}

type Json = Record<string, unknown>

const PAIRS = {
  RS256: {
    kind: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) },
    by: { name: 'RSASSA-PKCS1-v1_5' },
  },
  ES256: { kind: { name: 'ECDSA' }, by: { name: 'ECDSA', hash: 'SHA-256' } },
  EdDSA: { kind: { name: 'Ed25519' }, by: { name: 'Ed25519' } },
} as const

interface PairOptions {
  /** None = the key has no name. */
  kid?: string
  /** Of RS256. */
  bits?: number
  /** Of ES256. */
  curve?: string
  /** Further members of the published half, such as `use`. */
  members?: Json
}

/** A new key pair. */
export async function keyPair(alg: keyof typeof PAIRS, options: PairOptions = {}): Promise<TestKey> {
  const { kid, bits = 2048, curve = 'P-256', members } = options
  const { kind, by } = PAIRS[alg]
  const { privateKey, publicKey } = (await crypto.subtle.generateKey(
    { ...kind, modulusLength: bits, namedCurve: curve } as never,
    true,
    ['sign', 'verify'],
  )) as CryptoKeyPair
  const { kty, n, e, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey)
  return {
    alg,
    ...(kid !== undefined && { kid }),
    jwk: JSON.parse(JSON.stringify({ kty, n, e, crv, x, y, kid, ...members })),
    sign: async (input) => new Uint8Array(await crypto.subtle.sign(by, privateKey, Buffer.from(input))),
  }
}

/** HS256 by any text or bytes, be it a secret or what everybody knows. */
export function secretKey(secret: string | Uint8Array, kid?: string): TestKey {
  return {
    alg: 'HS256',
    ...(kid !== undefined && { kid }),
    jwk: {},
    sign: async (input) => createHmac('sha256', secret).update(input).digest(),
  }
}

/** Text or bytes in base64url; anything else as JSON. */
export function base64url(value: unknown): string {
  const raw = typeof value === 'string' || value instanceof Uint8Array ? value : JSON.stringify(value)
  return Buffer.from(raw as string).toString('base64url')
}

/** Seconds from now, as claims have them. */
export const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds

/**
 * A token that is good for five minutes, may read translations, and is alice's, unless told otherwise; what is
 * undefined is left out.
 */
export async function tokenOf(key: TestKey, claims: Json = {}, header: Json = {}): Promise<string> {
  const usual = { sub: 'alice', scope: 'translation:read', iat: inSeconds(0), exp: inSeconds(300) }
  const head = base64url({ alg: key.alg, typ: 'JWT', kid: key.kid, ...header })
  return signedText(key, head, base64url({ ...usual, ...claims }))
}

/** A token of two parts that are base64url already, and the right signature. */
export async function signedText(key: TestKey, header: string, payload: string): Promise<string> {
  return `${header}.${payload}.${base64url(await key.sign(`${header}.${payload}`))}`
}
