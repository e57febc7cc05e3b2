/**
 * Full runs with secrets and texts of a game planted in them: no log line, metric, error, header, nor the spec or the
 * configuration repeats any of them, and the texts stand only in the answers that are for them.
 */
import { Database } from 'bun:sqlite'
import { expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { hashOf } from '../../src/auth/key_line.ts'
import { type FreshDatabase, type SqlServer, sqlServers } from '../support/backends.ts'
import {
  type GameTexts,
  gameItems,
  operationsOf,
  rightRequests,
  wrongRequests,
} from '../support/every_route.ts'
import { type LeakWatch, watchLeaks } from '../support/leak_watch.ts'
import { findPlanted, type Planted, plantAround, plantGameText, plantWord } from '../support/planted.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { runService, type Service } from '../support/service.ts'
import { secretKey, tokenOf } from '../support/tokens.ts'
import { BASE } from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

const RUN_TIMEOUT_MS = 120_000
const CONFIG_FAULT = 78
const ROWS_LEFT = 75
const LIST = `${BASE}/sessions`

const texts = {
  filename: plantAround('file name', (word) => `${word} 'Saga' 第一章.xlsx`),
  game: plantWord('name of the game'),
  metadata: plantGameText('metadata'),
  sheet: plantAround('sheet', (word) => `${word} "Dialogue"`),
  source: plantGameText('source text'),
  target: plantGameText('target text'),
  context: plantGameText('context'),
  error: plantGameText('error message'),
} satisfies Record<keyof GameTexts, Planted>
const gameTexts = Object.fromEntries(
  Object.entries(texts).map(([name, { text }]) => [name, text]),
) as unknown as GameTexts

/** Answers that are for the texts; those of writes tell why a row of theirs was refused. */
const SHOWS_TEXTS = new Set([
  'listSessions',
  'getSession',
  'setSessionStatus',
  'undeleteSession',
  'listSessionTasks',
  'listTasks',
  'getTask',
  'listIncompleteSessions',
  'restoreSession',
  'listDeadLetters',
  'writeTasks',
])

const password = (name: string) => plantAround(name, (word) => `p@:/#% ${word}`)
const secrets = {
  key: plantWord('API key'),
  hashedKey: plantWord('API key of a hash'),
  wrongKey: plantWord('wrong API key'),
  jwtSecret: plantWord('JWT secret'),
  wrongJwtSecret: plantWord('wrong JWT secret'),
  password: password('password'),
  wrongPassword: password('wrong password'),
}
const hash = hashOf(secrets.hashedKey.text)

const env = {
  LOG_LEVEL: 'debug',
  DELETE_MODE: 'soft',
  SHUTDOWN_TIMEOUT: '2',
  CORS_ORIGINS: 'https://app.example',
  TRUSTED_PROXIES: '192.0.2.0/24',
  API_KEYS: `admin ${secrets.key.text} *:admin; reader sha256:${hash} translation:read`,
  JWT_SECRET: secrets.jwtSecret.text,
}

function watch(service: Service): LeakWatch {
  return watchLeaks({
    url: service.url,
    secrets: [...Object.values(secrets), { name: 'hash of a key', text: hash, cores: [hash] }],
    texts: Object.values(texts),
    shownBy: SHOWS_TEXTS,
    credential: { 'x-api-key': secrets.key.text },
  })
}

/** Every route: rightly, and then wrongly in all kinds of ways. */
async function driveRoutes(on: LeakWatch): Promise<void> {
  const right = rightRequests(gameTexts)
  for (const request of right) await on.send(request)
  const spec = await on.send(right.find(({ operationId }) => operationId === 'getSpec')!)
  const operations = operationsOf(spec.body as Parameters<typeof operationsOf>[0])
  expect([...on.statuses.keys()].toSorted()).toEqual(
    operations.map(({ operationId }) => operationId).toSorted(),
  )
  const failed = [...on.statuses].filter(([, seen]) => [...seen].some((status) => status >= 300))
  expect(failed.map(([operationId]) => operationId)).toEqual(['forgetInstance'])
  for (const operation of operations) {
    const own = right.find(({ operationId }) => operationId === operation.operationId)!
    for (const request of wrongRequests(operation, own, texts.source.text)) await on.send(request)
  }
  for (const seen of on.statuses.values()) expect(Math.max(...seen)).toBeGreaterThanOrEqual(400)
}

/** Credentials, good and bad, where they belong and where they don't. */
async function driveCredentials(on: LeakWatch): Promise<void> {
  const signed = (secret: Planted, claims = {}) =>
    tokenOf(secretKey(secret.text), { scope: '*:read', ...claims })
  const [good, forged] = [await signed(secrets.jwtSecret), await signed(secrets.wrongJwtSecret)]
  const expired = await signed(secrets.jwtSecret, { exp: 1 })
  for (const [name, token] of Object.entries({ good, forged, expired })) {
    on.hide({ name: `${name} token`, text: token, cores: token.split('.').slice(1) })
  }
  const wrong = secrets.wrongKey.text
  const basic = Buffer.from(`root:${secrets.wrongPassword.text}`).toString('base64')
  const tries: [what: string, status: number, credential: Record<string, string>, path?: string][] = [
    ['a key of which the hash is known', 200, { 'x-api-key': secrets.hashedKey.text }],
    ['a key without the scope', 403, { 'x-api-key': secrets.hashedKey.text }, '/api/v1/system/config'],
    ['an unknown key', 401, { 'x-api-key': wrong }],
    ['a hash in the place of its key', 401, { 'x-api-key': `sha256:${hash}` }],
    ['a key in the query', 400, {}, `${LIST}?api_key=${wrong}`],
    ['a token', 200, { authorization: `Bearer ${good}` }],
    ['a forged token', 401, { authorization: `Bearer ${forged}` }],
    ['an expired token', 401, { authorization: `Bearer ${expired}` }],
    ['a key as token', 401, { authorization: `Bearer ${wrong}` }],
    ['two tokens', 400, { authorization: `Bearer ${good} ${forged}` }],
    ['a token in the query', 400, {}, `${LIST}?access_token=${forged}`],
    ['a password', 400, { authorization: `Basic ${basic}` }],
    ['two credentials', 400, { 'x-api-key': wrong, authorization: `Bearer ${good}` }],
  ]
  for (const [what, status, credential, path = LIST] of tries) {
    const answer = await on.send({ operationId: 'listSessions', what, method: 'GET', path }, credential)
    expect([what, answer.status]).toEqual([what, status])
  }
}

/** The store as a test can harm it. */
interface Store {
  run(statement: string): Promise<unknown>
  /** Makes it refuse the task `refused`, and the session `unmarked`, with the row in the words of its error. */
  refuseRows(): Promise<void>
  /** Makes a flush of the task `stuck` alone fail, in words that quote it. Not where there are no such failures. */
  failOnRow?(): Promise<void>
}

/** Rows that the store refuses, a store that fails, and the answers and lines that come of it. */
async function driveFailures(on: LeakWatch, store: Store): Promise<void> {
  const { kept } = gameItems(gameTexts)
  const send = (operationId: string, what: string, method: string, path: string, body?: unknown) =>
    on.send({ operationId, what, method, path, body })
  const task = (task_id: string) => ({ ...kept.task, session_id: 'unmarked', task_id })
  const write = (what: string, ids: string[], query = '') =>
    send('writeTasks', what, 'POST', `${BASE}/tasks/batch${query}`, { tasks: ids.map(task) })
  const flush = (what: string) => send('flush', what, 'POST', `${BASE}/flush`)

  await send('writeSessions', 'another', 'POST', `${LIST}/batch`, {
    sessions: [{ ...kept.session, session_id: 'unmarked' }],
  })
  await flush('all')
  await store.refuseRows()
  const waited = await write('a row is refused', ['fine', 'refused'], '?wait=true')
  expect(waited.body).toMatchObject({ outcomes: [{ outcome: 'stored' }, { outcome: 'refused' }] })
  expect(waited.text).toContain(texts.source.cores[0]!)
  const letters = await send('listDeadLetters', 'refused', 'GET', '/api/v1/system/dead-letters')
  expect(letters.body).toMatchObject({ total: 1, items: [{ key: { task_id: 'refused' } }] })
  const letter = (what: 'replay' | 'purge') =>
    send(`${what}DeadLetters`, what, 'POST', `/api/v1/system/dead-letters/${what}`, {})
  expect((await letter('replay')).body).toMatchObject({ matched: 1, refused: 1 })
  // Damaged: what can't be parsed is quoted by who tried to.
  await store.run(`UPDATE dead_letters SET record = '${texts.source.cores[0]}'`)
  const damaged = await send('listDeadLetters', 'damaged', 'GET', '/api/v1/system/dead-letters')
  expect(damaged.status).toBe(500)
  expect((await letter('purge')).body).toMatchObject({ matched: 1 })
  const unmarked = await send('deleteSession', 'the mark is refused', 'DELETE', `${LIST}/unmarked`)
  expect(unmarked.status).toBe(500)

  if (store.failOnRow) {
    await store.failOnRow()
    await write('a row that fails', ['stuck'])
    expect((await flush('a row fails')).status).toBe(503)
  }
  await store.run('ALTER TABLE translation_tasks RENAME TO gone')
  await write('no table', ['left'])
  expect((await flush('no table')).status).toBe(503)
  for (const request of rightRequests(gameTexts)) {
    if (request.operationId.includes('Task')) await on.send({ ...request, what: 'no table' })
  }
}

/** The run's end, with rows left; then everything that it printed. */
async function end(on: LeakWatch, service: Service): Promise<void> {
  for (const request of rightRequests(gameTexts).filter(({ path }) => /health|metrics|config/.test(path))) {
    await on.send({ ...request, what: 'at the end' })
  }
  const commandLine = `/proc/${service.pid}/cmdline`
  if (existsSync(commandLine)) on.look('command line', readFileSync(commandLine, 'utf8'))
  expect(await service.stop()).toBe(ROWS_LEFT)
  const messages = new Set(service.logs.map(({ message }) => message))
  for (const message of ['request', 'request failed', 'flush failed, rows are kept', 'stopped'])
    expect(messages).toContain(message)
  expect(messages).toContain('row refused by its backend, moved to the dead letters')
  for (const line of service.output().split('\n')) on.look(`line ${line.slice(0, 300)}`, line)
  expect(on.leaks()).toEqual([])
}

async function fullRun(service: Service, store: Store): Promise<void> {
  const on = watch(service)
  await driveRoutes(on)
  await driveCredentials(on)
  await driveFailures(on, store)
  await end(on, service)
}

test(
  'a full run on sqlite shows nothing of what is planted',
  async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const service = await scene.start({ ...env, DATA_DIR })
    const run = async (statement: string) => {
      using database = new Database(join(DATA_DIR, 'persistence.sqlite'), { readwrite: true })
      database.run('PRAGMA busy_timeout = 5000')
      database.run(statement)
    }
    const refuse = (table: string, condition: string) =>
      run(`CREATE TRIGGER refuse_${table} BEFORE INSERT ON ${table} WHEN ${condition}
      BEGIN SELECT RAISE(ABORT, 'row ${texts.source.cores.join(' ')}'); END`)
    await fullRun(service, {
      run,
      async refuseRows() {
        await refuse('translation_tasks', "NEW.task_id = 'refused'")
        await refuse('translation_sessions', "NEW.session_id = 'unmarked'")
      },
    })
  },
  RUN_TIMEOUT_MS,
)

