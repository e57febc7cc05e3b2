import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { mysqlSettings } from '../../src/config/backends.ts'
import { documentOf, valueAt } from '../../src/config/document.ts'
import { environmentPaths } from '../../src/config/environment.ts'
import { loadConfig } from '../../src/config/mod.ts'
import { settings } from '../../src/config/schema.ts'
import { revealed } from '../support/revealed.ts'

const collections = [
  { name: 'translation_sessions', kind: 'records' },
  { name: 'translation_tasks', kind: 'records' },
]

/** Loads with `file` (YAML or a document) as the file that CONFIG_FILE names. */
function load(env: Record<string, string | undefined>, file?: string | object) {
  const content = typeof file === 'object' ? JSON.stringify(file) : file
  const named = content === undefined ? env : { ...env, CONFIG_FILE: 'some.yaml' }
  return revealed(loadConfig({ env: named, collections, readFile: () => content ?? '' }))
}

test('with nothing set, every setting has its documented default and everything is kept in sqlite', () => {
  expect(load({})).toEqual({
    service: {
      host: '0.0.0.0',
      port: 8001,
      data_dir: './data',
      instance_id: null,
      log_level: 'info',
      drain_grace: 0,
      max_body_bytes: 67108864,
      max_bodies_bytes: 268435456,
      client_timeout: 20,
      shutdown_timeout: 25,
      trusted_proxies: [],
      cors_origins: [],
    },
    tls: { cert_file: null, key_file: null, min_version: '1.3' },
    auth: {
      api_keys: null,
      api_keys_file: null,
      jwt_secret: null,
      jwt_jwks_url: null,
      jwt_issuer: null,
      jwt_audience: null,
      jwt_clock_tolerance: 30,
    },
    rate_limit: { enabled: false, per_address: 100, per_key: 1000, per_session: 10 },
    buffer: {
      max_buffer_size: 1000,
      flush_interval: 30,
      max_rows: 200000,
      max_bytes: 268435456,
      flush_bytes: 16777216,
      min_batch_rows: 500,
      max_batch_rows: 5000,
      batch_step_rows: 100,
      slow_flush_ms: 2000,
      fast_flush_ms: 500,
      flush_connections: 2,
      flush_timeout: 8,
      journal: 'full',
      expire_days: 30,
      dead_letters_per_session: 10_000,
      max_dead_letters: 100_000,
    },
    translation: {
      delete_mode: 'hard',
      repeat_deletes_after: 600,
      read_timeout: 5,
      restore_timeout: 10,
      count_exact_limit: 100000,
      count_cache: 10,
    },
    retention: {
      enabled: true,
      interval: 3600,
      completed_days: 90,
      failed_days: 30,
      deleted_days: 7,
      incomplete_days: 30,
    },
    migrations: { on_start: true },
    storage: {
      backends: { sqlite: { type: 'sqlite', config: { path: './data/persistence.sqlite' } } },
      routes: { translation_sessions: 'sqlite', translation_tasks: 'sqlite' },
    },
  })
})

test('mysql has the documents’ defaults', () => {
  expect(revealed(mysqlSettings.parse({}))).toEqual({
    host: 'localhost',
    port: 3306,
    user: 'root',
    password: '',
    database: 'ai_terminal',
    pool_size: 10,
    connect_timeout: 5,
    statement_timeout: 30,
    ssl: false,
  })
})

test('the file is not asked for while CONFIG_FILE is unset or empty, and is read from where it points', () => {
  const read: string[] = []
  const readFile = (path: string) => {
    read.push(path)
    return 'service: { port: 1 }'
  }
  loadConfig({ env: {}, collections, readFile })
  loadConfig({ env: { CONFIG_FILE: '' }, collections, readFile })
  expect(read).toEqual([])
  expect(loadConfig({ env: { CONFIG_FILE: 'etc/p.yaml' }, collections, readFile }).service.port).toBe(1)
  expect(read).toEqual(['etc/p.yaml'])
})

