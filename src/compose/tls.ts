/** The service's own TLS: its certificate, its key, and which versions it speaks. */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto'
import { type Config, ConfigError } from '../config/mod.ts'

export interface TlsOptions {
  cert: string
  key: string
  /** Versions that are not spoken, as OpenSSL's flags. */
  secureOptions: number
  /** The suites of TLS 1.2; those of 1.3 are all good. */
  ciphers?: string
}

const BELOW_1_2 = constants.SSL_OP_NO_TLSv1 | constants.SSL_OP_NO_TLSv1_1
/** Forward secrecy and authenticated encryption, as 1.3 has them. */
const CIPHERS_1_2 = 'ECDHE+AESGCM:ECDHE+CHACHA20'

/**
 * Reads what is configured; null where TLS is off.
 * @throws ConfigError that names the variable of what is missing or wrong.
 */
export function readTls({ tls }: Config, readFile: (path: string) => string): TlsOptions | null {
  if (tls.cert_file === null || tls.key_file === null) return null
  const read = (variable: string, path: string) =>
    parsed(variable, 'a file that can be read', () => readFile(path))
  const cert = read('TLS_CERT_FILE', tls.cert_file)
  const key = read('TLS_KEY_FILE', tls.key_file)
  const certificate = parsed('TLS_CERT_FILE', 'a certificate in PEM', () => new X509Certificate(cert))
  const privateKey = parsed('TLS_KEY_FILE', 'a private key in PEM, not encrypted', () =>
    createPrivateKey(key),
  )
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new ConfigError([{ key: 'TLS_KEY_FILE', expected: 'the key of the certificate in TLS_CERT_FILE' }])
  }
  return tls.min_version === '1.3'
    ? { cert, key, secureOptions: BELOW_1_2 | constants.SSL_OP_NO_TLSv1_2 }
    : { cert, key, secureOptions: BELOW_1_2, ciphers: CIPHERS_1_2 }
}

function parsed<T>(variable: string, expected: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    // Neither a path nor a text is repeated: either may be a key in the wrong place.
    const got = (error as { code?: unknown }).code
    throw new ConfigError([{ key: variable, expected, ...(typeof got === 'string' && { got }) }])
  }
}
