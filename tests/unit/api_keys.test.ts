/** What a key is good for, and what becomes of the keys when their file changes. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { chmod, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openApiKeys } from '../../src/auth/api_keys.ts'
import { type ApiKeys, CredentialError } from '../../src/auth/authenticator.ts'
import { KeyFileError, openKeyFile } from '../../src/auth/key_file.ts'
import { hashOf, MAX_FILE_BYTES, MAX_KEY_LENGTH } from '../../src/auth/key_line.ts'
import { createLogger } from '../../src/lib/log.ts'
import { secret } from '../../src/lib/secret.ts'
import { freshFolder } from '../support/backends.ts'
import type { LogLine } from '../support/service.ts'
import { until } from '../support/waiting.ts'

const NOW = Date.UTC(2030, 0, 1)
/** The brief moment within which a change of the file counts. */
const TAKEN_WITHIN_MS = 2000

const keyOf = (name: string) => `psk_${name.padEnd(43, '_')}`
const line = (name: string, scopes = 'translation:read', more = '') =>
  `${name} sha256:${hashOf(keyOf(name))} ${scopes} ${more}\n`

let folder: string
let drop: () => Promise<void>
let path: string
let nowMs: number
let logs: LogLine[]
let opened: ApiKeys[]

beforeEach(async () => {
  const fresh = await freshFolder()
  folder = fresh.env.DATA_DIR!
  drop = fresh.drop
  path = join(folder, 'api_keys')
  nowMs = NOW
  logs = []
  opened = []
})

afterEach(async () => {
  for (const keys of opened) keys.stop()
  await drop()
})

async function open({ inline = null as string | null, named = false } = {}): Promise<ApiKeys> {
  const write = (text: string) => void logs.push(JSON.parse(text))
  const keys = await openApiKeys({
    inline: inline === null ? null : secret(inline),
    file: { path, named },
    nowMs: () => nowMs,
    log: createLogger({ level: 'debug', instance: 'test', write }),
  })
  keys.start()
  opened.push(keys)
  return keys
}

/** The file alone, looked at by hand: the names that were taken, a change an item. */
async function openFile() {
  const taken: string[] = []
  const write = (text: string) => void logs.push(JSON.parse(text))
  const file = await openKeyFile({
    path,
    named: true,
    taken: [],
    log: createLogger({ level: 'debug', instance: 'test', write }),
    onKeys: (entries) => taken.push(entries.map(({ name }) => name).join()),
  })
  return { file, taken }
}

/** `good`, or why not. */
function stateOf(keys: ApiKeys, name: string): string {
  try {
    keys.verify(keyOf(name))
    return 'good'
  } catch (error) {
    if (error instanceof CredentialError) return error.refusal
    throw error
  }
}

function becomes(keys: ApiKeys, name: string, state: string): Promise<unknown> {
  return until(() => stateOf(keys, name) === state, {
    message: () => `${name} to be ${state}, not ${stateOf(keys, name)}`,
    timeoutMs: TAKEN_WITHIN_MS,
  })
}

function logged(message: string): Promise<LogLine> {
  return until(() => logs.find((one) => one.message.startsWith(message)), {
    message: `the line "${message}"`,
    timeoutMs: TAKEN_WITHIN_MS,
  })
}

const errors = () => logs.filter(({ level }) => level === 'ERROR')

/** Made anew and put in its place, as a careful writer does. */
async function replaceFile(text: string): Promise<void> {
  await writeFile(`${path}.draft`, text)
  await rename(`${path}.draft`, path)
}

