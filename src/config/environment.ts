import { mysqlSettings } from './backends.ts'
import { databaseUrlParts } from './database_url.ts'
import { type Document, documentOf, merge, valueAt } from './document.ts'
import { type Fault, fault, shown } from './faults.ts'
import { settings } from './schema.ts'

/** Environment name → where its value goes. An empty value counts as unset. */
export const environmentPaths: Readonly<Record<string, string>> = {
  SERVICE_HOST: 'service.host',
  SERVICE_PORT: 'service.port',
  DATA_DIR: 'service.data_dir',
  INSTANCE_ID: 'service.instance_id',
  LOG_LEVEL: 'service.log_level',
  DRAIN_GRACE: 'service.drain_grace',
  MAX_BODY_BYTES: 'service.max_body_bytes',
  MAX_BODIES_BYTES: 'service.max_bodies_bytes',
  CLIENT_TIMEOUT: 'service.client_timeout',
  SHUTDOWN_TIMEOUT: 'service.shutdown_timeout',
  TRUSTED_PROXIES: 'service.trusted_proxies',
  CORS_ORIGINS: 'service.cors_origins',
  TLS_CERT_FILE: 'tls.cert_file',
  TLS_KEY_FILE: 'tls.key_file',
  TLS_MIN_VERSION: 'tls.min_version',
  API_KEYS: 'auth.api_keys',
  API_KEYS_FILE: 'auth.api_keys_file',
  JWT_SECRET: 'auth.jwt_secret',
  JWT_JWKS_URL: 'auth.jwt_jwks_url',
  JWT_ISSUER: 'auth.jwt_issuer',
  JWT_AUDIENCE: 'auth.jwt_audience',
  JWT_CLOCK_TOLERANCE: 'auth.jwt_clock_tolerance',
  RATE_LIMIT: 'rate_limit.enabled',
  RATE_LIMIT_PER_ADDRESS: 'rate_limit.per_address',
  RATE_LIMIT_PER_KEY: 'rate_limit.per_key',
  RATE_LIMIT_PER_SESSION: 'rate_limit.per_session',
  MAX_BUFFER_SIZE: 'buffer.max_buffer_size',
  FLUSH_INTERVAL: 'buffer.flush_interval',
  BUFFER_MAX_ROWS: 'buffer.max_rows',
  BUFFER_MAX_BYTES: 'buffer.max_bytes',
  BUFFER_FLUSH_BYTES: 'buffer.flush_bytes',
  BUFFER_MIN_BATCH_ROWS: 'buffer.min_batch_rows',
  BUFFER_MAX_BATCH_ROWS: 'buffer.max_batch_rows',
  BUFFER_BATCH_STEP_ROWS: 'buffer.batch_step_rows',
  BUFFER_SLOW_FLUSH_MS: 'buffer.slow_flush_ms',
  BUFFER_FAST_FLUSH_MS: 'buffer.fast_flush_ms',
  BUFFER_FLUSH_CONNECTIONS: 'buffer.flush_connections',
  BUFFER_FLUSH_TIMEOUT: 'buffer.flush_timeout',
  BUFFER_JOURNAL: 'buffer.journal',
  BUFFER_EXPIRE_DAYS: 'buffer.expire_days',
  DEAD_LETTERS_PER_SESSION: 'buffer.dead_letters_per_session',
  MAX_DEAD_LETTERS: 'buffer.max_dead_letters',
  REPEAT_DELETES_AFTER: 'translation.repeat_deletes_after',
  DELETE_MODE: 'translation.delete_mode',
  READ_TIMEOUT: 'translation.read_timeout',
  RESTORE_TIMEOUT: 'translation.restore_timeout',
  COUNT_EXACT_LIMIT: 'translation.count_exact_limit',
  COUNT_CACHE: 'translation.count_cache',
  RETENTION_ENABLED: 'retention.enabled',
  RETENTION_INTERVAL: 'retention.interval',
  RETENTION_COMPLETED_DAYS: 'retention.completed_days',
  RETENTION_FAILED_DAYS: 'retention.failed_days',
  RETENTION_DELETED_DAYS: 'retention.deleted_days',
  RETENTION_INCOMPLETE_DAYS: 'retention.incomplete_days',
  MIGRATE_ON_START: 'migrations.on_start',
  SQLITE_PATH: 'storage.backends.sqlite.config.path',
  DB_HOST: 'storage.backends.mysql.config.host',
  DB_PORT: 'storage.backends.mysql.config.port',
  DB_USER: 'storage.backends.mysql.config.user',
  DB_PASSWORD: 'storage.backends.mysql.config.password',
  DB_DATABASE: 'storage.backends.mysql.config.database',
  DB_POOL_SIZE: 'storage.backends.mysql.config.pool_size',
  DB_CONNECT_TIMEOUT: 'storage.backends.mysql.config.connect_timeout',
  DB_STATEMENT_TIMEOUT: 'storage.backends.mysql.config.statement_timeout',
  DB_SSL: 'storage.backends.mysql.config.ssl',
}

const mysqlPrefix = 'storage.backends.mysql.'
const defaults = merge(
  settings.parse({}),
  documentOf(['storage', 'backends', 'mysql', 'config'], mysqlSettings.parse({})),
)

/** What the environment says. */
export interface EnvironmentSource {
  /** In the form of the file. */
  document: Document
  /** Path in the document → the name that set it. */
  names: ReadonlyMap<string, string>
  /** The name that switches MySQL on. */
  switchesMysqlOn: string | undefined
  faults: Fault[]
}

/** Environment variables by name. */
export type Environment = Record<string, string | undefined>

/** Puts each variable where {@link environmentPaths} says; `mysqlEntry` is the backend that DB_* configure. */
export function readEnvironment(env: Environment, mysqlEntry: string): EnvironmentSource {
  const faults: Fault[] = []
  const names = new Map<string, string>()
  const url = env.DATABASE_URL ? databaseUrlParts(env.DATABASE_URL) : {}
  if (typeof url === 'string') faults.push(fault('DATABASE_URL', url))
  let document: Document = {}
  for (const [name, path] of Object.entries(environmentPaths)) {
    const own = env[name] || undefined
    const fromUrl = typeof url === 'string' ? undefined : url[name]
    const text = own ?? fromUrl
    if (text === undefined) continue
    const value = coerce(path, text)
    if (fromUrl !== undefined && value !== coerce(path, fromUrl)) {
      faults.push(fault(name, 'the same as in DATABASE_URL, or unset', shown(name, own)))
    }
    const place = path.startsWith(mysqlPrefix)
      ? path.replace(mysqlPrefix, `storage.backends.${mysqlEntry}.`)
      : path
    document = merge(document, documentOf(place.split('.'), value))
    names.set(place, own === undefined ? 'DATABASE_URL' : name)
  }
  const switchesMysqlOn = ['DATABASE_URL', 'DB_HOST'].find((name) => env[name])
  return { document, names, switchesMysqlOn, faults }
}

const numeral = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i
const booleans = new Map(
  Object.entries({ true: true, 1: true, on: true, false: false, 0: false, off: false }),
)

/** Text → the type that its setting's default has. What does not read as that stays text, for the schema to refuse. */
function coerce(path: string, text: string): unknown {
  const fallback = valueAt(defaults, path.split('.'))
  if (typeof fallback === 'number') return numeral.test(text) ? Number(text) : text
  if (typeof fallback === 'boolean') return booleans.get(text.toLowerCase()) ?? text
  if (Array.isArray(fallback)) return text.split(',').map((item) => item.trim())
  return text
}
