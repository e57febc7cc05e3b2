/** Keys that this service has given out: those of the variable, and those of the file as it is now. */
import { hash, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/log.ts'
import type { Secret } from '../lib/secret.ts'
import { type ApiKeys, CredentialError } from './authenticator.ts'
import { openKeyFile } from './key_file.ts'
import { type KeyEntry, MAX_KEY_LENGTH, parseInlineKeys } from './key_line.ts'
import { type Principal, parseScopes } from './principal.ts'

interface ApiKeysOptions extends Clock {
  /** The text of the variable, which was checked; null = it is not set. */
  inline: Secret | null
  file: { path: string; named: boolean }
  log: Logger
}

interface Known {
  digest: Buffer
  principal: Principal
  revoked: boolean
  expiresAtMs: number
}

/** What an unknown key is compared with, so that it costs what a known one does. */
const NO_DIGEST = Buffer.alloc(32)

/** Reads the file once, before anybody comes in; `start()` begins to watch it. */
export async function openApiKeys({ inline, file, nowMs, log }: ApiKeysOptions): Promise<ApiKeys> {
  const fixed = inline === null ? [] : parseInlineKeys(inline.reveal()).keys.map(({ entry }) => entry)
  let known = indexOf(fixed)
  const keyFile = await openKeyFile({
    ...file,
    taken: fixed.map(({ hash }) => hash),
    log,
    onKeys(entries) {
      known = indexOf([...fixed, ...entries])
    },
  })

  function find(key: string): Known | null {
    if (key.length > MAX_KEY_LENGTH) return null
    const digest = hash('sha256', key, 'buffer')
    const candidates = known.get(digest.readUInt32BE())
    if (candidates) return candidates.find((one) => timingSafeEqual(one.digest, digest)) ?? null
    timingSafeEqual(NO_DIGEST, digest)
    return null
  }

  return {
    configured: () => inline !== null || keyFile.expected(),

    verify(key) {
      const found = find(key)
      if (found === null) throw new CredentialError('unknown', 'The API key is not known.')
      if (found.revoked) throw new CredentialError('revoked', 'The API key was revoked.')
      if (nowMs() >= found.expiresAtMs) throw new CredentialError('expired', 'The API key has expired.')
      return found.principal
    },

    start: keyFile.start,
    stop: keyFile.stop,
  }
}

/**
 * By the first bytes of the digest: how long a look-up takes tells of these at most, and from a digest
 * there is no way back to a key.
 */
function indexOf(entries: readonly KeyEntry[]): Map<number, Known[]> {
  const known = entries.map((entry): Known => {
    const { scopes } = parseScopes(entry.scopes)
    return {
      digest: Buffer.from(entry.hash, 'hex'),
      principal: { kind: 'api_key', id: `key:${entry.name}`, subject: null, scopes },
      revoked: entry.revokedAtMs !== null,
      expiresAtMs: entry.expiresAtMs ?? Number.POSITIVE_INFINITY,
    }
  })
  return Map.groupBy(known, ({ digest }) => digest.readUInt32BE())
}
