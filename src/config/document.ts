/** A source of settings before it is checked: nested maps, as YAML gives them. */
export type Document = Record<string, unknown>

/** Where a value stands in a document; numbers are positions in a list. */
export type Path = readonly PropertyKey[]

/** True for a map (neither null nor a list). */
export function isMap(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The value at a path, or undefined where the path leads nowhere. Reads own keys only. */
export function valueAt(document: unknown, path: Path): unknown {
  let value = document
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = Reflect.get(value, key)
  }
  return value
}

/** A document that holds this one value. */
export function documentOf(path: readonly string[], value: unknown): Document {
  const nested = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
  return isMap(nested) ? nested : {}
}

/** Both documents in one; where they don't both have a map, the upper one's value stands, but null = an empty map. */
export function merge(lower: Document, upper: Document): Document {
  // Built from entries, so that a key called __proto__ stays a key.
  const merged = new Map(Object.entries(lower))
  for (const [key, value] of Object.entries(upper)) {
    const below = merged.get(key)
    merged.set(key, isMap(below) && (isMap(value) || value === null) ? merge(below, value ?? {}) : value)
  }
  return Object.fromEntries(merged)
}

/** A path as its user would write it: `storage.backends.mysql.data_types[1]`. */
export function dotted(path: Path): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`
    // What is no plain word may be a value that slid into the key (`{password:hunter2}`): not repeated.
    const word = /^[\w.-]{1,64}$/.test(String(key)) ? String(key) : '(a key that is no plain word)'
    return text === '' ? word : `${text}.${word}`
  }, '')
}
