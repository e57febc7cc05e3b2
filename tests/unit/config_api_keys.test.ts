/** API keys as part of the configuration: what is wrong with them is told at the start, with everything else. */
import { expect, test } from 'bun:test'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readKeyFile } from '../../src/auth/key_file.ts'
import { hashOf, MAX_FILE_BYTES } from '../../src/auth/key_line.ts'
import { apiKeysFile, ConfigError, type Fault, loadConfig, redactConfig } from '../../src/config/mod.ts'
import { freshFolder } from '../support/backends.ts'

const HASH = hashOf('some key')
const LINE = `backend sha256:${HASH} translation:read`

/** Files by path; a text that begins with E is the code of why it can't be read. */
function load(env: Record<string, string>, files: Record<string, string> = {}) {
  return loadConfig({
    env,
    collections: [{ name: 'translation_sessions', kind: 'records' }],
    readFile: (path) => files[path] ?? '',
    readKeyFile(path) {
      const text = files[path] ?? 'ENOENT'
      if (/^E[A-Z]+$/.test(text)) throw Object.assign(new Error(`${text}: open ${path}`), { code: text })
      return text
    },
  })
}

function faultsOf(env: Record<string, string>, files?: Record<string, string>): readonly Fault[] {
  try {
    load(env, files)
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
  return []
}

test('without a file there are no keys, and nothing is wrong', () => {
  expect(apiKeysFile(load({}))).toEqual({ path: './data/api_keys', named: false })
  expect(apiKeysFile(load({ DATA_DIR: '/srv/' }))).toEqual({ path: '/srv/api_keys', named: false })
})

test('good keys are taken from the variable and from either file', () => {
  expect(load({ API_KEYS: LINE }).auth.api_keys?.reveal()).toBe(LINE)
  expect(faultsOf({}, { './data/api_keys': `${LINE}\n` })).toEqual([])
  expect(faultsOf({ API_KEYS_FILE: 'k' }, { k: `${LINE}\n` })).toEqual([])
  expect(apiKeysFile(load({ API_KEYS_FILE: 'k' }, { k: `${LINE}\n` }))).toEqual({ path: 'k', named: true })
})

test('all faults of keys come with those of everything else, by entry and by line', () => {
  const env = { SERVICE_PORT: 'x', API_KEYS: `${LINE}; short`, API_KEYS_FILE: 'k' }
  expect(faultsOf(env, { k: `# ours\nbackend sha256:1 *:read\n${LINE}\n` })).toEqual([
    expect.objectContaining({ key: 'SERVICE_PORT' }),
    { key: 'API_KEYS', expected: expect.stringMatching(/^NAME HASH SCOPES.* \(entry 2\)$/) },
    { key: 'API_KEYS_FILE', expected: expect.stringMatching(/^sha256: .* \(line 2 of k\)$/) },
    {
      key: 'API_KEYS_FILE',
      expected: expect.stringMatching(/^each key once \(API_KEYS .* \(line 3 of k\)$/),
    },
  ])
})

test('a file that is named must be there, one that is not need not, and both must be readable', () => {
  const key = 'API_KEYS_FILE'
  expect(faultsOf({ [key]: 'k' })).toEqual([{ key, expected: 'a file that can be read (ENOENT)' }])
  expect(faultsOf({ [key]: 'k' }, { k: 'EACCES' })).toEqual([
    { key, expected: 'a file that can be read (EACCES)' },
  ])
  expect(faultsOf({ DATA_DIR: 'd' }, { 'd/api_keys': 'EACCES' })).toEqual([
    { key: 'd/api_keys', expected: 'a file that can be read (EACCES)' },
  ])
  expect(faultsOf({ DATA_DIR: 'd' }, { 'd/api_keys': 'x' })).toEqual([
    { key: 'd/api_keys', expected: expect.stringContaining('(line 1)') },
  ])
})

test('settings of the YAML file are named as they are written there', () => {
  const env = { CONFIG_FILE: 'c.yaml' }
  expect(faultsOf(env, { 'c.yaml': 'auth: { api_keys: short, api_keys_file: gone }' })).toEqual([
    { key: 'auth.api_keys', expected: expect.stringContaining('(entry 1)') },
    { key: 'auth.api_keys_file', expected: 'a file that can be read (ENOENT)' },
  ])
})

test('a variable that holds no key at all is a fault, one that is empty is not set', () => {
  for (const API_KEYS of [' ', ';', '# some-long-secret-key']) {
    expect(faultsOf({ API_KEYS }).map(({ key }) => key)).toEqual(['API_KEYS'])
  }
  expect(load({ API_KEYS: '' }).auth.api_keys).toBeNull()
})

test('keys never stand in a fault, nor in what is shown of the configuration', () => {
  const shown = [
    faultsOf({ API_KEYS: 's3cr3t' }),
    faultsOf({ API_KEYS_FILE: 'psk_s3cr3ts3cr3ts3cr3t' }),
    faultsOf({ API_KEYS_FILE: 'k' }, { k: 's3cr3ts3cr3ts3cr3ts3cr3t' }),
    redactConfig(load({ API_KEYS: 's3cr3t'.repeat(6) })),
  ]
  expect(JSON.stringify(shown)).not.toContain('s3cr3t')
})

test('the file is held to the rules of the one who watches it: its kind, and its size in bytes', async () => {
  const { env, drop } = await freshFolder()
  const file = join(env.DATA_DIR!, 'k')
  const large = 'é'.repeat(MAX_FILE_BYTES / 2 + 1)
  const faults = () => {
    try {
      loadConfig({ env: { API_KEYS_FILE: file }, collections: [], readFile: () => '', readKeyFile })
    } catch (error) {
      return (error as ConfigError).faults[0]?.expected
    }
    return undefined
  }
  try {
    writeFileSync(file, `# ${large}`)
    expect(faults()).toBe(`a file that can be read (more than ${MAX_FILE_BYTES} bytes)`)
    writeFileSync(file, '# none')
    expect(faults()).toBeUndefined()
    rmSync(file)
    await Bun.$`mkfifo ${file}`
    expect(faults()).toBe('a file that can be read (not a file)')
  } finally {
    await drop()
  }
})

test('whoever gives no reader of keys gets a configuration without a look at the file', () => {
  const env = { API_KEYS_FILE: 'gone' }
  expect(loadConfig({ env, collections: [], readFile: () => '' }).auth.api_keys_file).toBe('gone')
})