/** What a server says to an account that may not make others. */
const DENIED = new Set([1044, 1142, 1227, 1410])

/** The database's URL for an account whose password is planted; null where the tests' own may make none. */
async function plantAccount(scene: Scene, database: FreshDatabase): Promise<string | null> {
  const user = `planted_${crypto.randomUUID().slice(0, 8)}`
  try {
    await database.query('CREATE USER ? IDENTIFIED BY ?', [user, secrets.password.text])
    scene.defer(() => database.query('DROP USER ?', [user]))
    await database.query('GRANT ALL ON ??.* TO ?', [database.name, user])
  } catch (error) {
    if (DENIED.has((error as { errno: number }).errno)) return null
    throw error
  }
  const url = new URL(database.url)
  url.username = user
  url.password = encodeURIComponent(secrets.password.text)
  return url.href
}

async function runOnServer(server: SqlServer): Promise<void> {
  await using scene = createScene()
  const database = await scene.database(server)
  const run = (statement: string) => database.query(statement)
  const url = await plantAccount(scene, database)
  const service = await scene.start({ ...env, DATABASE_URL: url ?? database.url })
  const trigger = (name: string, table: string, body: string) =>
    run(`CREATE TRIGGER ${name} BEFORE INSERT ON ${table} FOR EACH ROW BEGIN ${body} END`)
  await fullRun(service, {
    run,
    async refuseRows() {
      // "Incorrect integer value: '…' for column 'row_index'"
      const task = "IF NEW.task_id = 'refused' THEN SET NEW.row_index = NEW.source_text; END IF;"
      const words = `'row ${texts.filename.cores[0]}'`
      const session = `IF NEW.session_id = 'unmarked' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = ${words}; END IF;`
      await trigger('refuse_tasks', 'translation_tasks', task)
      await trigger('refuse_sessions', 'translation_sessions', session)
    },
    async failOnRow() {
      await trigger(
        'fail',
        'translation_tasks',
        `IF NEW.task_id = 'stuck' THEN
           BEGIN DECLARE words VARCHAR(128) CHARACTER SET utf8mb4 DEFAULT LEFT(NEW.source_text, 100);
           SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = words, MYSQL_ERRNO = 50001; END;
         END IF;`,
      )
    },
  })

  const closed = new URL(database.url)
  closed.password = encodeURIComponent(secrets.wrongPassword.text)
  const denied = await scene.start({ ...env, DATABASE_URL: closed.href }, 'listening')
  const on = watch(denied)
  await until(() => denied.logs.some(({ message }) => message === 'backend not reached yet'), {
    message: 'the service is refused by its database',
  })
  for (const request of rightRequests(gameTexts)) await on.send({ ...request, what: 'no database' })
  await denied.stop()
  on.look('log of a service that is denied its database', denied.output())
  expect(on.leaks()).toEqual([])
}

