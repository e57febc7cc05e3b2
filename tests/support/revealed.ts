/** Lets a test see what is hidden: a configuration with the texts of its secrets. */
import { isSecret, type Secret } from '../../src/lib/secret.ts'

export type Revealed<T> = T extends Secret
  ? string
  : T extends object
    ? { [Key in keyof T]: Revealed<T[Key]> }
    : T

/** A copy of maps and lists in which each secret is its text. */
export function revealed<T>(value: T): Revealed<T> {
  return copy(value) as Revealed<T>
}

function copy(value: unknown): unknown {
  if (isSecret(value)) return value.reveal()
  if (Array.isArray(value)) return value.map(copy)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, copy(part)]))
}
