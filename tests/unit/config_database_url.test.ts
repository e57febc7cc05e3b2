import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { ConfigError, loadConfig } from '../../src/config/mod.ts'
import { revealed } from '../support/revealed.ts'

function connection(env: Record<string, string>, backends?: object) {
  const file = backends && JSON.stringify({ storage: { backends } })
  const named = file === undefined ? env : { ...env, CONFIG_FILE: 'some.yaml' }
  const { mysql } = loadConfig({ env: named, collections: [], readFile: () => file ?? '' }).storage.backends
  return revealed(mysql?.config)
}

function faultsOf(env: Record<string, string>) {
  try {
    connection(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
  return []
}

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

test.each([
  ['mysql://db.example', { host: 'db.example' }],
  [
    'mysql://ann:pw@db:3307/texts',
    { host: 'db', port: 3307, user: 'ann', password: 'pw', database: 'texts' },
  ],
  [
    'mysql://a%40b:p%2Fw%3A%23%25@db/%E6%B8%B8%E6%88%8F',
    { host: 'db', user: 'a@b', password: 'p/w:#%', database: '游戏' },
  ],
  ['mysql://root@[::1]:3306/', { host: '::1' }],
  ['mysql://db/?ssl=true', { host: 'db', ssl: true }],
  ['mysql://:pw@db', { host: 'db', password: 'pw' }],
])('%s is read as DATABASE_URL', (url, expected) => {
  expect(connection({ DATABASE_URL: url })).toEqual({ ...mysqlDefaults, ...expected })
})

test('any user, password and database of a DATABASE_URL come back as they went in', () => {
  const part = fc
    .string({ minLength: 1, maxLength: 30, unit: 'grapheme' })
    .filter((text) => text.isWellFormed() && !/[\n\r\u2028\u2029/@]/.test(text))
  fc.assert(
    fc.property(part, part, part, (user, password, database) => {
      const [u, p, d] = [user, password, database].map(encodeURIComponent)
      fc.pre(!/^\.+$/.test(database))
      expect(connection({ DATABASE_URL: `mysql://${u}:${p}@db/${d}` })).toMatchObject({
        user,
        password,
        database,
      })
    }),
  )
})

test('parts that DATABASE_URL leaves out come from DB_*, then from the file', () => {
  const backends = { mysql: { type: 'mysql', config: { database: 'filed', user: 'filed', port: 1 } } }
  const env = { DATABASE_URL: 'mysql://db:2', DB_USER: 'envd' }
  expect(connection(env, backends)).toEqual({
    ...mysqlDefaults,
    host: 'db',
    port: 2,
    user: 'envd',
    database: 'filed',
  })
})

test('DB_* that say the same as DATABASE_URL are taken, those that contradict are all faults', () => {
  const DATABASE_URL = 'mysql://ann:pw@db:3306/texts'
  const same = {
    DB_HOST: 'db',
    DB_PORT: '3306',
    DB_USER: 'ann',
    DB_PASSWORD: 'pw',
    DB_DATABASE: 'texts',
    DB_POOL_SIZE: '3',
  }
  expect(connection({ DATABASE_URL, ...same })).toMatchObject({ host: 'db', pool_size: 3 })
  const other = { DB_HOST: 'x', DB_PORT: '1', DB_USER: 'x', DB_PASSWORD: 'x', DB_DATABASE: 'x' }
  const faults = faultsOf({ DATABASE_URL, ...other })
  expect(faults.map(({ key }) => key)).toEqual(Object.keys(other))
  for (const { expected } of faults) expect(expected).toBe('the same as in DATABASE_URL, or unset')
})

test.each([
  'postgres://u:p@db/x',
  'db:3306',
  'mysql:///x',
  'mysql://u:p@db:port/x',
  'mysql://u:p@db:99999/x',
  'mysql://u:%zz@db/x',
  'mysql://u:p#w@db/x',
  'mysql://u:1/w@db/x',
  'mysql://u:1/w@db',
  'mysql://db/a/b',
  'mysql://db/x?charset=latin1',
  'mysql://db:0',
  'nonsense',
])('%s as DATABASE_URL is a fault, and is not repeated', (url) => {
  expect(faultsOf({ DATABASE_URL: url })).toEqual([{ key: 'DATABASE_URL', expected: expect.any(String) }])
})
