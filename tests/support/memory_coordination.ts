/** Tombstones and dead letters in memory: what a flush asks of its neighbours, in the test's hands. */
import type { Coordination, DeadLetter } from '../../src/backends/coordination.ts'
import { newestStamp } from '../../src/collections/row.ts'
import type { Stamp } from '../../src/collections/stamp.ts'

export interface MemoryCoordination {
  /** The facet; nothing but what a flush needs is offered. */
  coordination: Coordination
  letters: DeadLetter[]
  /** By group; of the one collection that deletes are under. */
  tombstones: Map<string, Stamp>
  /** While set, that call fails; null ends it. */
  fail(call: Call, failure: Error | null): void
  /** Is run by every look at the tombstones, before it answers: what happens elsewhere meanwhile. */
  onLook(act: ((look: number) => void) | null): void
  looks(): number
  /** Letters that are too large to be kept. */
  refuseLetters(isUnfit: (letter: DeadLetter) => boolean): void
}

type Call = 'tombstonesOf' | 'putDeadLetters' | 'countDeadLetters' | 'deleteDeadLetters'

const nameOf = ({ collection, row }: DeadLetter) =>
  JSON.stringify([collection, row.key, `${newestStamp(row)}`])

export function createMemoryCoordination(): MemoryCoordination {
  const letters: DeadLetter[] = []
  const tombstones = new Map<string, Stamp>()
  const failures = new Map<Call, Error | null>()
  let act: ((look: number) => void) | null = null
  let looks = 0
  let isUnfit: (letter: DeadLetter) => boolean = () => false

  function meet(call: Call): void {
    const failure = failures.get(call)
    if (failure) throw failure
  }

  const coordination: Partial<Coordination> = {
    async tombstonesOf(_, groups) {
      act?.(++looks)
      meet('tombstonesOf')
      return new Map([...tombstones].filter(([group]) => groups.includes(group)))
    },
    async putDeadLetters(put) {
      meet('putDeadLetters')
      const unfit = put.filter(isUnfit)
      for (const letter of put) {
        if (unfit.includes(letter)) continue
        const at = letters.findIndex((held) => nameOf(held) === nameOf(letter))
        if (at < 0) letters.push(letter)
        else letters[at] = letter
      }
      return unfit
    },
    async countDeadLetters({ collection, group }) {
      meet('countDeadLetters')
      return letters.filter(
        (letter) =>
          (collection === undefined || letter.collection === collection) &&
          (group === undefined || letter.row.key[0] === group),
      ).length
    },
    async deleteDeadLetters(collection, group, stamp) {
      meet('deleteDeadLetters')
      const kept = letters.filter(
        (letter) =>
          letter.collection !== collection || letter.row.key[0] !== group || newestStamp(letter.row) > stamp,
      )
      letters.splice(0, letters.length, ...kept)
    },
  }

  return {
    coordination: coordination as Coordination,
    letters,
    tombstones,
    fail: (call, failure) => void failures.set(call, failure),
    onLook(given) {
      act = given
      looks = 0
    },
    looks: () => looks,
    refuseLetters(given) {
      isUnfit = given
    },
  }
}
