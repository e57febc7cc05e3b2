/** `bun run keys` beside a running service, beside others of its kind, and killed. */
import { describe, expect, test } from 'bun:test'
import { chmod, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hashOf, parseKeyFile } from '../../src/auth/key_line.ts'
import { runKeys, spawnKeys } from '../support/keys_command.ts'
import { createScene } from '../support/scene.ts'
import { runService, type Service } from '../support/service.ts'
import { until } from '../support/waiting.ts'

const KEY = /^psk_[A-Za-z0-9_-]{43}\n$/
const SESSIONS = '/api/v1/translation/sessions'
/** A change counts within that. */
const TAKEN_WITHIN_MS = 2000
const SCOPES = '--scopes translation:read,translation:write'

/** So large that there is a middle. */
const MANY_LINES = Array.from({ length: 2000 }, (_, i) => `n${i} sha256:${hashOf(`key ${i}`)} *:read\n`).join(
  '',
)

const statusOf = async ({ url }: Service, key: string) =>
  (await fetch(`${url}${SESSIONS}`, { headers: { 'x-api-key': key } })).status

async function becomes(service: Service, key: string, status: number): Promise<void> {
  await until(async () => (await statusOf(service, key)) === status, {
    message: `a key to be answered ${status}`,
    timeoutMs: TAKEN_WITHIN_MS,
  })
}

const keysOf = async (path: string) => {
  const { keys, faults } = parseKeyFile(await readFile(path, 'utf8'))
  expect(faults).toEqual([])
  return keys.map(({ entry }) => entry)
}

const modeOf = async (path: string) => (await stat(path)).mode & 0o777

/** Runs a command that must succeed, and answers what it printed on stdout. */
async function keys(args: string, env: Record<string, string>): Promise<string> {
  const { code, stdout, stderr } = await runKeys(args, env)
  expect([code, stderr]).toEqual([0, expect.any(String)])
  return stdout
}

test('a key is made, used, replaced and revoked while the service runs', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const service = await scene.start({ DATA_DIR })
  expect(await statusOf(service, 'none')).toBe(200)

  const made = await runKeys(`create backend ${SCOPES}`, { DATA_DIR })
  expect(made.code).toBe(0)
  expect(made.stdout).toMatch(KEY)
  expect(made.stderr).toContain('asks every caller for a key')
  expect(made.stderr).not.toContain('psk_')
  const old = made.stdout.trim()
  await until(async () => (await statusOf(service, 'none')) === 401, {
    message: 'the door to be closed',
    timeoutMs: TAKEN_WITHIN_MS,
  })
  await becomes(service, old, 200)

  const next = (await keys('rotate backend --grace 1h', { DATA_DIR })).trim()
  expect(next).not.toBe(old)
  await becomes(service, next, 200)
  expect(await statusOf(service, old)).toBe(200)

  const third = (await keys('rotate backend --grace 0', { DATA_DIR })).trim()
  await becomes(service, third, 200)
  expect([await statusOf(service, old), await statusOf(service, next)]).toEqual([401, 401])

  const revoked = await runKeys(`revoke ${hashOf(third).slice(0, 12)}`, { DATA_DIR })
  expect(revoked.stderr).toContain('Revoked one key')
  await becomes(service, third, 401)
  const list = JSON.parse(await keys('list --json', { DATA_DIR }))
  expect(list.map(({ id, state }: Record<string, string>) => [id, state])).toEqual([
    [hashOf(old).slice(0, 12), 'expired'],
    [hashOf(next).slice(0, 12), 'expired'],
    [hashOf(third).slice(0, 12), 'revoked'],
  ])
  expect(JSON.stringify(service.logs)).not.toContain('psk_')
})

test('all keys of a name are revoked at once, and the list says what became of each', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const env = { DATA_DIR }
  await keys('create web --scopes *:read', env)
  await keys('create web --scopes *:read --expires 2100-01-01', env)
  await keys('create other --scopes system:admin', env)
  expect((await runKeys('revoke web', env)).stderr).toContain('Revoked 2 keys')
  expect(await runKeys('revoke web', env)).toMatchObject({ code: 1, stderr: 'keys: revoked already\n' })

  const [head, ...rows] = (await keys('list', env)).trimEnd().split('\n')
  expect(head).toMatch(/^ID +NAME +SCOPES +CREATED +EXPIRES +STATE$/)
  const column = head!.indexOf('STATE')
  expect(rows.map((row) => row.slice(column))).toEqual(['revoked', 'revoked', 'live'])
  expect(rows[1]).toContain('2100-01-01T00:00:00Z')
})

test('a key that was made to expire is replaced by one that lasts as long', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  await keys('create web --scopes *:read --expires 90d', { DATA_DIR })
  await keys('rotate web --grace 30m', { DATA_DIR })
  const [old, made] = await keysOf(join(DATA_DIR, 'api_keys'))
  expect(made!.expiresAtMs! - made!.createdAtMs!).toBe(90 * 86_400_000)
  expect(old!.expiresAtMs).toBe(made!.createdAtMs! + 1_800_000)
})