describe('a key', () => {
  test('stands for its name and the scopes of its line, and is looked up without making anything', async () => {
    await writeFile(path, `${line('web', 'translation:admin,audit:read')}${line('app', '*:write')}`)
    const keys = await open()
    const principal = keys.verify(keyOf('web'))
    expect(principal).toEqual({
      kind: 'api_key',
      id: 'key:web',
      subject: null,
      scopes: new Set(['translation:read', 'translation:write', 'translation:admin', 'audit:read']),
    })
    expect(keys.verify(keyOf('web'))).toBe(principal)
    expect([...keys.verify(keyOf('app')).scopes].every((scope) => scope.endsWith(':write'))).toBe(true)
  })

  test('of the variable is as good as one of the file, hashed or not', async () => {
    await writeFile(path, line('in-file'))
    const keys = await open({
      inline: `${line('hashed')}; x ${keyOf('plain')} audit:read`,
    })
    for (const name of ['in-file', 'hashed', 'plain']) expect(stateOf(keys, name)).toBe('good')
    const alone = await open({ inline: keyOf('alone') })
    expect(alone.verify(keyOf('alone')).id).toBe('key:default')
  })

  test('is unknown when anything of it differs, and its hash is no key', async () => {
    await writeFile(path, line('web'))
    const keys = await open()
    const key = keyOf('web')
    const wrong = [
      '',
      ' ',
      key.slice(1),
      `${key}_`,
      key.toUpperCase(),
      `${key}\0`,
      hashOf(key),
      `sha256:${hashOf(key)}`,
      'web',
      'k'.repeat(MAX_KEY_LENGTH + 1),
      'é'.repeat(40),
    ]
    for (const other of wrong) {
      expect(() => keys.verify(other)).toThrow(new CredentialError('unknown', 'The API key is not known.'))
    }
  })

  test('is told from another one whose hash begins the same', async () => {
    const begun = hashOf(keyOf('web')).slice(0, 8)
    await writeFile(path, `other sha256:${begun}${'0'.repeat(56)} audit:read\n${line('web')}`)
    const keys = await open()
    expect(keys.verify(keyOf('web')).id).toBe('key:web')
    await replaceFile(`other sha256:${begun}${'0'.repeat(56)} audit:read\n`)
    await becomes(keys, 'web', 'unknown')
  })

  test('ends at its moment, to the millisecond, and stays revoked whatever its other times', async () => {
    const expires = `expires=${new Date(NOW).toISOString()}`
    const later = `revoked=${new Date(NOW + 1e9).toISOString()}`
    await writeFile(path, `${line('short', '*:read', expires)}${line('gone', '*:read', later)}`)
    const keys = await open()
    nowMs = NOW - 1
    expect(stateOf(keys, 'short')).toBe('good')
    nowMs = NOW
    expect(stateOf(keys, 'short')).toBe('expired')
    expect(stateOf(keys, 'gone')).toBe('revoked')
  })

  test('is in no message, neither when it is refused nor when its line is faulty', async () => {
    await writeFile(path, `${line('web', '*:read', 'revoked=2020-01-01')}`)
    const keys = await open()
    expect(() => keys.verify(keyOf('web'))).toThrow('The API key was revoked.')
    await replaceFile(`web ${keyOf('web')} *:read\n`)
    await logged('API keys not taken')
    expect(JSON.stringify(logs)).not.toContain('psk_')
    expect(JSON.stringify(logs)).not.toContain(hashOf(keyOf('web')).slice(0, 16))
  })

  test('costs a few microseconds at most among a thousand', async () => {
    await writeFile(path, Array.from({ length: 1000 }, (_, i) => line(`n${i}`)).join(''))
    const keys = await open()
    const rounds = Array.from({ length: 5 }, () => {
      const begunMs = performance.now()
      for (let i = 0; i < 10_000; i++) keys.verify(keyOf('n500'))
      return ((performance.now() - begunMs) / 10_000) * 1000
    })
    // Measured: 0.5 µs. To hold a key against each of them would take more than 15.
    expect(Math.min(...rounds)).toBeLessThan(5)
  })
})

describe('authentication', () => {
  test('is off without a variable and a file, and on from the moment that there is a file', async () => {
    const keys = await open()
    expect(keys.configured()).toBe(false)
    await replaceFile(line('web'))
    await becomes(keys, 'web', 'good')
    expect(keys.configured()).toBe(true)
  })

  test.each([
    ['the variable', { inline: keyOf('x') }, null],
    ['a file without a key', {}, '# none yet\n'],
    ['a file that is faulty', {}, 'what is this'],
  ])('is on by %s, before anybody comes in', async (_, options, text) => {
    if (text !== null) await writeFile(path, text)
    expect((await open(options)).configured()).toBe(true)
  })

  test.each([
    ['not there', async () => undefined, 'ENOENT'],
    ['a folder', async () => mkdir(path), 'not a file'],
    ['a pipe', async () => void (await Bun.$`mkfifo ${path}`), 'not a file'],
  ])('with a file that is named and %s ends the start, without its path', async (_, make, code) => {
    await make()
    const refused = expect(open({ named: true })).rejects
    await refused.toThrow(new KeyFileError(code))
    expect(new KeyFileError(code).message).toEndWith(`expected a file that can be read (${code})`)
    expect(logs).toEqual([])
  })

  test('stays on when the file is deleted, with the keys there were', async () => {
    await writeFile(path, line('web'))
    const keys = await open()
    await rm(path)
    await logged('API keys not read')
    expect(keys.configured()).toBe(true)
    expect(stateOf(keys, 'web')).toBe('good')
    expect(stateOf(keys, 'other')).toBe('unknown')
  })
})