for (const server of sqlServers) {
  test(`a full run on ${server} shows nothing of what is planted`, () => runOnServer(server), RUN_TIMEOUT_MS)
}

test('a start that its configuration forbids does not show what is planted in it', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const url = `mysql://root:${encodeURIComponent(secrets.password.text)}@db.example`
  const broken: Record<string, string>[] = [
    { API_KEYS: `admin ${secrets.key.text}` },
    { API_KEYS: `${secrets.key.text} admin *:admin` },
    { API_KEYS_FILE: secrets.key.text },
    { JWT_SECRET: secrets.jwtSecret.text.slice(0, -1) },
    { JWT_JWKS_URL: `ftp://id.example/keys?token=${secrets.wrongKey.text}` },
    { DATABASE_URL: `${url}/a/b` },
    { DATABASE_URL: url, DB_PASSWORD: secrets.wrongPassword.text },
    { DB_HOST: `root:${secrets.password.text}@db` },
    { SERVICE_PORT: 'x', DATABASE_URL: url },
  ]
  const cut = { ...secrets.jwtSecret, name: 'JWT secret, cut', cores: [secrets.jwtSecret.text.slice(0, -1)] }
  for (const one of broken) {
    const { code, output } = await runService({ env: { ...env, DATA_DIR, SERVICE_PORT: '0', ...one } })
    expect([Object.keys(one), code]).toEqual([Object.keys(one), CONFIG_FAULT])
    expect(findPlanted(output, [...Object.values(secrets), cut])).toEqual([])
  }
})