test('--print changes no file; its entry lets its key in when it is set in API_KEYS', async () => {
  await using scene = createScene()
  const DATA_DIR = await scene.folder()
  const printed = await keys('create ci --scopes translation:read --print', { DATA_DIR })
  const [key, entry] = printed.split('\n')
  expect(entry).toStartWith(`ci sha256:${hashOf(key!)} translation:read created=`)
  const service = await scene.start({ DATA_DIR, API_KEYS: entry! })
  expect([await statusOf(service, key!), await statusOf(service, 'none')]).toEqual([200, 401])
  expect(await Bun.file(join(DATA_DIR, 'api_keys')).exists()).toBe(false)
})

describe('the file', () => {
  test('is for its owner alone; comments, other lines, a link and what others may read stay', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const path = join(DATA_DIR, 'api_keys')
    const named = join(DATA_DIR, 'sub', 'keys')
    await keys(`create web ${SCOPES}`, { DATA_DIR, API_KEYS_FILE: named })
    expect(await modeOf(named)).toBe(0o600)

    const before = `# ours\n\nweb  sha256:${hashOf('a')}  *:read\n# the last`
    await writeFile(join(DATA_DIR, 'real'), before)
    await chmod(join(DATA_DIR, 'real'), 0o640)
    await symlink('real', path)
    // Left by one that was killed.
    await writeFile(`${join(DATA_DIR, 'real')}.new`, 'half of somethi', { mode: 0o666 })
    await keys(`create other ${SCOPES}`, { DATA_DIR })
    expect(await readlink(path)).toBe('real')
    expect(await modeOf(path)).toBe(0o640)
    await chmod(path, 0o775)
    expect(await readFile(path, 'utf8')).toStartWith(`${before}\nother sha256:`)
    await keys('revoke web', { DATA_DIR })
    expect(await modeOf(path)).toBe(0o644)
    expect(await readFile(path, 'utf8')).toMatch(
      /^# ours\n\nweb sha256:\S+ \*:read revoked=\S+\n# the last\n/,
    )
  })

  test('is made where a link leads that leads to nothing yet', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    await symlink('real', join(DATA_DIR, 'api_keys'))
    await keys(`create web ${SCOPES}`, { DATA_DIR })
    expect(await readlink(join(DATA_DIR, 'api_keys'))).toBe('real')
    expect(await keysOf(join(DATA_DIR, 'real'))).toHaveLength(1)
  })

  test('holds every key of many that are made at once, and a service that watches never sees a part', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const service = await scene.start({ DATA_DIR })
    const made = await Promise.all(
      Array.from({ length: 12 }, (_, i) => runKeys(`create web-${i} ${SCOPES}`, { DATA_DIR })),
    )
    for (const { code, stderr } of made) expect([code, stderr]).toEqual([0, expect.any(String)])
    const hashes = made.map(({ stdout }) => hashOf(stdout.trim())).toSorted()
    const kept = await keysOf(join(DATA_DIR, 'api_keys'))
    expect(kept.map(({ hash }) => hash).toSorted()).toEqual(hashes)
    expect(made.filter(({ stderr }) => stderr.includes('It is the first one'))).toHaveLength(1)
    await Promise.all(made.map(({ stdout }) => becomes(service, stdout.trim(), 200)))
    expect(service.logs.filter(({ level }) => level === 'ERROR')).toEqual([])
  })

  test('is whole whenever its writer is killed, and free for the next one', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const path = join(DATA_DIR, 'api_keys')
    await writeFile(path, MANY_LINES)
    const begunMs = performance.now()
    await keys(`create first ${SCOPES}`, { DATA_DIR })
    const tookMs = performance.now() - begunMs
    let least = (await keysOf(path)).length
    for (let i = 1; i <= 12; i++) {
      const child = spawnKeys(['create', `killed-${i}`, ...SCOPES.split(' ')], { DATA_DIR })
      await Bun.sleep((tookMs * i) / 12)
      child.kill('SIGKILL')
      await child.exited
      const { length } = await keysOf(path)
      expect(length).toBeWithin(least, least + 2)
      least = length
    }
    await keys(`create last ${SCOPES}`, { DATA_DIR })
    expect((await keysOf(path)).map(({ name }) => name)).toContain('last')
  })

  test('is whole when its writer can write only a part of it', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const path = join(DATA_DIR, 'api_keys')
    await writeFile(path, MANY_LINES)
    const command = `ulimit -f 50; exec "$0" tools/keys/main.ts create web ${SCOPES}`
    const child = Bun.spawn(['sh', '-c', command, process.execPath], {
      env: { PATH: process.env.PATH ?? '', DATA_DIR },
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [code, stdout] = await Promise.all([child.exited, child.stdout.text()])
    expect([code === 0, stdout]).toEqual([false, ''])
    expect((await stat(`${path}.new`)).size).toBeWithin(1, MANY_LINES.length)
    expect(await readFile(path, 'utf8')).toBe(MANY_LINES)
    await keys(`create web ${SCOPES}`, { DATA_DIR })
    expect(await keysOf(path)).toHaveLength(2001)
  })

  test('is not locked by one that was killed while it held the lock', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const path = join(DATA_DIR, 'api_keys')
    const store = new URL('../../tools/keys/key_store.ts', import.meta.url).pathname
    const holding = `
      const { changeText } = await import(${JSON.stringify(store)})
      changeText(${JSON.stringify(path)}, () => { console.log('held'); Bun.sleepSync(60_000) })`
    const holder = Bun.spawn([process.execPath, '--no-orphans', '-e', holding], { stdout: 'pipe' })
    await holder.stdout.getReader().read()
    const waiting = runKeys(`create web ${SCOPES}`, { DATA_DIR })
    holder.kill('SIGKILL')
    expect((await waiting).code).toBe(0)
    expect(await keysOf(path)).toHaveLength(1)
  })
})