describe('the file', () => {
  test('is taken again when it changes: in place, by rename, at the same length', async () => {
    await writeFile(path, line('one'))
    const keys = await open()
    await writeFile(path, line('two'))
    await becomes(keys, 'two', 'good')
    expect(stateOf(keys, 'one')).toBe('unknown')
    await replaceFile(line('six'))
    await becomes(keys, 'six', 'good')
    await writeFile(path, line('six', 'translation:read', 'revoked=2020-01-01'))
    await becomes(keys, 'six', 'revoked')
    expect(errors()).toEqual([])
  })

  test('is taken again when a link on the way to it is switched, as in a mounted secret', async () => {
    const versions = ['one', 'two']
    for (const name of versions) {
      await mkdir(join(folder, name))
      await writeFile(join(folder, name, 'api_keys'), line(name))
    }
    await symlink('one', join(folder, '..data'))
    await symlink('..data/api_keys', path)
    const keys = await open()
    expect(stateOf(keys, 'one')).toBe('good')
    await symlink('two', join(folder, '..new'))
    await rename(join(folder, '..new'), join(folder, '..data'))
    await becomes(keys, 'two', 'good')
    expect(stateOf(keys, 'one')).toBe('unknown')
  })

  test('that is faulty leaves the keys of before, is told once, by line, and is taken when it is right', async () => {
    await writeFile(path, line('one'))
    const keys = await open()
    await replaceFile(`${line('two')}three sha256:123 *:read\n${line('two')}`)
    const { meta } = await logged('API keys not taken')
    expect(meta).toEqual({
      file: path,
      faults: [
        expect.stringMatching(/^line 2: expected sha256: and 64 hex digits/),
        expect.stringMatching(/^line 3: expected each key once \(line 1 /),
      ],
    })
    expect([stateOf(keys, 'one'), stateOf(keys, 'two')]).toEqual(['good', 'unknown'])
    await replaceFile(line('two'))
    await becomes(keys, 'two', 'good')
    expect(errors()).toHaveLength(1)
  })

  test('that holds a key of the variable is faulty: which of the two counts would be a guess', async () => {
    const keys = await open({ inline: line('one') })
    await replaceFile(line('one', '*:admin'))
    const { meta } = await logged('API keys not taken')
    expect(meta?.faults).toEqual([expect.stringContaining('API_KEYS')])
    expect(keys.verify(keyOf('one')).scopes.size).toBe(1)
  })

  test.each([
    ['a folder', async () => mkdir(path), 'not a file'],
    ['larger than can be meant', async () => writeFile(path, 'x'.repeat(MAX_FILE_BYTES + 1)), 'more than'],
  ])('that is suddenly %s leaves the keys of before', async (_, make, failure) => {
    await writeFile(path, line('one'))
    const keys = await open()
    await rm(path)
    await make()
    const { meta } = await logged('API keys not read')
    expect(meta?.error).toContain(failure)
    expect(stateOf(keys, 'one')).toBe('good')
  })

  test('that comes back as it was is told of again', async () => {
    await writeFile(path, line('one'))
    const keys = await open()
    await rename(path, `${path}.away`)
    await logged('API keys not read')
    await rename(`${path}.away`, path)
    await until(() => logs.filter(({ message }) => message === 'API keys taken').length === 2, {
      message: 'the file to be taken again',
      timeoutMs: TAKEN_WITHIN_MS,
    })
    expect(stateOf(keys, 'one')).toBe('good')
  })

  test('is not taken half-written: it has to look the same twice', async () => {
    await writeFile(path, line('one'))
    const { file, taken } = await openFile()
    const text = `${line('one')}${line('two')}${line('end')}`
    for (let end = 0; end <= text.length; end++) {
      await writeFile(path, text.slice(0, end))
      await file.look()
    }
    expect(taken).toEqual(['one'])
    await file.look()
    expect(taken).toEqual(['one', 'one,two,end'])
    expect(errors()).toEqual([])
  })

  test('is told of once a change, however often it is looked at', async () => {
    await writeFile(path, line('one'))
    const { file, taken } = await openFile()
    const lookOften = async () => {
      for (let i = 0; i < 5; i++) await file.look()
    }
    await lookOften()
    await writeFile(path, 'faulty')
    await lookOften()
    await rm(path)
    await lookOften()
    expect(taken).toEqual(['one'])
    expect(logs.map(({ message }) => message)).toEqual([
      'API keys taken',
      'API keys not taken, those of before stay',
      'API keys not read, those of before stay',
    ])
  })

  test('is counted in the log, and whoever else may write it too is warned of', async () => {
    await writeFile(path, `${line('a')}${line('b')}${line('c', '*:read', 'revoked=2020-01-01')}`)
    await chmod(path, 0o640)
    const keys = await open()
    expect(logs).toHaveLength(1)
    expect(logs[0]).toMatchObject({
      level: 'INFO',
      message: 'API keys taken',
      meta: { file: path, keys: 2, revoked: 1 },
    })
    await chmod(path, 0o660)
    const { level } = await logged('others may write')
    expect(level).toBe('WARN')
    expect(stateOf(keys, 'a')).toBe('good')
  })
})
