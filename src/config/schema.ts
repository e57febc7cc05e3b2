import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { type BackendConfig, backendEntry } from './backends.ts'
import { choice, flag, hidden, host, list, path, seconds, section, text, whole } from './values.ts'

const maxBytes = 2 ** 40
const maxRows = 100_000_000
const days = (fallback: number) => whole({ from: 1, to: 36_500, fallback })

const networks = 'a list of addresses and networks, such as 10.0.0.0/8'
const network = z.string({ error: networks }).refine((value) => isNetwork(value), { error: networks })
/** Of IPv4 only four decimal numbers: `ipaddr` takes 10/8 for 0.0.0.0/8, and 010.0.0.1 for 8.0.0.1. */
function isNetwork(text: string): boolean {
  const { IPv4, IPv6 } = ipaddr
  if (IPv6.isValid(text) || IPv6.isValidCIDR(text)) return true
  return IPv4.isValidFourPartDecimal(text) || IPv4.isValidCIDRFourPartDecimal(text)
}
const origins = 'a list of origins, such as https://app.example.com, or *'
/** Written as a browser writes it, or it would never be met: no path, no default port, small letters. */
const origin = z.string({ error: origins }).refine((value) => value === '*' || isOrigin(value), {
  error: origins,
})

function isOrigin(value: string): boolean {
  return /^https?:[^*]+$/.test(value) && URL.parse(value)?.origin === value
}

