/**
 * A collection: one kind of record, described once. Backends build their statements from it, the
 * router checks at start that a backend offers what it needs, the buffer takes its slots from it.
 */

/** `json` values travel serialised, `timestamp` values as milliseconds since the epoch. */
export type FieldType = 'text' | 'integer' | 'decimal' | 'json' | 'timestamp'

/** A stored value; null is a value (cleared), undefined is none (never written). */
export type Value = string | number | null

export interface FieldDefinition {
  type: FieldType
  /** A row is shown once its required fields are there; null is no value for them. */
  required?: true
}

export interface CollectionDefinition {
  name: string
  kind: 'records' | 'blobs'
  /** The key's fields, all text; the first is the group (for tasks: their session). */
  key: readonly string[]
  /**
   * The other fields. Their order is the order of the slots in a row's packed stamps:
   * append-only, a field is never moved or removed.
   */
  fields: Readonly<Record<string, FieldDefinition>>
  /** Fields that a query may compare for equality. */
  filters: readonly string[]
  /** What a list may be ordered by; `key` is the key's own order. */
  sorts: readonly string[]
  /** Text fields that `q` searches. */
  search: readonly string[]
  /** The collection whose key is this one's group; it must live on the same backend. */
  parent?: Collection
  /** A timestamp field that hides the row, and its children, while it is set. */
  hiddenBy?: string
  /** Written through the write buffer by the law of merge. */
  buffered: boolean
}

export interface Collection extends CollectionDefinition {
  /** Names of `fields` in slot order. */
  readonly slots: readonly string[]
  readonly required: readonly string[]
  slotOf(field: string): number
  typeOf(field: string): FieldType
}

/** Timestamps every record carries besides its own fields; kept by the law, not by a slot. */
export const ROW_TIMES = ['created_at', 'updated_at'] as const

/** What a row's stamps have room for, and what a number can tell apart. */
const MAX_SLOTS = 52

export function defineCollection(definition: CollectionDefinition): Collection {
  const slots = Object.keys(definition.fields)
  const slotNumbers = new Map(slots.map((name, slot) => [name, slot]))
  if (slots.length > MAX_SLOTS) throw new TypeError(`${definition.name} has more than ${MAX_SLOTS} fields`)
  const required = slots.filter((name) => definition.fields[name]!.required)
  return {
    ...definition,
    slots,
    required,
    slotOf(field) {
      const slot = slotNumbers.get(field)
      if (slot === undefined) throw new TypeError(`${definition.name} has no field ${field}`)
      return slot
    },
    typeOf(field) {
      if (definition.key.includes(field)) return 'text'
      if (ROW_TIMES.includes(field as (typeof ROW_TIMES)[number])) return 'timestamp'
      const found = definition.fields[field]
      if (!found) throw new TypeError(`${definition.name} has no field ${field}`)
      return found.type
    },
  }
}
