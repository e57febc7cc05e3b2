import { failureOf, isAbsent, unreadable } from '../auth/key_file.ts'
import { type KeyFault, parseInlineKeys, parseKeyFile } from '../auth/key_line.ts'
import { type Document, valueAt } from './document.ts'
import { type Fault, fault } from './faults.ts'
import type { ReadFile } from './file.ts'
import type { Origins } from './orderings.ts'
import { type Config, settings } from './schema.ts'

/** The file of the API keys; `named` = it has to be there. */
export interface ApiKeysFile {
  path: string
  named: boolean
}

/** Where the API keys of this configuration are. */
export function apiKeysFile({ auth, service }: Pick<Config, 'auth' | 'service'>): ApiKeysFile {
  return fileOf(auth.api_keys_file, service.data_dir)
}

interface ApiKeyFaultsOptions extends Pick<Origins, 'names'> {
  /** Not given = the file is not looked at. */
  readKeyFile: ReadFile | undefined
}

/** What is wrong with the API keys of the variable, and of the file. */
export function apiKeyFaults(merged: Document, { names, readKeyFile }: ApiKeyFaultsOptions): Fault[] {
  const nameOf = (path: string) => names.get(path) ?? path
  const textAt = (path: string) => {
    const value = valueAt(merged, path.split('.'))
    return typeof value === 'string' && value.trim() !== '' ? value : null
  }
  const text = textAt('auth.api_keys')
  const inline = text === null ? { keys: [], faults: [] } : parseInlineKeys(text)
  const found = faultsOf(inline.faults, { key: nameOf('auth.api_keys'), place: (at) => `entry ${at}` })
  if (!readKeyFile) return found
  const dataDir = textAt('service.data_dir') ?? settings.parse({}).service.data_dir
  const file = fileOf(textAt('auth.api_keys_file'), dataDir)
  // Until its file was read, a path that was named may be a key in the wrong place.
  const key = file.named ? nameOf('auth.api_keys_file') : file.path
  const taken = inline.keys.map(({ entry }) => entry.hash)
  return [...found, ...fileFaults(file, { key, taken, readKeyFile })]
}

function fileOf(path: string | null, dataDir: string): ApiKeysFile {
  return { path: path ?? `${dataDir.replace(/\/+$/, '')}/api_keys`, named: path !== null }
}

function fileFaults(
  { path, named }: ApiKeysFile,
  { key, taken, readKeyFile }: { key: string; taken: string[]; readKeyFile: ReadFile },
): Fault[] {
  let text: string
  try {
    text = readKeyFile(path)
  } catch (error) {
    const failure = failureOf(error)
    return !named && isAbsent(failure) ? [] : [fault(key, unreadable(failure))]
  }
  const of = named ? ` of ${path}` : ''
  return faultsOf(parseKeyFile(text, taken).faults, { key, place: (at) => `line ${at}${of}` })
}

interface PlaceOfFaults {
  key: string
  place(at: number): string
}

function faultsOf(found: KeyFault[], { key, place }: PlaceOfFaults): Fault[] {
  return found.map(({ at, expected }) => fault(key, `${expected} (${place(at)})`))
}
