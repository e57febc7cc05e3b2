import { describe, expect, test } from 'bun:test'
import { checkArchitecture, faultsText, type SourceFile } from '../support/architecture.ts'

const ROOT = new URL('../../', import.meta.url).pathname

async function projectFiles(): Promise<SourceFile[]> {
  const paths = await Array.fromAsync(new Bun.Glob('{src,tests,tools,bench}/**/*.ts').scan({ cwd: ROOT }))
  return Promise.all(
    [...paths, 'drizzle.config.ts']
      .sort()
      .map(async (path) => ({ path, text: await Bun.file(ROOT + path).text() })),
  )
}

/** Checks files given as path → text, and answers the faults as text. */
function faultsOf(files: Record<string, string>): string {
  return faultsText(checkArchitecture(Object.entries(files).map(([path, text]) => ({ path, text }))))
}

test('the project keeps every rule of the house', async () => {
  const files = await projectFiles()
  expect(files.length).toBeGreaterThan(10)
  expect(faultsText(checkArchitecture(files))).toBe('')
})

describe('what may stand', () => {
  const fine: [title: string, files: Record<string, string>][] = [
    [
      'a slice on the kernel',
      { 'src/users/routes.ts': "import { a } from '../http/endpoint.ts'\nimport { Hono } from 'hono'" },
    ],
    ['zod in a schema file', { 'src/users/schema.ts': "import { z } from 'zod'" }],
    ['drizzle core among the backends', { 'src/backends/sql/x.ts': "import { sql } from 'drizzle-orm'" }],
    [
      'a vendor in its folder',
      { 'src/backends/mysql/mod.ts': "import { createPool } from 'mysql2/promise'" },
    ],
    [
      'a statement of a backend',
      { 'src/backends/mysql/x.ts': "import t from '../../../sql/mysql/x.sql' with { type: 'text' }" },
    ],
    [
      'a backend loaded on demand',
      { 'src/backends/catalog.ts': "export const open = () => import('./mysql/mod.ts')" },
    ],
    [
      'the contract and the definitions importing each other',
      {
        'src/backends/backend.ts': "import type { A } from '../collections/definition.ts'",
        'src/collections/router.ts': "import type { B } from '../backends/backend.ts'",
      },
    ],
    [
      'a backend that serves the buffer, which knows the contract',
      {
        'src/backends/sqlite/journal.ts': "import type { J } from '../../buffer/journal.ts'",
        'src/buffer/write_buffer.ts': "import type { B } from '../backends/backend.ts'",
        'src/backends/catalog.ts': "export const open = () => import('./sqlite/journal.ts')",
      },
    ],
    ['process and Bun in the entry', { 'src/main.ts': 'process.on("SIGTERM", stop)\nBun.serve({})' }],
    [
      'the words in comments and texts',
      {
        'src/lib/x.ts':
          "// process.env, Bun.serve\n/* import 'mysql2' */\nconst a = 'Bun.serve'\nconst b = `process.env`\nconst c = /process.env'/\nthis.process.a()",
      },
    ],
    ['a timer inside a function', { 'src/buffer/x.ts': 'export function start() {\n  setInterval(f, 1)\n}' }],
    ['four hundred lines', { 'src/lib/x.ts': '\n'.repeat(400), 'tests/unit/x.test.ts': '\n'.repeat(500) }],
    ['the one default export that a tool asks for', { 'drizzle.config.ts': 'export default {}' }],
  ]
  test.each(fine)('%s', (_, files) => expect(faultsOf(files)).toBe(''))
})