describe('precedence', () => {
  /** Two right values for each setting, neither of them its default: as in YAML. */
  const samples: Record<string, [unknown, unknown]> = {
    'service.host': ['127.0.0.1', '::1'],
    'service.data_dir': ['/srv/a', 'b'],
    'service.instance_id': ['node-1', 'node_2.x'],
    'service.log_level': ['debug', 'error'],
    'service.trusted_proxies': [['10.0.0.0/8'], ['::1', '192.0.2.1']],
    'service.cors_origins': [['https://a.example'], ['*', 'http://[::1]:8080']],
    'tls.cert_file': ['a.pem', '/b.pem'],
    'tls.key_file': ['a.key', '/b.key'],
    'tls.min_version': ['1.2', '1.2'],
    'auth.api_keys': ['a-key-that-is-long-enough-for-one', 'another-key-that-is-long-enough-too'],
    'auth.api_keys_file': ['a.keys', '/b.keys'],
    'auth.jwt_secret': ['s'.repeat(32), 't'.repeat(1024)],
    'auth.jwt_jwks_url': ['https://a.example/jwks.json', 'http://b.example/keys'],
    'auth.jwt_issuer': ['https://a.example', 'b'],
    'auth.jwt_audience': ['texts', 'games'],
    'rate_limit.enabled': [true, true],
    'translation.delete_mode': ['soft', 'soft'],
    'buffer.journal': ['normal', 'off'],
    'storage.backends.sqlite.config.path': ['a.sqlite', '/b.sqlite'],
    'storage.backends.mysql.config.host': ['db.example', '10.0.0.1'],
    'storage.backends.mysql.config.user': ['ann', 'Zoë'],
    'storage.backends.mysql.config.password': ['p@ss:word/#1', '12345'],
    'storage.backends.mysql.config.database': ['texts', 'games'],
    'buffer.max_buffer_size': [900, 800],
    'buffer.min_batch_rows': [400, 300],
    'buffer.max_batch_rows': [6000, 7000],
    'buffer.fast_flush_ms': [400, 300],
    'buffer.slow_flush_ms': [2100, 2200],
    'buffer.flush_bytes': [1024, 2048],
    'buffer.max_bytes': [300_000_000, 400_000_000],
    'buffer.max_rows': [300_000, 400_000],
    'buffer.flush_interval': [0.25, 1.5],
    'service.max_body_bytes': [2048, 4096],
    'service.max_bodies_bytes': [2048, 4096],
    'retention.enabled': [false, false],
    'migrations.on_start': [false, false],
    'storage.backends.mysql.config.ssl': [true, true],
  }
  /** What a setting can't be without. */
  const companions: Record<string, Record<string, string>> = {
    TLS_CERT_FILE: { TLS_KEY_FILE: 'k.pem' },
    TLS_KEY_FILE: { TLS_CERT_FILE: 'c.pem' },
  }
  const withMysql = { storage: { backends: { sqlite: { type: 'sqlite' }, mysql: { type: 'mysql' } } } }

  test.each(Object.entries(environmentPaths))('default < file < environment for %s (%s)', (name, dotted) => {
    const path = dotted.split('.')
    const [inFile, inEnvironment] = samples[dotted] ?? [11, 12]
    const typed: Record<string, object> = {
      sqlite: { backends: { sqlite: { type: 'sqlite', config: {} }, mysql: { type: 'mysql' } } },
      mysql: { backends: { mysql: { type: 'mysql', config: {} } } },
    }
    const base = path[0] === 'storage' ? { storage: typed[path[2] ?? ''] } : withMysql
    const file = structuredClone(path[0] === 'storage' ? base : { ...documentOf(path, inFile), ...withMysql })
    if (path[0] === 'storage') {
      Object.assign(valueAt(file, path.slice(0, -1)) as object, { [path.at(-1) ?? '']: inFile })
    }

    expect(valueAt(load({}, base), path)).not.toEqual(inFile)
    const beside = companions[name] ?? {}
    const found = (own: Record<string, string | undefined>, content: object) =>
      valueAt(load({ ...beside, ...own }, content), path)
    expect(found({}, file)).toEqual(inFile)
    expect(found({ [name]: '' }, file)).toEqual(inFile)
    expect(found({ [name]: undefined }, file)).toEqual(inFile)
    expect(found({ [name]: String(inEnvironment) }, file)).toEqual(inEnvironment)
    expect(found({ [name]: String(inEnvironment) }, base)).toEqual(inEnvironment)
  })

  test('settings that a source leaves out come from the source below, whatever the mixture', () => {
    // Without those of which the presence of one decides about another.
    const bound = /^(storage\.|tls\..+_file$|auth\.jwt_jwks_url$)/
    const plain = Object.entries(environmentPaths).filter(([, path]) => !bound.test(path))
    const subset = fc.subarray(plain)
    fc.assert(
      fc.property(subset, subset, (inFile, inEnvironment) => {
        const file: Record<string, Record<string, unknown>> = {}
        for (const [, path] of inFile) {
          const [section = '', key = ''] = path.split('.')
          file[section] = { ...file[section], [key]: (samples[path] ?? [11, 12])[0] }
        }
        const env = Object.fromEntries(
          inEnvironment.map(([name, path]) => [name, String((samples[path] ?? [11, 12])[1])]),
        )
        const config = load(env, file)
        for (const [name, path] of plain) {
          const [low, high] = samples[path] ?? [11, 12]
          const byDefault = valueAt(settings.parse({}), path.split('.'))
          const expected = name in env ? high : inFile.some(([, other]) => other === path) ? low : byDefault
          expect(valueAt(config, path.split('.'))).toEqual(expected)
        }
      }),
      { numRuns: 100 },
    )
  })
})

