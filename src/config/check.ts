import type { z } from 'zod'
import { backendSettings, isBackendName, isBackendType } from './backends.ts'
import { type Document, dotted, isMap, type Path, valueAt } from './document.ts'
import { type Fault, fault, isSecretKey, kindOf, shown } from './faults.ts'
import { settings } from './schema.ts'

/** How one source is checked. */
export interface SourceCheck {
  /** The name that a value at this path has for whoever wrote it. */
  nameOf: (path: string) => string
  /** Whether a backend is on, and its `config` therefore checked strictly. */
  isOn: (name: string, entry: Document) => boolean
}

/** Everything that the schema finds wrong with one source, by path; one fault a path. */
export function checkSource(document: Document, { nameOf, isOn }: SourceCheck): ReadonlyMap<string, Fault> {
  const faults = new Map<string, Fault>()
  const collect = (value: unknown, { schema, prefix }: { schema: z.ZodType; prefix: Path }) => {
    for (const issue of schema.safeParse(value).error?.issues ?? []) {
      const at = [...prefix, ...issue.path]
      const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...at, key]) : [at]
      for (const path of paths) {
        const key = dotted(path)
        const name = nameOf(key)
        const got = isSecretKey(name) ? undefined : gotOf(issue, { document, path })
        if (!faults.has(key)) faults.set(key, fault(name, issue.message, got))
      }
    }
  }
  collect(document, { schema: settings, prefix: [] })
  for (const [name, entry] of entriesOf(document)) {
    const path = ['storage', 'backends', name]
    if (!isBackendName(name)) {
      faults.set(
        dotted(path),
        fault(dotted(path), 'a name of 1 to 64 letters, digits, _ and -, a letter first'),
      )
    }
    if (!isMap(entry) || !isBackendType(entry.type) || !isOn(name, entry)) continue
    const config = entry.config ?? {}
    if (isMap(config)) collect(config, { schema: backendSettings[entry.type], prefix: [...path, 'config'] })
  }
  return faults
}

/** The entries of `storage.backends`, checked or not. */
export function entriesOf(document: Document): [string, unknown][] {
  const backends = valueAt(document, ['storage', 'backends'])
  return isMap(backends) ? Object.entries(backends) : []
}

const containers = new Set(['object', 'record', 'array'])

function gotOf(
  issue: z.core.$ZodIssue,
  { document, path }: { document: Document; path: Path },
): string | undefined {
  // A key that nobody knows may be a misspelt password, and text in the place of a map may be a whole URL.
  if (issue.code === 'unrecognized_keys') return undefined
  const value = valueAt(document, path)
  // A password with a comma is cut in two where a list is read, and its @ stands in the other half.
  const list = valueAt(document, path.slice(0, -1))
  if (Array.isArray(list) && String(list).includes('@')) return undefined
  if (issue.code === 'invalid_type' && containers.has(issue.expected)) return kindOf(value)
  return shown(String(path.at(-1)), value)
}