describe('what can not be done', () => {
  test('is told without a stack, by its exit status, and changes nothing', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const path = join(DATA_DIR, 'api_keys')
    await keys('create web --scopes *:read', { DATA_DIR })
    await keys('create web --scopes audit:read', { DATA_DIR })
    const before = await readFile(path, 'utf8')
    for (const [args, code, message] of [
      ['revoke nobody', 1, 'no key has this id or name'],
      ['rotate nobody', 1, 'no live key has this name'],
      ['rotate web', 1, 'different scopes'],
      ['create web', 64, '--scopes: expected'],
      ['', 64, 'expected one of create'],
    ] as const) {
      const run = await runKeys(args, { DATA_DIR })
      expect([args, run.code, run.stdout]).toEqual([args, code, ''])
      expect(run.stderr).toContain(message)
      expect(run.stderr).not.toContain('    at ')
    }
    expect(await readFile(path, 'utf8')).toBe(before)
  })

  test('is anything with a faulty configuration or file: 78, for the command and for the service', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    const path = join(DATA_DIR, 'api_keys')
    const misspelt = await runKeys('list', { DATA_DIR, LOG_LEVEL: 'loud' })
    expect(misspelt).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('LOG_LEVEL: expected one of'),
    })

    await writeFile(path, 'web psk_s3cr3ts3cr3ts3cr3t *:read\nx\n')
    const env = { DATA_DIR, SERVICE_PORT: '0' }
    const command = await runKeys(`create web ${SCOPES}`, env)
    expect([command.code, command.stdout]).toEqual([78, ''])
    const service = await runService({ env: { ...env, API_KEYS: 'short', LOG_LEVEL: 'loud' } })
    expect(service.code).toBe(78)
    for (const key of ['LOG_LEVEL', 'API_KEYS']) expect(service.output).toContain(`${key}: expected `)
    for (const output of [command.stderr, service.output]) {
      for (const at of ['line 1', 'line 2']) expect(output).toContain(at)
      expect(output).not.toContain('s3cr3t')
    }
    const gone = await runService({ env: { DATA_DIR, SERVICE_PORT: '0', API_KEYS_FILE: `${path}.gone` } })
    expect(gone.code).toBe(78)
    expect(gone.output).toContain('API_KEYS_FILE: expected a file that can be read (ENOENT)')
    await Bun.$`mkfifo ${path}.pipe`
    const pipe = await runService({ env: { DATA_DIR, SERVICE_PORT: '0', API_KEYS_FILE: `${path}.pipe` } })
    expect(pipe.code).toBe(78)
    expect(pipe.output).toContain('API_KEYS_FILE: expected a file that can be read (not a file)')
  })

  test('is a change of a file that can not be there: its path may be a key, and is not told', async () => {
    await using scene = createScene()
    const DATA_DIR = await scene.folder()
    await writeFile(join(DATA_DIR, 'file'), '')
    const run = await runKeys(`create web ${SCOPES}`, { DATA_DIR, API_KEYS_FILE: `${DATA_DIR}/file/s3cr3t` })
    expect([run.code, run.stdout]).toEqual([1, ''])
    expect(run.stderr).toContain("(API_KEYS_FILE, or api_keys in DATA_DIR) can't be written (")
    expect(run.stderr).not.toContain('s3cr3t')
    const folder = await runKeys(`create web ${SCOPES}`, { DATA_DIR, API_KEYS_FILE: DATA_DIR })
    expect(folder.stderr).toContain(`${DATA_DIR} can't be read (not a file)`)
  })
})
