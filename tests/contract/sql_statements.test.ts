import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { createConnection } from 'mysql2/promise'
import { type BackendKind, backendKinds, type OpenStore } from '../support/contract_backends.ts'
import { revealed } from '../support/revealed.ts'

const ROOT = new URL('../../', import.meta.url).pathname
const DIALECTS = ['mysql', 'sqlite'] as const
const MIGRATION = /^\d{4}_\w+\.sql$/

const filesOf = (dialect: string) =>
  readdirSync(`${ROOT}sql/${dialect}`).filter((name) => name.endsWith('.sql'))
const statementsOf = (dialect: string) =>
  filesOf(dialect)
    .filter((name) => !MIGRATION.test(name))
    .toSorted()
const textOf = (dialect: string, name: string) => readFileSync(`${ROOT}sql/${dialect}/${name}`, 'utf8')
const bare = (text: string) => text.replace(/^\s*--.*$/gm, '').trim()

/** What the code imports from `sql/`, as `mysql/fact_get.sql`. */
function importedFiles(): Set<string> {
  const sources = [...new Bun.Glob('src/**/*.ts').scanSync({ cwd: ROOT })]
  const texts = sources.map((path) => readFileSync(ROOT + path, 'utf8')).join('\n')
  return new Set([...texts.matchAll(/from '[./]+\/sql\/(\w+\/\w+\.sql)'/g)].map(([, name]) => name!))
}

test('every file of a dialect is imported by the code, and nothing else is', () => {
  const files = DIALECTS.flatMap((dialect) => filesOf(dialect).map((name) => `${dialect}/${name}`))
  expect([...importedFiles()].toSorted()).toEqual(files.toSorted())
  expect(readdirSync(`${ROOT}sql`).toSorted()).toEqual([...DIALECTS, 'README.md'].toSorted())
})

test('the dialects have the same statements, but for those that adopt what only one of them can hold, and the journal', () => {
  const common = (dialect: string) => statementsOf(dialect).filter((name) => !/^(adopt|journal)_/.test(name))
  expect(common('sqlite')).toEqual(common('mysql'))
})

describe.each(DIALECTS)('sql/%s', (dialect) => {
  test.each(statementsOf(dialect))('%s is one statement, says what it is, and ends', (name) => {
    const text = textOf(dialect, name)
    expect(text).toMatch(/^-- \S/)
    expect(bare(text).match(/;/g)).toEqual([';'])
    expect(bare(text)).toEndWith(';')
  })

  test.each(statementsOf(dialect))('%s names as many parameters as it takes', (name) => {
    const comment = textOf(dialect, name)
      .match(/^\s*--.*$/gm)!
      .join(' ')
    const [, listed] = /Parameters?: (.*?)\.?$/.exec(comment.replace(/\s*--\s*/g, ' ').trim()) ?? []
    const named = listed === undefined ? 0 : listed.split(',').length
    expect(bare(textOf(dialect, name)).split('?').length - 1).toBe(named)
  })
})

const left = backendKinds.filter(({ skip }) => skip !== undefined)
for (const { name, skip } of left) {
  test.skip(`${name}: its statements are prepared (left out: ${skip})`, () => undefined)
}

describe.each(
  backendKinds.filter(({ skip }) => skip === undefined).map((kind) => [kind.name, kind] as const),
)('%s prepares', (_, kind: BackendKind) => {
  let store: OpenStore
  let prepare: (text: string) => Promise<number>
  let close: () => Promise<void>

  beforeAll(async () => {
    store = await kind.open()
    if (store.spec.type === 'sqlite') {
      const client = new Database(store.spec.config.path)
      // The journal is a file of its own; here its statements find their tables too.
      for (const table of ['records', 'state']) client.run(textOf('sqlite', `journal_create_${table}.sql`))
      prepare = async (text) => client.prepare(text).paramsCount
      close = async () => client.close()
      return
    }
    // What the adopting statements copy from.
    for (const table of ['translation_sessions', 'translation_tasks']) {
      await store.execute(`CREATE TABLE adopting_${table} LIKE ${table}`)
    }
    const { host, port, user, password, database } = store.spec.config
    const connection = await createConnection(revealed({ host, port, user, password, database }))
    prepare = async (text) => {
      const prepared = (await connection.prepare(text)) as unknown as { statement: { parameters: unknown[] } }
      return prepared.statement.parameters.length
    }
    close = async () => connection.destroy()
  })
  afterAll(async () => {
    await close?.()
    await store?.close()
  })

  test.each(statementsOf(kind.dialect))('%s', async (name) => {
    const text = bare(textOf(kind.dialect, name))
    expect(await prepare(text.replace(/;$/, ''))).toBe(text.split('?').length - 1)
  })
})
