/** What the documents name is there. */
import { expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import packageJson from '../../package.json' with { type: 'json' }
import { environmentPaths } from '../../src/config/environment.ts'

const ROOT = new URL('../../', import.meta.url).pathname
const DOCUMENTS = ['README.md', ...new Bun.Glob('docs/*.md').scanSync({ cwd: ROOT })].map((path) => ({
  path,
  text: readFileSync(join(ROOT, path), 'utf8'),
}))

/** Variables that are no setting of the schema. */
const OTHER_VARIABLES = new Set(['CONFIG_FILE', 'DATABASE_URL', 'REQUIRE_BACKENDS'])

const found = (pattern: RegExp) =>
  DOCUMENTS.flatMap(({ path, text }) =>
    [...text.matchAll(pattern)].map(([, name]) => ({ path, name: name! })),
  )

test('every file that a document names exists', () => {
  const named = found(/`((?:src|tests|tools|bench|sql|docs)\/[\w./-]+)`/g)
  const linked = found(/\]\((?!https?:|#)([^)#\s]+)/g).map(({ path, name }) => ({
    path,
    name: join(dirname(path), name),
  }))
  expect(named.length + linked.length).toBeGreaterThan(20)
  expect([...named, ...linked].filter(({ name }) => !existsSync(join(ROOT, name)))).toEqual([])
})

test('every command that a document tells to run is one of the project', () => {
  const commands = found(/\bbun(?:@[\d.]+)? run ([a-z]+)\b/g)
  expect(commands.length).toBeGreaterThan(5)
  expect(commands.filter(({ name }) => !Object.hasOwn(packageJson.scripts, name))).toEqual([])
})

test('every variable that a document gives a value is a setting', () => {
  const variables = found(/(?<![\w/])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)=/g)
  expect(variables.length).toBeGreaterThan(3)
  const unknown = variables.filter(({ name }) => !(name in environmentPaths) && !OTHER_VARIABLES.has(name))
  expect(unknown).toEqual([])
})
