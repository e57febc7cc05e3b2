import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { ConfigError, type Fault, loadConfig, redactConfig } from '../../src/config/mod.ts'

const collections = [
  { name: 'translation_sessions', kind: 'records' },
  { name: 'translation_tasks', kind: 'records' },
]

function load(env: Record<string, string>, file?: string) {
  return loadConfig({
    env: file === undefined ? env : { ...env, CONFIG_FILE: 'some.yaml' },
    collections,
    readFile: () => file ?? '',
  })
}

function refusal(env: Record<string, string>, file?: string): ConfigError {
  try {
    load(env, file)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('expected the configuration to be refused')
}

const faultsOf = (env: Record<string, string>, file?: string): readonly Fault[] => refusal(env, file).faults
const keysOf = (env: Record<string, string>, file?: string) => faultsOf(env, file).map(({ key }) => key)

test('all faults of file, environment, order and routing are reported at once, one line each, by the key that was written', () => {
  const file = `
service: { port: "8001", hots: x }
bufer: {}
buffer: { max_batch_rows: 100 }
retention: { completed_days: 0 }
storage:
  backends:
    mysql:
      type: mysql
      config: { port: 0, pool: 3 }
      data_types: [translation_tasks, nothing_such]
    other:
      type: sqlite
      data_types: [translation_tasks]
    cache: { type: redis }
`
  const env = {
    LOG_LEVEL: 'loud',
    FLUSH_INTERVAL: '0',
    DB_PORT: 'x',
    DB_PASSWORD: 'hunter2',
    MAX_BUFFER_SIZE: '300000',
  }
  const { faults, message } = refusal(env, file)
  expect(faults).toEqual([
    { key: 'service.port', expected: 'a whole number from 0 to 65535', got: '"8001"' },
    { key: 'service.hots', expected: expect.stringContaining('a known key (host, port,') },
    { key: 'retention.completed_days', expected: 'a whole number from 1 to 36500', got: '0' },
    {
      key: 'bufer',
      expected: expect.stringContaining('a known key (service, tls, auth, rate_limit, buffer,'),
    },
    { key: 'storage.backends.mysql.config.port', expected: 'a whole number from 1 to 65535', got: '0' },
    { key: 'storage.backends.mysql.config.pool', expected: expect.stringContaining('pool_size') },
    { key: 'LOG_LEVEL', expected: 'one of debug, info, warn, error', got: '"loud"' },
    { key: 'FLUSH_INTERVAL', expected: 'a number of seconds from 0.001 to 86400', got: '0' },
    { key: 'DB_PORT', expected: 'a whole number from 1 to 65535', got: '"x"' },
    {
      key: 'buffer.max_batch_rows',
      expected: 'at least the default of buffer.min_batch_rows (500)',
      got: '100',
    },
    { key: 'MAX_BUFFER_SIZE', expected: 'at most the default of buffer.max_rows (200000)', got: '300000' },
    {
      key: 'storage.backends.cache.type',
      expected: 'a type available here (sqlite, mysql), or enabled: false',
      got: '"redis"',
    },
    {
      key: 'storage.backends.mysql.data_types[1]',
      expected: 'one of translation_sessions, translation_tasks',
      got: '"nothing_such"',
    },
    {
      key: 'storage.backends.other.data_types[0]',
      expected: 'each collection once (storage.backends.mysql lists it too)',
      got: 'translation_tasks',
    },
  ])
  const lines = message.split('\n')
  expect(lines).toHaveLength(faults.length + 1)
  for (const [index, { key }] of faults.entries()) expect(lines[index + 1]).toStartWith(`${key}: expected `)
})

describe('the file', () => {
  test.each<[string, string, Fault]>([
    [
      'an unknown key',
      'service: { prot: 1 }',
      { key: 'service.prot', expected: expect.stringContaining('a known key') },
    ],
    ['an unknown key at the top', 'a: 1', { key: 'a', expected: expect.stringContaining('a known key') }],
    [
      'a key called __proto__',
      '__proto__: { x: 1 }',
      { key: '__proto__', expected: expect.stringContaining('a known key') },
    ],
    [
      'a backend called __proto__',
      'storage: { backends: { __proto__: { type: sqlite } } }',
      { key: 'storage.backends.__proto__', expected: expect.stringContaining('a name of 1 to 64') },
    ],
    [
      'text for a number',
      'buffer: { max_rows: "9" }',
      { key: 'buffer.max_rows', expected: 'a whole number from 1 to 100000000', got: '"9"' },
    ],
    [
      'a number for text',
      'service: { host: 1 }',
      { key: 'service.host', expected: expect.stringContaining('a host name'), got: '1' },
    ],
    [
      'yes for true',
      'retention: { enabled: yes }',
      { key: 'retention.enabled', expected: 'true or false', got: '"yes"' },
    ],
    [
      'null for a number',
      'service: { port: }',
      { key: 'service.port', expected: expect.stringContaining('a whole number'), got: 'null' },
    ],
    [
      'not a number',
      'buffer: { max_rows: .nan }',
      { key: 'buffer.max_rows', expected: expect.stringContaining('a whole number'), got: 'NaN' },
    ],
    ['a list for a section', 'service: []', { key: 'service', expected: 'a map', got: 'a list' }],
    [
      'text for the backends',
      'storage: { backends: mysql }',
      { key: 'storage.backends', expected: 'a map of backends', got: 'a string' },
    ],
    [
      'a backend without a type',
      'storage: { backends: { x: {} } }',
      { key: 'storage.backends.x.type', expected: expect.stringContaining('one of sqlite'), got: 'nothing' },
    ],
    [
      'a type that nobody knows',
      'storage: { backends: { x: { type: oracle, enabled: false } } }',
      { key: 'storage.backends.x.type', expected: expect.stringContaining('one of sqlite'), got: '"oracle"' },
    ],
    [
      'a list of no collections',
      'storage: { backends: { x: { type: s3, enabled: false, data_types: [1] } } }',
      { key: 'storage.backends.x.data_types[0]', expected: 'the name of a collection', got: '1' },
    ],
    [
      'data_types that are no list',
      'storage: { backends: { mysql: { type: mysql, data_types: users } } }',
      { key: 'storage.backends.mysql.data_types', expected: 'a list of collections', got: 'a string' },
    ],
    [
      'a number as password',
      'storage: { backends: { mysql: { type: mysql, config: { password: 12345 } } } }',
      { key: 'storage.backends.mysql.config.password', expected: 'text (a number in quotes)' },
    ],
    [
      'a name unfit for a metric',
      'storage: { backends: { my.sql: { type: mysql } } }',
      { key: 'storage.backends.my.sql', expected: expect.stringContaining('a name of 1 to 64') },
    ],
    ['a list', '- 1', { key: 'CONFIG_FILE', expected: 'a map of sections', got: 'a list' }],
    ['text', 'hello', { key: 'CONFIG_FILE', expected: 'a map of sections', got: 'a string' }],
    [
      'a duplicate key',
      'service:\n  port: 1\n  host: a\n  port: 2\n',
      { key: 'service.port', expected: 'a key given once', got: 'it again at line 4, column 3' },
    ],
    [
      'a duplicate section',
      'service: {}\nservice: {}',
      { key: 'service', expected: 'a key given once', got: 'it again at line 2, column 1' },
    ],
    [
      'a tab',
      'service:\n\tport: 1',
      {
        key: 'CONFIG_FILE',
        expected: 'valid YAML',
        got: expect.stringMatching(/^[a-z ]+ at line 2, column 1$/),
      },
    ],
    [
      'a tag of its own',
      'service: { host: !env HOST }',
      { key: 'CONFIG_FILE', expected: 'valid YAML', got: 'tag resolve failed at line 1, column 18' },
    ],
    [
      'two documents',
      'service: {}\n---\nbuffer: {}',
      { key: 'CONFIG_FILE', expected: 'valid YAML', got: 'multiple docs at line 2, column 1' },
    ],
    [
      'an alias without anchor',
      'service: { host: *x }',
      { key: 'CONFIG_FILE', expected: 'a map of sections', got: 'an alias that leads nowhere or too far' },
    ],
  ])('%s is a fault', (_, file, expected) => {
    expect(faultsOf({}, file)[0]).toEqual(expected)
  })

  test('aliases that multiply without end are a fault', () => {
    const levels = Array.from(
      { length: 9 },
      (_, n) => `a${n + 1}: &a${n + 1} [${Array(9).fill(`*a${n}`).join(', ')}]`,
    )
    expect(keysOf({}, `a0: &a0 x\n${levels.join('\n')}`)).toEqual(['CONFIG_FILE'])
  })

  test('that can’t be read is a fault, together with those of the environment', () => {
    const readFile = () => {
      throw new Error('ENOENT: no such file or directory')
    }
    const env = { CONFIG_FILE: 'gone.yaml', SERVICE_PORT: 'x' }
    expect(() => loadConfig({ env, collections, readFile })).toThrow(
      'CONFIG_FILE: expected a file that can be read, got "gone.yaml" (ENOENT: no such file or directory)\nSERVICE_PORT: ',
    )
  })

  test('a wrong value is a fault even where the environment overrides it', () => {
    expect(keysOf({ SERVICE_PORT: '1' }, 'service: { port: x }')).toEqual(['service.port'])
  })

  test('syntax faults leave no room for guesses: nothing else is held against what could not be read', () => {
    expect(keysOf({ MAX_BUFFER_SIZE: '300000' }, 'buffer: { max_rows: 400000')).toEqual(['CONFIG_FILE'])
  })
})

test.each<[string, Record<string, string>]>([
  ['SERVICE_HOST', { SERVICE_HOST: 'http://x' }],
  ['SERVICE_HOST', { SERVICE_HOST: 'localhost:8001' }],
  ['INSTANCE_ID', { INSTANCE_ID: 'a b' }],
  ['INSTANCE_ID', { INSTANCE_ID: 'x'.repeat(65) }],
  ['INSTANCE_ID', { INSTANCE_ID: 'a/b' }],
  ['INSTANCE_ID', { INSTANCE_ID: 'a\n' }],
  ['DATA_DIR', { DATA_DIR: 'a\0b' }],
  ['LOG_LEVEL', { LOG_LEVEL: 'INFO' }],
  ['DRAIN_GRACE', { DRAIN_GRACE: '-0.1' }],
  ['MAX_BODY_BYTES', { MAX_BODY_BYTES: '1.5' }],
  ['DELETE_MODE', { DELETE_MODE: 'maybe' }],
  ['DB_HOST', { DB_HOST: '/var/run/mysqld.sock' }],
  ['DB_HOST', { DB_HOST: 'root:hunter2@db' }],
  ['DB_POOL_SIZE', { DB_HOST: 'db', DB_POOL_SIZE: '0' }],
  ['DB_POOL_SIZE', { DB_POOL_SIZE: '0' }],
  ['DB_DATABASE', { DB_HOST: 'db', DB_DATABASE: 'x'.repeat(65) }],
  ['BUFFER_MIN_BATCH_ROWS', { BUFFER_MIN_BATCH_ROWS: '5001' }],
  ['BUFFER_MAX_BATCH_ROWS', { BUFFER_MAX_BATCH_ROWS: '499' }],
  ['BUFFER_MIN_BATCH_ROWS', { BUFFER_MIN_BATCH_ROWS: '20', BUFFER_MAX_BATCH_ROWS: '10' }],
  ['BUFFER_MAX_ROWS', { BUFFER_MAX_ROWS: '999' }],
  ['BUFFER_MAX_ROWS', { BUFFER_MAX_ROWS: '-5' }],
  ['BUFFER_MAX_BYTES', { BUFFER_MAX_BYTES: '16777215' }],
  ['BUFFER_SLOW_FLUSH_MS', { BUFFER_SLOW_FLUSH_MS: '500' }],
  ['BUFFER_FAST_FLUSH_MS', { BUFFER_FAST_FLUSH_MS: '2000' }],
  ['CLIENT_TIMEOUT', { CLIENT_TIMEOUT: '241' }],
  ['TRUSTED_PROXIES', { TRUSTED_PROXIES: 'proxy.example' }],
  ['TRUSTED_PROXIES', { TRUSTED_PROXIES: '10.0.0.0/8, 10.0.0.0/33' }],
  ['TRUSTED_PROXIES', { TRUSTED_PROXIES: '10.0.0.0/8,' }],
  ['TRUSTED_PROXIES', { TRUSTED_PROXIES: '10/8' }],
  ['TRUSTED_PROXIES', { TRUSTED_PROXIES: '010.0.0.1' }],
  ['CORS_ORIGINS', { CORS_ORIGINS: 'app.example' }],
  ['CORS_ORIGINS', { CORS_ORIGINS: 'https://app.example/' }],
  ['CORS_ORIGINS', { CORS_ORIGINS: 'https://app.example, null' }],
  ['CORS_ORIGINS', { CORS_ORIGINS: 'https://*.example' }],
  ['CORS_ORIGINS', { CORS_ORIGINS: 'https://app.example:99999' }],
  ['TLS_MIN_VERSION', { TLS_MIN_VERSION: '1.1' }],
  ['JWT_SECRET', { JWT_SECRET: 's'.repeat(31) }],
  ['JWT_SECRET', { JWT_SECRET: 's'.repeat(1025) }],
  ['JWT_JWKS_URL', { JWT_JWKS_URL: 'file:///etc/keys.json' }],
  ['JWT_JWKS_URL', { JWT_JWKS_URL: 'https://user:pw@id.example/keys' }],
  ['JWT_JWKS_URL', { JWT_JWKS_URL: 'http://[' }],
  ['JWT_JWKS_URL', { JWT_JWKS_URL: 'https://id.example/keys', JWT_SECRET: 's'.repeat(32) }],
  ['JWT_ISSUER', { JWT_ISSUER: ' ' }],
  ['JWT_AUDIENCE', { JWT_AUDIENCE: ' ' }],
  ['JWT_CLOCK_TOLERANCE', { JWT_CLOCK_TOLERANCE: '601' }],
  ['API_KEYS', { API_KEYS: ' ' }],
  ['RATE_LIMIT', { RATE_LIMIT: 'maybe' }],
  ['RATE_LIMIT_PER_ADDRESS', { RATE_LIMIT_PER_ADDRESS: '0' }],
  ['RATE_LIMIT_PER_KEY', { RATE_LIMIT_PER_KEY: '1.5' }],
  ['RATE_LIMIT_PER_SESSION', { RATE_LIMIT_PER_SESSION: '-1' }],
])('%s alone is at fault in %p', (key, env) => {
  expect(keysOf(env)).toEqual([key])
})

test('two settings of which one is nothing without the other are a fault of the one that is missing', () => {
  expect(faultsOf({ TLS_CERT_FILE: 'c.pem' })).toEqual([
    { key: 'tls.key_file', expected: 'a value, as TLS_CERT_FILE has one' },
  ])
  expect(faultsOf({}, 'tls: { key_file: k.pem }')).toEqual([
    { key: 'tls.cert_file', expected: 'a value, as tls.key_file has one' },
  ])
  expect(load({ TLS_CERT_FILE: 'c.pem' }, 'tls: { key_file: k.pem }').tls).toMatchObject({
    cert_file: 'c.pem',
    key_file: 'k.pem',
  })
})

test('two settings of which only one may be there are a fault, whichever source each is from', () => {
  const secret = 's'.repeat(32)
  expect(faultsOf({ JWT_SECRET: secret }, 'auth: { jwt_jwks_url: "https://id.example/keys" }')).toEqual([
    { key: 'auth.jwt_jwks_url', expected: 'nothing, as JWT_SECRET is set' },
  ])
})

test('settings at the edge of their order are taken', () => {
  const env = {
    BUFFER_MIN_BATCH_ROWS: '5000',
    BUFFER_MAX_ROWS: '1000',
    BUFFER_MAX_BYTES: '16777216',
    BUFFER_FAST_FLUSH_MS: '1999',
  }
  expect(load(env).buffer).toMatchObject({
    min_batch_rows: 5000,
    max_rows: 1000,
    max_bytes: 16777216,
    fast_flush_ms: 1999,
  })
})

describe('secrets', () => {
  const secret = fc.string({ minLength: 8, maxLength: 24, unit: 'grapheme' }).map((text) => `s3cr3t${text}`)
  const broken = { SERVICE_PORT: 'x', LOG_LEVEL: 'y', DB_PORT: 'z', MAX_BUFFER_SIZE: '300000' }

  test('never stand in a fault, whatever else is wrong', () => {
    fc.assert(
      fc.property(secret, (password) => {
        const url = `mysql://root:${encodeURIComponent(password)}@db:1/x`
        const inFile = (config: object) =>
          JSON.stringify({ storage: { backends: { mysql: { type: 'mysql', config } } } })
        const attempts: [Record<string, string>, string?][] = [
          [{ ...broken, DB_HOST: 'db', DB_PASSWORD: password }],
          [{ ...broken, DATABASE_URL: url }],
          [{ ...broken, DATABASE_URL: url.replace('mysql', 'postgres') }],
          [{ ...broken, DATABASE_URL: `mysql://root:${password}@db/` }],
          [{ DATABASE_URL: url, DB_PASSWORD: `${password}x` }],
          [{ ...broken, API_KEYS: password }],
          [{ ...broken, API_KEYS: `name;${password} admin` }],
          [{ ...broken, JWT_SECRET: password }],
          [{ JWT_SECRET: 's3cr3t' }],
          [{ JWT_SECRET: 's3cr3t'.repeat(9), JWT_JWKS_URL: 'https://id.example/keys' }],
          [{ JWT_JWKS_URL: `https://user:${password}@id.example/keys` }],
          [{ JWT_JWKS_URL: `ftp://id.example/keys?token=${password}` }],
          [{ CORS_ORIGINS: `https://user:${password}@app.example` }],
          [{}, JSON.stringify({ auth: password })],
          [{}, JSON.stringify({ auth: { api_keys: [password] } })],
          [{}, JSON.stringify({ auth: { api_keys: { name: password } } })],
          [{}, JSON.stringify({ auth: { jwt_secret: [password] } })],
          [{}, JSON.stringify({ auth: { jwt_secret: 's3cr3t' } })],
          [{}, JSON.stringify({ auth: { secret: password } })],
          [{ ...broken, DB_HOST: `root:${password}@db` }],
          [{}, inFile({ password: [password] })],
          [{}, inFile({ pasword: password })],
          [{}, inFile({ [`password:${password}!`]: null })],
          [{}, inFile({ host: `root:${password}@db` })],
          [{}, JSON.stringify({ storage: { backends: { mysql: url } } })],
          [{}, JSON.stringify({ storage: url })],
          [
            {},
            `storage: { backends: { mysql: { config: { password: ${JSON.stringify(password)}, password: x } } } }`,
          ],
        ]
        for (const [env, file] of attempts) {
          const error = refusal(env, file)
          expect(`${error.message} ${JSON.stringify(error.faults)} ${error.stack}`).not.toContain('s3cr3t')
        }
      }),
      { numRuns: 50 },
    )
  })

  test.each([
    'password: |s3cr3t',
    'password: "s3cr3t',
    'password: [s3cr3t',
    'password: "\\s3cr3t"',
    'password: *s3cr3t',
    'password: !s3cr3t x',
    'password: @s3cr3t',
    'a: b: s3cr3t',
    '%s3cr3t\n---',
    's3cr3t',
  ])('a syntax fault does not quote the line %p', (line) =>
    expect(refusal({}, line).message).not.toContain('s3cr3t'),
  )

  test('are hidden by redactConfig, and nothing else is', () => {
    fc.assert(
      fc.property(secret, (password) => {
        const config = load({ DB_HOST: 'db.example', DB_PASSWORD: password })
        const redacted = redactConfig(config)
        expect(JSON.stringify(redacted)).not.toContain('s3cr3t')
        const mysql = config.storage.backends.mysql
        if (mysql?.type !== 'mysql') throw new Error('mysql is not on')
        expect(mysql.config.password.reveal()).toBe(password)
        const shown = { type: 'mysql' as const, config: { ...mysql.config, password: '***' } }
        const backends = { ...config.storage.backends, mysql: shown }
        expect(redacted).toEqual({ ...config, storage: { ...config.storage, backends } })
      }),
      { numRuns: 20 },
    )
  })

  test('are hidden by redactConfig even when empty, and within a URL', () => {
    const config = load({
      DB_HOST: 'db',
      SQLITE_PATH: 'file://user:s3cr3t@host/x.db',
      JWT_JWKS_URL: 'https://id.example/keys?token=s3cr3t',
    })
    const redacted = JSON.stringify(redactConfig(config))
    expect(redacted).toContain('"password":"***"')
    expect(redacted).toContain('"file://***@host/x.db"')
    expect(redacted).toContain('"https://id.example/keys?***"')
  })
})