describe('what is found', () => {
  const broken: [title: string, files: Record<string, string>, fault: string][] = [
    [
      'lib importing a room above',
      { 'src/lib/x.ts': "\nimport { a } from '../http/y.ts'" },
      'src/lib/x.ts:2  direction: lib must not import http',
    ],
    [
      'a slice that could make a principal',
      { 'src/users/x.ts': "import { ANYONE } from '../auth/principal.ts'" },
      'src/users/x.ts:1  principals: users reads principals, and makes none: import the types of auth alone',
    ],
    [
      'the kernel importing a slice',
      { 'src/buffer/x.ts': "import type { a } from '../users/y.ts'" },
      'src/buffer/x.ts:1  direction: buffer must not import users',
    ],
    [
      'a slice importing what is above it',
      { 'src/users/x.ts': "export * from '../compose.ts'" },
      'src/users/x.ts:1  direction: users must not import compose',
    ],
    [
      'anything importing the entry',
      { 'src/app.ts': "import './main.ts'" },
      'src/app.ts:1  direction: app must not import main',
    ],
    [
      'src importing tests',
      { 'src/lib/x.ts': "import {\n  a,\n} from '../../tests/support/http.ts'" },
      'src/lib/x.ts:3  direction: ../../tests/support/http.ts is outside of src',
    ],
    [
      'SQL texts outside of the backends',
      { 'src/users/x.ts': "import t from '../../sql/mysql/x.sql'" },
      'src/users/x.ts:1  direction: ../../sql/mysql/x.sql is outside of src',
    ],
    [
      'a slice importing a slice',
      { 'src/users/x.ts': "const a = await_(import('../files/y.ts'))" },
      'src/users/x.ts:1  slices: users imports files; slices share through what compose hands them',
    ],
    [
      'a room that nobody planned',
      { 'src/repositories/x.ts': '' },
      'src/repositories/x.ts:1  rooms: repositories is no room of the house; give it a line in MAY_IMPORT',
    ],
    [
      'a slice reaching past the contract',
      { 'src/users/x.ts': "import type { a } from '../backends/mysql/mod.ts'" },
      'src/users/x.ts:1  backends: users must not know backends/mysql; it goes through the contract',
    ],
    [
      'a backend loaded whether configured or not',
      { 'src/backends/catalog.ts': "import { a } from './sqlite/mod.ts'" },
      'src/backends/catalog.ts:1  backends: backends/sqlite is loaded when it is configured: import() it',
    ],
    [
      'a driver outside of its folder',
      { 'src/backends/sqlite/x.ts': "import { createPool } from 'mysql2/promise'" },
      'src/backends/sqlite/x.ts:1  packages: mysql2/promise belongs in src/backends/mysql',
    ],
    [
      'a dialect of drizzle outside of its folder',
      { 'src/backends/sql/x.ts': "import { a } from 'drizzle-orm/mysql-core'" },
      'src/backends/sql/x.ts:1  packages: drizzle-orm/mysql-core belongs in src/backends/mysql',
    ],
    [
      'bun:sqlite outside of its folder',
      { 'src/buffer/x.ts': "import { Database } from 'bun:sqlite'" },
      'src/buffer/x.ts:1  packages: bun:sqlite belongs in src/backends/sqlite',
    ],
    [
      'drizzle outside of the backends',
      { 'src/users/x.ts': "import { sql } from 'drizzle-orm'" },
      'src/users/x.ts:1  packages: drizzle-orm belongs in src/backends',
    ],
    [
      'prom-client outside of telemetry',
      { 'src/http/x.ts': "import { Counter } from 'prom-client'" },
      'src/http/x.ts:1  packages: prom-client belongs in src/telemetry',
    ],
    [
      'hono below the web rooms',
      { 'src/buffer/x.ts': "import { z } from '@hono/zod-openapi'" },
      'src/buffer/x.ts:1  packages: @hono/zod-openapi belongs in src/http, slices, app, main',
    ],
    [
      'zod in a service',
      { 'src/users/service.ts': "import { z } from 'zod'" },
      'src/users/service.ts:1  packages: zod belongs in src/http, src/config, src/collections, schema files of slices',
    ],
    [
      'yaml outside of config',
      { 'src/lib/x.ts': "import { parse } from 'yaml'" },
      'src/lib/x.ts:1  packages: yaml belongs in src/config',
    ],
    [
      'a package that nobody placed',
      { 'src/lib/x.ts': "require('lodash')" },
      'src/lib/x.ts:1  packages: lodash has no line in PACKAGES',
    ],
    [
      'node:process',
      { 'src/lib/x.ts': "import { env } from 'node:process'" },
      'src/lib/x.ts:1  packages: node:process belongs in src/main.ts',
    ],
    [
      'process outside of the entry',
      { 'src/config/load.ts': "const a = 'x'\nexport const b = process.env.A" },
      'src/config/load.ts:2  process: only src/main.ts knows the process',
    ],
    [
      'process in the sqlite folder',
      { 'src/backends/sqlite/x.ts': 'f(Bun.file(process.argv[1]))' },
      'src/backends/sqlite/x.ts:1  process: only src/main.ts knows the process',
    ],
    [
      'process in the hole of a template, after other texts',
      {
        'src/lib/x.ts': `const q = /['"\`]/g, e = '🙂'\nconst t = \`it's \${f({ a: \`\${process.env.A}\` })} \${1}\``,
      },
      'src/lib/x.ts:2  process: only src/main.ts knows the process',
    ],
    [
      'Bun outside of the entry',
      { 'src/app.ts': "\n\nglobalThis.Bun.serve({}) // it's" },
      'src/app.ts:3  Bun: only src/main.ts and src/backends/sqlite know Bun',
    ],
    [
      'a timer at import',
      { 'src/cluster/x.ts': 'export const timer = setInterval(() => {\n  f()\n}, 1)' },
      'src/cluster/x.ts:1  load: nothing starts when a file is imported',
    ],
    [
      'a connection at import',
      { 'src/cluster/x.ts': '\nexport const c = await connect()' },
      'src/cluster/x.ts:2  load: nothing starts when a file is imported',
    ],
    [
      'a file that is too long',
      { 'src/lib/x.ts': 'a\n'.repeat(401) },
      'src/lib/x.ts:401  length: 401 lines, at most 400',
    ],
    [
      'a test that is too long',
      { 'tests/unit/x.test.ts': 'a\n'.repeat(501) },
      'tests/unit/x.test.ts:501  length: 501 lines, at most 500',
    ],
    [
      'a default export',
      { 'src/app.ts': '\nexport default {}' },
      'src/app.ts:2  export default: exports have names',
    ],
    [
      'a renamed default export',
      { 'tools/x.ts': 'export { a as default }' },
      'tools/x.ts:1  export default: exports have names',
    ],
    [
      'a bare Error in a slice',
      { 'src/audit/x.ts': "\nif (a) throw new Error('no')" },
      'src/audit/x.ts:2  errors: slices throw errors of the table of codes',
    ],
    [
      'a drawer',
      { 'src/lib/utils.ts': '' },
      'src/lib/utils.ts:1  names: utils.ts says nothing about what is in it',
    ],
    [
      'a drawer of a folder',
      { 'tests/helpers/x.ts': '' },
      'tests/helpers/x.ts:1  names: helpers says nothing about what is in it',
    ],
    ['a file in camelCase', { 'src/lib/aB.ts': '' }, 'src/lib/aB.ts:1  names: aB.ts is not snake_case'],
    [
      'an import without its extension',
      { 'src/lib/x.ts': "import { a } from './y'" },
      'src/lib/x.ts:1  imports: ./y needs its .ts',
    ],
    [
      'an import of a .js that is none',
      { 'tests/unit/x.test.ts': "import { a } from './y.js'" },
      'tests/unit/x.test.ts:1  imports: ./y.js needs its .ts',
    ],
    [
      'a cycle of files',
      {
        'src/lib/a.ts': "import { b } from './b.ts'",
        'src/lib/b.ts': "import { a } from './a.ts'",
      },
      'src/lib/a.ts:1  cycle of files: src/lib/a.ts → src/lib/b.ts → src/lib/a.ts\nsrc/lib/b.ts:1  cycle of files: src/lib/b.ts → src/lib/a.ts → src/lib/b.ts',
    ],
    [
      'a cycle of rooms',
      {
        'src/http/a.ts': "import { b } from '../telemetry/b.ts'",
        'src/telemetry/c.ts': "import { d } from '../http/d.ts'",
      },
      'src/http/a.ts:1  cycle of rooms: http → telemetry → http\nsrc/telemetry/c.ts:1  cycle of rooms: telemetry → http → telemetry',
    ],
  ]
  test.each(broken)('%s', (_, files, fault) => expect(faultsOf(files)).toBe(fault))
})
