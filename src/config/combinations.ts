import { type Document, valueAt } from './document.ts'
import { type Fault, fault } from './faults.ts'
import type { Origins } from './orderings.ts'

/** Settings of which one is nothing without the other. */
const together = [['tls.cert_file', 'tls.key_file']] as const
/** Settings of which only one may be there: which of two kinds of token is meant is not the token's choice. */
const apart = [['auth.jwt_secret', 'auth.jwt_jwks_url']] as const

/** Settings that don't go together, or not without each other. */
export function combinationFaults(merged: Document, { names }: Pick<Origins, 'names'>): Fault[] {
  const isSet = (path: string) => (valueAt(merged, path.split('.')) ?? null) !== null
  const nameOf = (path: string) => names.get(path) ?? path
  return [
    ...together.flatMap(([one, other]) => {
      if (isSet(one) === isSet(other)) return []
      const [there, missing] = isSet(one) ? [one, other] : [other, one]
      return [fault(nameOf(missing), `a value, as ${nameOf(there)} has one`)]
    }),
    ...apart.flatMap(([one, other]) =>
      isSet(one) && isSet(other) ? [fault(nameOf(other), `nothing, as ${nameOf(one)} is set`)] : [],
    ),
  ]
}
