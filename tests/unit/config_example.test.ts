import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { mysqlSettings } from '../../src/config/backends.ts'
import { isMap } from '../../src/config/document.ts'
import { environmentPaths } from '../../src/config/environment.ts'
import { loadConfig } from '../../src/config/mod.ts'
import { settings } from '../../src/config/schema.ts'
import { revealed } from '../support/revealed.ts'

const example = readFileSync(new URL('../../config.example.yaml', import.meta.url), 'utf8')
const collections = ['translation_sessions', 'translation_tasks'].map((name) => ({ name, kind: 'records' }))

function load(text: string | undefined) {
  const config = loadConfig({
    env: text === undefined ? {} : { CONFIG_FILE: 'config.example.yaml' },
    collections,
    readFile: () => text ?? '',
  })
  return revealed(config)
}

/** Every path that a file may set, backends by their usual names. */
function leavesOf(map: object, prefix: string): string[] {
  return Object.entries(map).flatMap(([key, value]) =>
    isMap(value) ? leavesOf(value, `${prefix}${key}.`) : [`${prefix}${key}`],
  )
}
const leaves = [
  ...leavesOf(settings.parse({}), ''),
  'storage.backends.sqlite.config.path',
  ...leavesOf(revealed(mysqlSettings.parse({})), 'storage.backends.mysql.config.'),
]

test('every setting has exactly one environment name, and every name a setting', () => {
  expect(Object.values(environmentPaths).toSorted()).toEqual(leaves.toSorted())
})

test('the example loads, and says nothing but the defaults', () => {
  expect(load(example)).toEqual(load(undefined))
})

test('the example with its commented settings switched on loads too, and its MySQL values are the defaults', () => {
  const uncommented = example
    .replace(/^( *)# (path: )\S+$/m, '$1$2/srv/uncommented.sqlite')
    .replace(/^( *)# (data_types:)$/m, '$1$2')
    .replace(/^( *)# ( *- translation_\w+)$/gm, '$1$2')
    .replace(/(type: mysql\n *enabled: )false/, '$1true')
  const { storage, ...sections } = load(uncommented)
  const { storage: _, ...defaultSections } = load(undefined)
  expect(sections).toEqual(defaultSections)
  expect(storage).toEqual({
    backends: {
      sqlite: { type: 'sqlite', config: { path: '/srv/uncommented.sqlite' } },
      mysql: { type: 'mysql', config: revealed(mysqlSettings.parse({})) },
    },
    routes: { translation_sessions: 'mysql', translation_tasks: 'mysql' },
  })
})

test.each(Object.entries(environmentPaths))('the example names %s above its setting', (name, path) => {
  const key = path.split('.').at(-1)
  expect(example).toMatch(new RegExp(`^ *# ${name}\\b.*\\n *(# )?${key}: `, 'm'))
})

test('the example names the variables that are no settings', () => {
  for (const name of ['CONFIG_FILE', 'DATABASE_URL']) expect(example).toContain(name)
})