const service = section({
  host: host('0.0.0.0'),
  /** 0 = any free port. */
  port: whole({ from: 0, to: 65_535, fallback: 8001 }),
  data_dir: path().default('./data'),
  /** null = made once and kept in `data_dir`. */
  instance_id: text(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 characters of A-Z a-z 0-9 . _ -')
    .nullable()
    .default(null),
  log_level: choice(['debug', 'info', 'warn', 'error']).default('info'),
  /** Seconds for which a stopping instance goes on accepting. */
  drain_grace: seconds({ from: 0, to: 3600, fallback: 0 }),
  /** Unpacked. */
  max_body_bytes: whole({ from: 1024, to: 2 ** 30, fallback: 64 * 2 ** 20 }),
  /** Of all bodies that are being read, unpacked: past it, 503. */
  max_bodies_bytes: whole({ from: 1024, to: maxBytes, fallback: 256 * 2 ** 20 }),
  /** Seconds in which a body must make progress, and the reader of a restore too. */
  client_timeout: seconds({ from: 1, to: 240, fallback: 20 }),
  /** Deadline of the drain. */
  shutdown_timeout: seconds({ to: 3600, fallback: 25 }),
  /** Proxies whose X-Forwarded-For is believed. */
  trusted_proxies: list(network, networks),
  /** Whose pages may call this from a browser; `*` = anybody's. */
  cors_origins: list(origin, origins),
})

/** TLS of the service itself, on when both files are named. */
const tls = section({
  /** PEM: the certificate, then those that lead to its authority. */
  cert_file: path().nullable().default(null),
  key_file: path().nullable().default(null),
  min_version: choice(['1.2', '1.3']).default('1.3'),
})

const keysUrl = 'an http or https URL without user and password'

/** Who may ask. On as soon as there is a key, a secret, or a set of keys. */
const auth = section({
  api_keys: hidden(/\S/, 'keys, separated by semicolons').nullable().default(null),
  /** null = `api_keys` in `service.data_dir`, which need not be there. */
  api_keys_file: path().nullable().default(null),
  /** HS256: 32 bytes are what the hash is worth. */
  jwt_secret: hidden(/^.{32,1024}$/su, 'a text of 32 to 1024 characters')
    .nullable()
    .default(null),
  /** Signatures by a key pair: where its issuer publishes the public halves. */
  jwt_jwks_url: text(/^https?:\/\/[^\s@]+$/, keysUrl)
    .refine((value) => URL.canParse(value), { error: keysUrl })
    .nullable()
    .default(null),
  jwt_issuer: text(/\S/, 'what the claim iss must be').nullable().default(null),
  jwt_audience: text(/\S/, 'what the claim aud must hold').nullable().default(null),
  /** How far the issuer's clock may be off. */
  jwt_clock_tolerance: seconds({ from: 0, to: 600, fallback: 30 }),
})

/** Requests a minute. */
const rateLimit = section({
  enabled: flag(false),
  per_address: whole({ from: 1, to: maxRows, fallback: 100 }),
  per_key: whole({ from: 1, to: maxRows, fallback: 1000 }),
  /** Of one caller, for one translation session. */
  per_session: whole({ from: 1, to: maxRows, fallback: 10 }),
})

const buffer = section({
  /** Rows of one collection that start a flush. */
  max_buffer_size: whole({ from: 1, to: maxRows, fallback: 1000 }),
  flush_interval: seconds({ fallback: 30 }),
  /** Hard limit in rows: past it, 503. */
  max_rows: whole({ from: 1, to: maxRows, fallback: 200_000 }),
  /** Hard limit in bytes: past it, 503. */
  max_bytes: whole({ from: 1, to: maxBytes, fallback: 256 * 2 ** 20 }),
  /** Bytes of one collection that start a flush. */
  flush_bytes: whole({ from: 1, to: maxBytes, fallback: 16 * 2 ** 20 }),
  min_batch_rows: whole({ from: 1, to: 100_000, fallback: 500 }),
  max_batch_rows: whole({ from: 1, to: 100_000, fallback: 5000 }),
  batch_step_rows: whole({ from: 1, to: 100_000, fallback: 100 }),
  /** A flush slower than this makes batches smaller. */
  slow_flush_ms: whole({ from: 1, to: 3_600_000, fallback: 2000 }),
  /** A flush faster than this makes batches larger. */
  fast_flush_ms: whole({ from: 1, to: 3_600_000, fallback: 500 }),
  flush_connections: whole({ from: 1, to: 64, fallback: 2 }),
  /** The longest that a flush on request may take. */
  flush_timeout: seconds({ to: 3600, fallback: 8 }),
  /** What a 202 survives: a power cut, a kill, nothing. */
  journal: choice(['full', 'normal', 'off']).default('full'),
  /** Fields that waited longer are dead-lettered: as long as a delete is remembered. */
  expire_days: days(30),
  /** Dead letters of one session, and of all; what is refused beyond them stays buffered. */
  dead_letters_per_session: whole({ from: 1, to: maxRows, fallback: 10_000 }),
  max_dead_letters: whole({ from: 1, to: maxRows, fallback: 100_000 }),
})

const translation = section({
  delete_mode: choice(['hard', 'soft']).default('hard'),
  /** A delete is applied once more after this: a statement of an instance that died may commit late. */
  repeat_deletes_after: seconds({ from: 1, to: 86_400, fallback: 600 }),
  read_timeout: seconds({ to: 3600, fallback: 5 }),
  restore_timeout: seconds({ to: 3600, fallback: 10 }),
  /** Rows up to which a list's total is exact. */
  count_exact_limit: whole({ from: 0, to: maxRows, fallback: 100_000 }),
  /** Seconds for which a list's total is kept. */
  count_cache: seconds({ from: 0, to: 3600, fallback: 10 }),
})

const retention = section({
  enabled: flag(true),
  interval: seconds({ from: 1, to: 604_800, fallback: 3600 }),
  completed_days: days(90),
  failed_days: days(30),
  deleted_days: days(7),
  incomplete_days: days(30),
})

/** The one schema: what a file may hold, and what the environment is turned into. */
export const settings = section({
  service,
  tls,
  auth,
  rate_limit: rateLimit,
  buffer,
  translation,
  retention,
  migrations: section({ on_start: flag(true) }),
  storage: section({
    backends: z.preprocess(
      (value) => value ?? {},
      z.record(z.string(), backendEntry, { error: 'a map of backends' }),
    ),
  }),
})

/** The whole configuration. Times are in seconds where the name has no unit. */
export interface Config extends Omit<z.output<typeof settings>, 'storage'> {
  storage: {
    /** The backends that are switched on, by name; `sqlite` is always among them. */
    backends: Record<string, BackendConfig>
    /** Which backend holds which collection: every collection has its line. */
    routes: Record<string, string>
  }
}
