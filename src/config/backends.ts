import { z } from 'zod'
import { choice, flag, hidden, host, path, seconds, section, text, whole } from './values.ts'

/** Where the embedded backend keeps its records. */
export const sqliteSettings = section({
  /** Default: `persistence.sqlite` in `service.data_dir`. */
  path: path().optional(),
})

/** A connection to MySQL, MariaDB or what speaks their protocol. */
export const mysqlSettings = section({
  host: host('localhost'),
  port: whole({ from: 1, to: 65_535, fallback: 3306 }),
  user: text(/^.{1,128}$/u, 'a user name of 1 to 128 characters').default('root'),
  password: hidden(/^/, 'text (a number in quotes)').prefault(''),
  database: text(/^.{1,64}$/u, 'a name of 1 to 64 characters').default('ai_terminal'),
  /** Connections; a snapshot holds one, and something must be left beside it. */
  pool_size: whole({ from: 2, to: 1000, fallback: 10 }),
  connect_timeout: seconds({ fallback: 5 }),
  /** The longest that one statement may run. */
  statement_timeout: seconds({ fallback: 30 }),
  /** TLS, with the server's certificate checked. */
  ssl: flag(false),
})

/** The settings of each type of backend that can be switched on. */
export const backendSettings = { sqlite: sqliteSettings, mysql: mysqlSettings }

/** A type of backend that can be switched on. */
export type BackendType = keyof typeof backendSettings

/** One backend that is switched on: its type and its connection. */
export type BackendConfig =
  | { type: 'sqlite'; config: { path: string } }
  | { type: 'mysql'; config: z.output<typeof mysqlSettings> }

/** The types of backend that a file may name; those without settings above only with `enabled: false`. */
export const knownTypes = [
  'sqlite',
  'mysql',
  'disk',
  'oss',
  's3',
  'minio',
  'redis',
  'elasticsearch',
  'opensearch',
] as const

const collectionName = z.string({ error: 'the name of a collection' })

/**
 * An entry of `storage.backends`, whatever its type. That is all that a disabled one is held to; the
 * `config` of an enabled one is then checked by {@link backendSettings}.
 */
export const backendEntry = section({
  type: choice(knownTypes),
  enabled: flag(true),
  config: z.preprocess((value) => value ?? {}, z.record(z.string(), z.unknown(), { error: 'a map' })),
  data_types: z.array(collectionName, { error: 'a list of collections' }).optional(),
})

/** True for what an entry of `storage.backends` may be called; the name becomes a metric's label. */
export function isBackendName(name: string): boolean {
  return /^[A-Za-z][\w-]{0,63}$/.test(name)
}

/** True for a type that has settings here. */
export function isBackendType(type: unknown): type is BackendType {
  return typeof type === 'string' && Object.hasOwn(backendSettings, type)
}

/** Collections that move to MySQL when the environment switches it on and the file lists none for it. */
export const mysqlColumn: readonly string[] = [
  'translation_sessions',
  'translation_tasks',
  'file_metadata',
  'users',
  'user_preferences',
]

/** The backend, by kind of collection, that holds what no backend lists. */
export const defaultBackends: Readonly<Record<string, string>> = { records: 'sqlite' }