describe('environment text', () => {
  test.each([
    ['0', 0],
    ['8001', 8001],
    ['1e3', 1000],
    ['65535', 65535],
    ['80.0', 80],
  ])('the number %p is read as %p', (text, expected) => {
    expect(load({ SERVICE_PORT: text }).service.port).toBe(expected)
  })

  test.each([
    '1e3x',
    '0x10',
    'NaN',
    'Infinity',
    '1e999',
    '-1',
    '65536',
    ' 1',
    '1 ',
    '1_000',
    '1,0',
    '８',
    '.',
    '80.5',
    'true',
    '0b1',
    '+1',
  ])('the number %p is refused', (text) =>
    expect(() => load({ SERVICE_PORT: text })).toThrow(
      /SERVICE_PORT: expected a whole number from 0 to 65535/,
    ),
  )

  test('no text but a numeral is ever read as a number', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (text) => {
        fc.pre(!/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text))
        expect(() => load({ FLUSH_INTERVAL: text })).toThrow(/FLUSH_INTERVAL/)
      }),
    )
  })

  test.each([
    ['true', true],
    ['1', true],
    ['on', true],
    ['True', true],
    ['false', false],
    ['0', false],
    ['off', false],
  ])('the boolean %p is read as %p', (text, expected) => {
    expect(load({ MIGRATE_ON_START: text }).migrations.on_start).toBe(expected)
  })

  test.each(['yes', 'no', 'y', '2', 'truee', ' true', 'constructor'])('the boolean %p is refused', (text) => {
    expect(() => load({ MIGRATE_ON_START: text })).toThrow(/MIGRATE_ON_START: expected true or false/)
  })

  test('a value that looks like a number stays text where text is wanted', () => {
    const config = load({ DB_HOST: 'db', DB_PASSWORD: '0123', INSTANCE_ID: '7' })
    expect(config.service.instance_id).toBe('7')
    expect(valueAt(config, ['storage', 'backends', 'mysql', 'config', 'password'])).toBe('0123')
  })
})

test('the file of sqlite follows data_dir until it is set itself', () => {
  const pathOf = (env: Record<string, string>) => load(env).storage.backends.sqlite?.config
  expect(pathOf({ DATA_DIR: '/var/lib/p/' })).toEqual({ path: '/var/lib/p/persistence.sqlite' })
  expect(pathOf({ DATA_DIR: '/' })).toEqual({ path: '/persistence.sqlite' })
  expect(pathOf({ DATA_DIR: '/var/lib/p', SQLITE_PATH: 'x.db' })).toEqual({ path: 'x.db' })
})

test.each([
  '',
  '---',
  '# nothing',
  'buffer:',
  'storage:',
  'storage: { backends: }',
  'storage: { backends: { sqlite: { type: sqlite, config: } } }',
])('a file or a section left empty (%p) changes nothing', (file) => expect(load({}, file)).toEqual(load({})))

test('a byte order mark and Windows line ends are read over', () => {
  expect(load({}, '\uFEFFservice:\r\n  port: 7\r\n').service.port).toBe(7)
})
