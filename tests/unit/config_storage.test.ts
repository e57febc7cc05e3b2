import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { ConfigError, loadConfig } from '../../src/config/mod.ts'
import { revealed } from '../support/revealed.ts'

const today = ['translation_sessions', 'translation_tasks'].map((name) => ({ name, kind: 'records' }))

interface Given {
  env?: Record<string, string>
  backends?: object
  file?: string
  collections?: { name: string; kind: string }[]
  availableTypes?: string[]
}

function storageOf({ env = {}, backends, file, collections = today, availableTypes }: Given) {
  const content = file ?? (backends && JSON.stringify({ storage: { backends } }))
  const { storage } = loadConfig({
    env: content === undefined ? env : { ...env, CONFIG_FILE: 'some.yaml' },
    collections,
    readFile: () => content ?? '',
    ...(availableTypes && { availableTypes }),
  })
  return revealed(storage)
}

function faultsOf(given: Given) {
  try {
    storageOf(given)
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
  return []
}

const allOn = (backend: string) => ({ translation_sessions: backend, translation_tasks: backend })
const mysqlDefaults = {
  host: 'localhost',
  port: 3306,
  user: 'root',
  password: '',
  database: 'ai_terminal',
  pool_size: 10,
  connect_timeout: 5,
  statement_timeout: 30,
  ssl: false,
}

const documented = `
storage:
  backends:
    # MySQL 后端（翻译数据）
    mysql:
      type: "mysql"
      enabled: true
      config:
        host: "localhost"
        port: 3306
        database: "ai_terminal"
      data_types:
        - translation_sessions
        - translation_tasks

    # OSS 后端（文件存储）
    oss:
      type: "oss"
      enabled: false        # Phase 2 启用
      config:
        endpoint: "oss-cn-hangzhou.aliyuncs.com"
        bucket: "translation-files"
      data_types:
        - uploaded_files
        - translated_files

    # Redis 后端（缓存和会话）
    redis:
      type: "redis"
      enabled: false        # Phase 3 启用
      config:
        host: "localhost"
        port: 6379
        db: 0
      data_types:
        - user_sessions
        - hot_data_cache
`

test('the block of the requirements loads as printed', () => {
  expect(storageOf({ file: documented })).toEqual({
    backends: {
      sqlite: { type: 'sqlite', config: { path: './data/persistence.sqlite' } },
      mysql: { type: 'mysql', config: mysqlDefaults },
    },
    routes: allOn('mysql'),
  })
})

describe('routes', () => {
  const mysql = { type: 'mysql' }

  test('an enabled backend of the file holds the data_types that it lists and no others', () => {
    expect(storageOf({ backends: { mysql } }).routes).toEqual(allOn('sqlite'))
    expect(
      storageOf({ backends: { mysql: { ...mysql, data_types: ['translation_tasks'] } } }).routes,
    ).toEqual({
      translation_sessions: 'sqlite',
      translation_tasks: 'mysql',
    })
  })

  test('a disabled backend holds nothing', () => {
    const { backends, routes } = storageOf({
      backends: { mysql: { ...mysql, enabled: false, data_types: ['translation_tasks'] } },
    })
    expect(routes).toEqual(allOn('sqlite'))
    expect(Object.keys(backends)).toEqual(['sqlite'])
  })

  test.each<Record<string, string>>([{ DB_HOST: 'db' }, { DATABASE_URL: 'mysql://db' }])(
    '%p moves the whole column of mysql, as far as its collections exist, and nothing else',
    (env) => {
      const names = ['translation_tasks', 'users', 'file_metadata', 'user_sessions', 'audit_logs']
      const collections = names.map((name) => ({ name, kind: 'records' }))
      expect(storageOf({ env, collections }).routes).toEqual({
        translation_tasks: 'mysql',
        users: 'mysql',
        file_metadata: 'mysql',
        user_sessions: 'sqlite',
        audit_logs: 'sqlite',
      })
      expect(storageOf({ env, backends: { mysql: { ...mysql, enabled: false } } }).routes).toEqual(
        allOn('mysql'),
      )
    },
  )

  test('where the file lists data_types for mysql, that list stands and the environment changes the connection alone', () => {
    for (const enabled of [true, false]) {
      const backends = {
        mysql: { ...mysql, enabled, config: { host: 'a', user: 'ann' }, data_types: ['translation_tasks'] },
      }
      const storage = storageOf({ env: { DB_HOST: 'b', DB_PORT: '3307' }, backends })
      expect(storage.routes).toEqual({ translation_sessions: 'sqlite', translation_tasks: 'mysql' })
      expect(storage.backends.mysql?.config).toEqual({ ...mysqlDefaults, host: 'b', port: 3307, user: 'ann' })
    }
    expect(
      storageOf({ env: { DB_HOST: 'b' }, backends: { mysql: { ...mysql, data_types: [] } } }).routes,
    ).toEqual(allOn('sqlite'))
  })

  test('DB_* without DB_HOST complete a backend that the file switched on, and switch nothing on themselves', () => {
    const env = { DB_PASSWORD: 'x', DB_POOL_SIZE: '3' }
    expect(storageOf({ env, backends: { mysql } }).backends.mysql?.config).toEqual({
      ...mysqlDefaults,
      password: 'x',
      pool_size: 3,
    })
    for (const backends of [undefined, { mysql: { ...mysql, enabled: false } }]) {
      expect(Object.keys(storageOf({ env, ...(backends && { backends }) }).backends)).toEqual(['sqlite'])
    }
  })

  test('DB_* configure the only backend of type mysql whatever its name, and the one called mysql among several', () => {
    const data_types = ['translation_tasks']
    const one = storageOf({ env: { DB_HOST: 'b' }, backends: { main: { ...mysql, data_types } } })
    expect(Object.keys(one.backends).toSorted()).toEqual(['main', 'sqlite'])
    expect(one.backends.main?.config).toEqual({ ...mysqlDefaults, host: 'b' })
    const two = storageOf({ env: { DB_USER: 'u' }, backends: { mysql, other: mysql } })
    expect(two.backends.mysql?.config).toEqual({ ...mysqlDefaults, user: 'u' })
    expect(two.backends.other?.config).toEqual(mysqlDefaults)
  })

  test('sqlite may be configured in the file', () => {
    const { backends, routes } = storageOf({
      backends: { sqlite: { type: 'sqlite', config: { path: '/x.db' } } },
    })
    expect(backends).toEqual({ sqlite: { type: 'sqlite', config: { path: '/x.db' } } })
    expect(routes).toEqual(allOn('sqlite'))
  })

  test('every collection has exactly one route, to a backend that is on', () => {
    const names = ['translation_sessions', 'translation_tasks', 'users', 'user_preferences', 'audit_logs']
    const collections = names.map((name) => ({ name, kind: 'records' }))
    const entry = fc.record(
      {
        type: fc.constantFrom('mysql', 'sqlite', 'redis'),
        enabled: fc.boolean(),
        data_types: fc.subarray(names),
      },
      { requiredKeys: ['type'] },
    )
    const backends = fc.dictionary(fc.constantFrom('mysql', 'a', 'b', 'c'), entry)
    fc.assert(
      fc.property(backends, fc.boolean(), (given, byEnvironment) => {
        const on = Object.entries(given).filter(
          ([name, { enabled }]) => enabled !== false || (byEnvironment && name === 'mysql'),
        )
        const listed = on.flatMap(([, { data_types = [] }]) => data_types)
        const input = { backends: given, collections, env: byEnvironment ? { DB_HOST: 'db' } : {} }
        const clash = new Set(listed).size < listed.length || on.some(([, { type }]) => type === 'redis')
        if (clash) expect(faultsOf(input)).not.toEqual([])
        if (faultsOf(input).length > 0) return
        const storage = storageOf(input)
        expect(Object.keys(storage.routes).toSorted()).toEqual(names.toSorted())
        for (const backend of Object.values(storage.routes))
          expect(storage.backends).toHaveProperty([backend])
        for (const [name, { data_types = [] }] of on)
          for (const each of data_types) expect(storage.routes[each]).toBe(name)
      }),
    )
  })
})

describe('a routing that can’t work is a fault', () => {
  const mysql = { type: 'mysql' }
  test.each<[string, Given, string, RegExp]>([
    [
      'a collection in two enabled backends',
      {
        backends: {
          mysql: { ...mysql, data_types: ['translation_tasks'] },
          b: { type: 'sqlite', data_types: ['translation_tasks'] },
        },
      },
      'storage.backends.b.data_types[0]',
      /backends\.mysql lists it too/,
    ],
    [
      'a collection twice in one',
      { backends: { mysql: { ...mysql, data_types: ['translation_tasks', 'translation_tasks'] } } },
      'storage.backends.mysql.data_types[1]',
      /once/,
    ],
    [
      'a collection that does not exist',
      { backends: { mysql: { ...mysql, data_types: ['tasks'] } } },
      'storage.backends.mysql.data_types[0]',
      /^one of translation_sessions, translation_tasks$/,
    ],
    [
      'a type that is not available',
      { backends: { redis: { type: 'redis', config: { db: 0 } } } },
      'storage.backends.redis.type',
      /available here \(sqlite, mysql\), or enabled: false/,
    ],
    [
      'mysql where there is none',
      { backends: { mysql }, availableTypes: ['sqlite'] },
      'storage.backends.mysql.type',
      /available here \(sqlite\)/,
    ],
    [
      'DB_HOST where there is no mysql',
      { env: { DB_HOST: 'db' }, availableTypes: ['sqlite'] },
      'DB_HOST',
      /backends available here are sqlite/,
    ],
    [
      'sqlite switched off',
      { backends: { sqlite: { type: 'sqlite', enabled: false } } },
      'storage.backends.sqlite.enabled',
      /^true/,
    ],
    [
      'another type under the name of sqlite',
      { backends: { sqlite: mysql } },
      'storage.backends.sqlite.type',
      /^sqlite/,
    ],
    [
      'DB_* for an entry of another type',
      { env: { DB_PORT: '1' }, backends: { mysql: { type: 'sqlite' } } },
      'storage.backends.mysql.type',
      /since DB_PORT configures it/,
    ],
    [
      'DB_HOST for an entry of another type',
      { env: { DB_HOST: 'x' }, backends: { mysql: { type: 'oss', enabled: false } } },
      'storage.backends.mysql.type',
      /since DB_HOST configures it/,
    ],
    [
      'DB_HOST moving what another backend lists',
      { env: { DB_HOST: 'db' }, backends: { sqlite: { type: 'sqlite', data_types: ['translation_tasks'] } } },
      'DB_HOST',
      /backends\.mysql\.data_types in the file, since storage\.backends\.sqlite lists translation_tasks/,
    ],
    [
      'a kind that no backend holds by default',
      { collections: [{ name: 'uploaded_files', kind: 'blobs' }] },
      'storage.backends',
      /lists uploaded_files/,
    ],
    [
      'a disabled entry with a sloppy connection that DB_HOST switches on',
      { env: { DB_HOST: 'db' }, backends: { mysql: { ...mysql, enabled: false, config: { pot: 1 } } } },
      'storage.backends.mysql.config.pot',
      /a known key/,
    ],
  ])('%s', (_, given, key, expected) => {
    expect(faultsOf(given)).toEqual([
      expect.objectContaining({ key, expected: expect.stringMatching(expected) }),
    ])
  })

  test('a disabled entry is held to its form alone', () => {
    const later = {
      type: 'elasticsearch',
      enabled: false,
      config: { anything: [{ goes: true }] },
      data_types: ['audit_logs'],
    }
    expect(
      faultsOf({ backends: { later, mysql: { type: 'mysql', enabled: false, config: { port: 'x' } } } }),
    ).toEqual([])
  })
})
