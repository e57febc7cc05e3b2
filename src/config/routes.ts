import { defaultBackends, isBackendType, knownTypes, mysqlColumn } from './backends.ts'
import { entriesOf } from './check.ts'
import { type Document, dotted, isMap } from './document.ts'
import type { EnvironmentSource } from './environment.ts'
import { type Fault, fault, shown } from './faults.ts'

/** What routing needs to know of a collection. */
export interface CollectionToRoute {
  name: string
  /** `records`, `blobs` …: decides which backend holds it by default. */
  kind: string
}

/** What stands around the merged settings. */
export interface RoutingContext {
  collections: readonly CollectionToRoute[]
  /** The types of backend that can be switched on here. */
  availableTypes: readonly string[]
  /** The backend that DB_* configure. */
  mysqlEntry: string
  environment: EnvironmentSource
  report: (fault: Fault) => void
}

type Entry = [name: string, entry: Document]

/** Which backend holds which collection. Takes settings that may have other faults, so that all are seen at once. */
export function routeCollections(merged: Document, context: RoutingContext): Record<string, string> {
  const entries = entriesOf(merged).filter((pair): pair is Entry => isMap(pair[1]))
  const on = entries.filter(([, entry]) => entry.enabled !== false)
  checkSqlite(entries, context)
  checkTypes(on, context)
  const routes = new Map<string, string>()
  for (const entry of on) routeListed(entry, { ...context, routes })
  routeColumn(on, { ...context, routes })
  for (const { name, kind } of context.collections) {
    const backend = routes.get(name) ?? defaultBackends[kind]
    if (backend === undefined)
      context.report(fault('storage.backends', `a backend that lists ${name}: no default one holds ${kind}`))
    else routes.set(name, backend)
  }
  return Object.fromEntries(routes)
}

/** The embedded backend holds what no other one lists, so nothing may take its name or switch it off. */
function checkSqlite(entries: Entry[], { report }: RoutingContext) {
  const entry = entries.find(([name]) => name === 'sqlite')?.[1]
  if (entry === undefined) return
  const { type, enabled } = entry
  if (isKnown(type) && type !== 'sqlite')
    report(fault('storage.backends.sqlite.type', 'sqlite, as the name says', shown('type', type)))
  if (enabled === false)
    report(fault('storage.backends.sqlite.enabled', 'true: it holds what no other backend lists', 'false'))
}

function checkTypes(on: Entry[], { availableTypes, mysqlEntry, environment, report }: RoutingContext) {
  const available = availableTypes.filter((type) => isBackendType(type))
  for (const [name, { type }] of on) {
    if (!isKnown(type)) continue
    const prefix = dotted(['storage', 'backends', name])
    const setter = [...environment.names].find(([key]) => key.startsWith(`${prefix}.`))?.[1]
    const switchedOnBy = name === mysqlEntry ? environment.switchesMysqlOn : undefined
    if (name === mysqlEntry && setter !== undefined && type !== 'mysql') {
      report(fault(`${prefix}.type`, `mysql, since ${setter} configures it`, shown('type', type)))
    } else if (isBackendType(type) && available.includes(type)) {
    } else if (switchedOnBy !== undefined) {
      report(fault(switchedOnBy, `no value: the backends available here are ${available.join(', ')}`))
    } else {
      const expected = `a type available here (${available.join(', ')}), or enabled: false`
      report(fault(`${prefix}.type`, expected, shown('type', type)))
    }
  }
}

function routeListed(
  [name, entry]: Entry,
  { collections, routes, report }: RoutingContext & { routes: Map<string, string> },
) {
  const known = collections.map((collection) => collection.name)
  for (const [index, collection] of listOf(entry).entries()) {
    // Not text: a fault that the schema has found.
    if (typeof collection !== 'string') continue
    const key = dotted(['storage', 'backends', name, 'data_types', index])
    const owner = routes.get(collection)
    if (!known.includes(collection)) report(fault(key, `one of ${known.join(', ')}`, shown(key, collection)))
    else if (owner === undefined) routes.set(collection, name)
    else report(fault(key, `each collection once (storage.backends.${owner} lists it too)`, collection))
  }
}

/** MySQL switched on by the environment takes its whole column, unless the file says what it holds. */
function routeColumn(
  on: Entry[],
  { collections, mysqlEntry, environment, routes, report }: RoutingContext & { routes: Map<string, string> },
) {
  const entry = on.find(([name]) => name === mysqlEntry)?.[1]
  const { switchesMysqlOn } = environment
  if (switchesMysqlOn === undefined || entry === undefined || entry.data_types !== undefined) return
  for (const { name } of collections.filter((collection) => mysqlColumn.includes(collection.name))) {
    const owner = routes.get(name)
    const expected = `storage.backends.${mysqlEntry}.data_types in the file, since storage.backends.${owner} lists ${name}`
    if (owner === undefined) routes.set(name, mysqlEntry)
    else report(fault(switchesMysqlOn, expected))
  }
}

function isKnown(type: unknown): type is (typeof knownTypes)[number] {
  return knownTypes.some((word) => word === type)
}

function listOf(entry: Document): unknown[] {
  return Array.isArray(entry.data_types) ? entry.data_types : []
}
