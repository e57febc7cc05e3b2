/** The law of merge in SQL: a field is taken where its stamp is higher, and the stamps are assigned last. */
import type { Collection } from '../../collections/definition.ts'
import { STAMP_BYTES } from '../../collections/stamp.ts'
import type { Dialect } from './codec.ts'

/** The 8 bytes of a slot. An older row may have fewer slots: '' compares below every stamp. */
export function slotOf(stamps: string, slot: number): string {
  return `SUBSTR(${stamps}, ${slot * STAMP_BYTES + 1}, ${STAMP_BYTES})`
}

/** Columns of an upsert, in the order in which `write` binds them. */
export function upsertColumns(collection: Collection): string[] {
  return [...collection.key, ...collection.slots, 'created_at', 'updated_at', 'stamps']
}

/**
 * The assignments of an upsert. MySQL evaluates them left to right, so `stamps`, which all others
 * compare, comes last. Slots beyond those this version knows are kept as they are.
 */
export function mergeAssignments(dialect: Dialect, collection: Collection): string {
  const stored = (name: string) => `${dialect.quote(collection.name)}.${dialect.quote(name)}`
  const q = dialect.quote
  const stamps = stored('stamps')
  const incoming = dialect.incoming('stamps')
  const fields = collection.slots.map(
    (name, slot) =>
      `${q(name)} = CASE WHEN ${slotOf(incoming, slot)} > ${slotOf(stamps, slot)} THEN ${dialect.incoming(name)} ELSE ${stored(name)} END`,
  )
  const merged = collection.slots.map(
    (_, slot) => `${dialect.greatest}(${slotOf(incoming, slot)}, ${slotOf(stamps, slot)})`,
  )
  const beyond = `SUBSTR(${stamps}, ${collection.slots.length * STAMP_BYTES + 1})`
  return [
    ...fields,
    `${q('created_at')} = ${dialect.least}(${dialect.incoming('created_at')}, ${stored('created_at')})`,
    `${q('updated_at')} = ${dialect.greatest}(${dialect.incoming('updated_at')}, ${stored('updated_at')})`,
    `${q('stamps')} = ${dialect.concat([...merged, beyond])}`,
  ].join(', ')
}

/** The greatest (or least) of a row's stamps. */
export function extremeStamp(extreme: string, collection: Collection, stamps: string): string {
  return `${extreme}(${collection.slots.map((_, slot) => slotOf(stamps, slot)).join(', ')})`
}
