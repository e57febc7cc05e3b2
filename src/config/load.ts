import { apiKeyFaults } from './api_keys.ts'
import {
  type BackendConfig,
  isBackendName,
  isBackendType,
  mysqlSettings,
  sqliteSettings,
} from './backends.ts'
import { checkSource, entriesOf } from './check.ts'
import { combinationFaults } from './combinations.ts'
import { type Document, documentOf, isMap, merge } from './document.ts'
import { type Environment, readEnvironment } from './environment.ts'
import { ConfigError, type Fault } from './faults.ts'
import { type ReadFile, readConfigFile } from './file.ts'
import { orderingFaults } from './orderings.ts'
import { type CollectionToRoute, routeCollections } from './routes.ts'
import { type Config, settings } from './schema.ts'

/** Where the configuration comes from, and what it is for. */
export interface LoadConfigOptions {
  env: Environment
  /** Reads the file that CONFIG_FILE names. */
  readFile: ReadFile
  /** Reads the file of the API keys. Not given = it is not looked at. */
  readKeyFile?: ReadFile
  /** Every collection that there is. */
  collections: readonly CollectionToRoute[]
  /** The types of backend that can be switched on. Default: sqlite, mysql. */
  availableTypes?: readonly string[]
}

/**
 * Defaults < the YAML file named by CONFIG_FILE < environment. Each source is checked whole, so a wrong
 * value in the file is a fault even where the environment overrides it.
 * @throws ConfigError with all faults of all sources.
 */
export function loadConfig(options: LoadConfigOptions): Config {
  const { env, readFile, readKeyFile, collections, availableTypes = ['sqlite', 'mysql'] } = options
  const faults: Fault[] = []
  const report = (found: Fault) => void faults.push(found)
  const filePath = env.CONFIG_FILE
  const readable = filePath ? readConfigFile(filePath, { readFile, report }) : {}
  const file = readable ?? {}
  const mysqlEntry = mysqlEntryOf(file)
  const environment = readEnvironment(env, mysqlEntry)
  const { document, names, switchesMysqlOn } = environment

  const ofFile = checkSource(file, {
    nameOf: (key) => key,
    isOn: (name, entry) => entry.enabled !== false || (name === mysqlEntry && switchesMysqlOn !== undefined),
  })
  const ofEnvironment = checkSource(merge(backendTypes(mysqlEntry), document), {
    // An item of a list has the name of its list.
    nameOf: (key) => names.get(key.replace(/\[\d+\]$/, '')) ?? key,
    isOn: () => true,
  })
  faults.push(...ofFile.values(), ...environment.faults, ...ofEnvironment.values())

  const layers = [implied({ file, mysqlEntry }), file, document, switchedOn(mysqlEntry, switchesMysqlOn)]
  const merged = layers.reduce(merge)
  // What a file that can't be read would have said is unknown: nothing to hold the rest against.
  if (readable === undefined) throw new ConfigError(faults)
  const faulty = (path: string) => ofFile.has(path) || ofEnvironment.has(path)
  faults.push(...orderingFaults(merged, { file, names, faulty }), ...combinationFaults(merged, { names }))
  faults.push(...apiKeyFaults(merged, { names, readKeyFile }))
  const context = { collections, availableTypes, mysqlEntry, environment, report }
  const routes = routeCollections(merged, context)
  if (faults.length > 0) throw new ConfigError(faults)
  return configOf(merged, routes)
}

/** The entry that DB_* and DATABASE_URL configure: the one called mysql, else the file's only one of that type. */
function mysqlEntryOf(file: Document): string {
  const entries = entriesOf(file)
  const ofType = entries.filter(
    ([name, entry]) => isBackendName(name) && isMap(entry) && entry.type === 'mysql',
  )
  const [only] = ofType
  return only !== undefined && ofType.length === 1 && !entries.some(([name]) => name === 'mysql')
    ? only[0]
    : 'mysql'
}

function backendTypes(mysqlEntry: string): Document {
  return { storage: { backends: { sqlite: { type: 'sqlite' }, [mysqlEntry]: { type: 'mysql' } } } }
}

/** What is there without being written: sqlite, and MySQL switched off. */
function implied({ file, mysqlEntry }: { file: Document; mysqlEntry: string }): Document {
  const inFile = new Set(entriesOf(file).map(([name]) => name))
  const backends = Object.entries({
    sqlite: { type: 'sqlite' },
    [mysqlEntry]: { type: 'mysql', enabled: false },
  })
  return { storage: { backends: Object.fromEntries(backends.filter(([name]) => !inFile.has(name))) } }
}

function switchedOn(mysqlEntry: string, switchesMysqlOn: string | undefined): Document {
  return switchesMysqlOn === undefined ? {} : documentOf(['storage', 'backends', mysqlEntry, 'enabled'], true)
}

function configOf(merged: Document, routes: Record<string, string>): Config {
  const { storage, ...sections } = settings.parse(merged)
  const inDataDir = `${sections.service.data_dir.replace(/\/+$/, '')}/persistence.sqlite`
  const backends: Record<string, BackendConfig> = {}
  for (const [name, { type, enabled, config }] of Object.entries(storage.backends)) {
    if (!enabled || !isBackendType(type)) continue
    backends[name] =
      type === 'sqlite'
        ? { type, config: { path: sqliteSettings.parse(config).path ?? inDataDir } }
        : { type, config: mysqlSettings.parse(config) }
  }
  return { ...sections, storage: { backends, routes } }
}
