/** The rules of the house, as functions from sources to faults. */
import { posix } from 'node:path'
import { type ImportedModule, importsOf, lineAt, type SourceText, sourceText } from './source_text.ts'

/** A file of the project; its path is from the root, with slashes. */
export interface SourceFile {
  path: string
  text: string
}

/** A rule that is broken, and where. */
export interface Fault {
  path: string
  line: number
  rule: string
  detail: string
}

type Read = SourceFile & SourceText & { room: string; imports: (ImportedModule & { target?: string })[] }

const SLICES = ['translation', 'files', 'users', 'audit', 'system']
const KERNEL = ['auth', 'config', 'http', 'collections', 'backends', 'cluster', 'buffer', 'telemetry']
const BELOW_SLICES = ['lib', ...KERNEL]
const BELOW_COMPOSE = [...BELOW_SLICES, ...SLICES]

/** From each room, the rooms that it may import. `backends` stands for its folders too. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  lib: [],
  ...Object.fromEntries(KERNEL.map((room) => [room, BELOW_SLICES])),
  ...Object.fromEntries(SLICES.map((room) => [room, BELOW_SLICES])),
  app: [...BELOW_COMPOSE, 'compose'],
  compose: [...BELOW_COMPOSE, 'app'],
  main: [...BELOW_COMPOSE, 'app', 'compose'],
}

/** Which files may import a package; the first line that knows the package decides. */
const PACKAGES: readonly [name: RegExp, mayBeIn: RegExp, where: string][] = [
  [/^(mysql2|drizzle-orm\/mysql)/, /^src\/backends\/mysql\//, 'src/backends/mysql'],
  [/^(bun:sqlite$|drizzle-orm\/(bun-)?sqlite)/, /^src\/backends\/sqlite\//, 'src/backends/sqlite'],
  [/^(ioredis|redis)(\/|$)/, /^src\/backends\/redis\//, 'src/backends/redis'],
  [/^@(aws-sdk|smithy)\//, /^src\/backends\/s3\//, 'src/backends/s3'],
  [/^@(elastic|opensearch-project)\//, /^src\/backends\/elasticsearch\//, 'src/backends/elasticsearch'],
  [/^drizzle-orm$/, /^src\/backends\//, 'src/backends'],
  [/^prom-client$|^@opentelemetry\//, /^src\/telemetry\//, 'src/telemetry'],
  [
    /^(@hono\/[^/]+|hono)(\/|$)/,
    /^src\/(http|translation|files|users|audit|system)\/|^src\/(app|main)\.ts$/,
    'src/http, slices, app, main',
  ],
  [
    /^swagger-ui-dist(\/|$)/,
    /^src\/(http|system)\/|^src\/(compose|main)\.ts$/,
    'src/http, src/system, compose, main',
  ],
  [
    /^zod(\/|$)/,
    /^src\/(http|config|collections)\/|^src\/(translation|files|users|audit|system)\/(.*[/_])?schemas?(\.ts|\/)/,
    'src/http, src/config, src/collections, schema files of slices',
  ],
  [/^yaml$/, /^src\/config\//, 'src/config'],
  [/^ipaddr\.js$/, /^src\/(http|config)\//, 'src/http, src/config'],
  [/^rate-limiter-flexible$/, /^src\/(http|backends\/redis)\//, 'src/http, src/backends/redis'],
  [/^jose(\/|$)/, /^src\/auth\//, 'src/auth'],
  [/^(node:)?process$/, /^src\/main\.ts$/, 'src/main.ts'],
  [/^bun(:|$)/, /^src\/(main\.ts$|backends\/sqlite\/)/, 'src/main.ts, src/backends/sqlite'],
  [/^node:/, /^src\//, 'src'],
]

/** All faults of a set of files, which need not be the whole project. */
export function checkArchitecture(files: readonly SourceFile[]): Fault[] {
  const read = files.map((file): Read => {
    const source = sourceText(file.text)
    const imports = importsOf(source).map((found) => ({ ...found, ...targetOf(file.path, found) }))
    return { ...file, ...source, imports, room: roomOf(file.path) }
  })
  const src = read.filter(({ path }) => path.startsWith('src/') && !path.endsWith('.d.ts'))
  return [
    ...src.flatMap((file) => [...directionFaults(file), ...packageFaults(file), ...globalFaults(file)]),
    ...src.flatMap(loadFaults),
    ...cycleFaults(src),
    ...read.flatMap((file) => [...nameFaults(file), ...lengthFaults(file), ...formFaults(file)]),
  ]
}

/** One fault a line, as an editor can follow it. */
export function faultsText(faults: readonly Fault[]): string {
  return faults.map(({ path, line, rule, detail }) => `${path}:${line}  ${rule}: ${detail}`).join('\n')
}

/** `src/lib/x.ts` → `lib`, `src/app.ts` → `app`, `src/backends/mysql/x.ts` → `backends/mysql`. */
function roomOf(path: string): string {
  const parts = path.replace(/^src\//, '').split('/')
  if (parts[0] !== 'backends' || parts.length < 3) return parts[0]!.replace(/\.ts$/, '')
  return `backends/${parts[1]}`
}

function targetOf(path: string, { specifier }: ImportedModule): { target?: string } {
  return specifier.startsWith('.') ? { target: posix.join(posix.dirname(path), specifier) } : {}
}

function directionFaults({ path, room, imports }: Read): Fault[] {
  const top = topRoom(room)
  const allowed = MAY_IMPORT[top]
  if (!allowed) {
    return [
      {
        path,
        line: 1,
        rule: 'rooms',
        detail: `${top} is no room of the house; give it a line in MAY_IMPORT`,
      },
    ]
  }
  const faults: Fault[] = []
  const add = (line: number, rule: string, detail: string) => faults.push({ path, line, rule, detail })
  for (const { specifier, target, line, dynamic, typeOnly } of imports) {
    if (target === undefined) continue
    if (!target.startsWith('src/')) {
      const isOwnSql = top === 'backends' && target.startsWith('sql/')
      if (!isOwnSql && target !== 'package.json') add(line, 'direction', `${specifier} is outside of src`)
      continue
    }
    const other = roomOf(target)
    const otherTop = topRoom(other)
    if (otherTop === top && top !== 'backends') continue
    if (SLICES.includes(top) && SLICES.includes(otherTop)) {
      add(line, 'slices', `${top} imports ${otherTop}; slices share through what compose hands them`)
    } else if (otherTop !== top && !allowed.includes(otherTop)) {
      add(line, 'direction', `${top} must not import ${otherTop}`)
    }
    if (SLICES.includes(top) && otherTop === 'auth' && !typeOnly) {
      add(line, 'principals', `${top} reads principals, and makes none: import the types of auth alone`)
    }
    if (!isVendorRoom(other) || other === room) continue
    if (top !== 'backends' && top !== 'compose') {
      add(line, 'backends', `${top} must not know ${other}; it goes through the contract`)
    } else if (!dynamic && !typeOnly) {
      add(line, 'backends', `${other} is loaded when it is configured: import() it`)
    }
  }
  return faults
}

function topRoom(room: string): string {
  return room.split('/')[0]!
}

/** A backend's own folder; `backends/sql` is what the SQL ones share. */
function isVendorRoom(room: string): boolean {
  return room.startsWith('backends/') && room !== 'backends/sql'
}

function packageFaults({ path, imports }: Read): Fault[] {
  const faults: Fault[] = []
  for (const { specifier, target, line } of imports) {
    if (target !== undefined) continue
    const entry = PACKAGES.find(([name]) => name.test(specifier))
    const detail = entry ? `${specifier} belongs in ${entry[2]}` : `${specifier} has no line in PACKAGES`
    if (!entry?.[1].test(path)) faults.push({ path, line, rule: 'packages', detail })
  }
  return faults
}

const PROCESS =
  /(?<![.\w$])process\s*(?:\??\.|\[)|(?<![.\w$])typeof\s+process\b|\bglobalThis\s*\.\s*process\b|=\s*process\b(?!\s*\()/g
const BUN = /(?<![.\w$])Bun\s*(?:\??\.|\[)|(?<![.\w$])typeof\s+Bun\b|\bglobalThis\s*\.\s*Bun\b|=\s*Bun\b/g

function globalFaults({ path, bare }: Read): Fault[] {
  if (path === 'src/main.ts') return []
  const processes = matchFaults(path, bare, PROCESS, 'process', 'only src/main.ts knows the process')
  if (path.startsWith('src/backends/sqlite/')) return processes
  return [
    ...processes,
    ...matchFaults(path, bare, BUN, 'Bun', 'only src/main.ts and src/backends/sqlite know Bun'),
  ]
}

/** Nothing happens when a file is loaded: no timer, no connection waited for, outside of a function. */
function loadFaults({ path, bare }: Read): Fault[] {
  if (path === 'src/main.ts') return []
  const outer = [...bare]
  let depth = 0
  for (const [at, char] of outer.entries()) {
    if ('}])'.includes(char)) depth -= 1
    if (depth > 0 && char !== '\n') outer[at] = ' '
    if ('{[('.includes(char)) depth += 1
  }
  const starts = /^(?!.*=>).*\b(?:setTimeout|setInterval|setImmediate|fetch)\s*\(|^(?!.*=>).*\bawait\b/gm
  return matchFaults(path, outer.join(''), starts, 'load', 'nothing starts when a file is imported')
}

function matchFaults(path: string, text: string, pattern: RegExp, rule: string, detail: string): Fault[] {
  return [...text.matchAll(pattern)].map(({ index }) => ({ path, line: lineAt(text, index), rule, detail }))
}

/** No cycle of files, and none of rooms; the catalogues and the contract are two sides of one room. */
function cycleFaults(files: readonly Read[]): Fault[] {
  const room = (file: string) => {
    if (file === 'src/backends/catalog.ts') return 'backends/catalog'
    const name = roomOf(file)
    return name === 'collections' || name === 'backends/sql' ? 'backends' : name
  }
  const edges = files.flatMap(({ path, imports }) =>
    imports.flatMap(({ target, line }) => (target?.startsWith('src/') ? [{ path, line, target }] : [])),
  )
  const kinds = [
    { rule: 'cycle of files', nameOf: (file: string) => file },
    { rule: 'cycle of rooms', nameOf: room },
  ]
  return kinds.flatMap(({ rule, nameOf }) => {
    const next = new Map<string, Set<string>>()
    for (const { path, target } of edges) {
      const [from, to] = [nameOf(path), nameOf(target)]
      if (from !== to || path === target) next.set(from, (next.get(from) ?? new Set()).add(to))
    }
    return edges.flatMap(({ path, line, target }) => {
      const [from, to] = [nameOf(path), nameOf(target)]
      if (!next.get(from)?.has(to)) return []
      const way = pathBetween(next, to, from)
      return way ? [{ path, line, rule, detail: [from, ...way].join(' → ') }] : []
    })
  })
}

function pathBetween(next: Map<string, Set<string>>, from: string, to: string): string[] | undefined {
  const ways = [[from]]
  const seen = new Set([from])
  for (const way of ways) {
    const last = way.at(-1)!
    if (last === to) return way
    for (const step of next.get(last) ?? []) {
      if (seen.has(step)) continue
      seen.add(step)
      ways.push([...way, step])
    }
  }
  return undefined
}

function nameFaults({ path }: Read): Fault[] {
  const faults: Fault[] = []
  for (const part of path.split('/')) {
    if (/^(utils?|helpers?|types)(\.|$)/.test(part)) {
      faults.push({ path, line: 1, rule: 'names', detail: `${part} says nothing about what is in it` })
    }
    if (!/^[a-z0-9_]+(\.[a-z]+)*$/.test(part)) {
      faults.push({ path, line: 1, rule: 'names', detail: `${part} is not snake_case` })
    }
  }
  return faults
}

function lengthFaults({ path, text }: Read): Fault[] {
  const limit = path.startsWith('tests/') ? 500 : 400
  const length = text.replace(/\n$/, '').split('\n').length
  return length <= limit
    ? []
    : [{ path, line: limit + 1, rule: 'length', detail: `${length} lines, at most ${limit}` }]
}

function formFaults({ path, bare, imports }: Read): Fault[] {
  const faults: Fault[] = []
  if (path !== 'drizzle.config.ts' && !path.endsWith('.d.ts')) {
    const exported = /\bexport\s+default\b|\bas\s+default\b/g
    faults.push(...matchFaults(path, bare, exported, 'export default', 'exports have names'))
  }
  if (SLICES.some((slice) => path.startsWith(`src/${slice}/`))) {
    const thrown = /\bthrow\s+(?:new\s+)?Error\b/g
    faults.push(...matchFaults(path, bare, thrown, 'errors', 'slices throw errors of the table of codes'))
  }
  for (const { target, specifier, line } of imports) {
    if (target !== undefined && !/\.(?!m?js$)[a-z]+$/.test(specifier)) {
      faults.push({ path, line, rule: 'imports', detail: `${specifier} needs its .ts` })
    }
  }
  return faults
}
