/**
 * What is accepted is first in one instance's buffer: whoever must see what all have accepted asks the
 * others, through the database, to store what they hold, and waits for them.
 */
import { BackendError } from '../backends/backend.ts'
import type { Coordination, InstanceRecord } from '../backends/coordination.ts'
import { inTime } from '../lib/retry.ts'
import { livenessOf } from './liveness.ts'

export interface StoredByAll {
  /** Instances that may hold rows accepted before the call, by id: dead, or not done in time. */
  missing: string[]
  /** Those of them that live: they were not done in time. */
  late: string[]
  /** Rows that the others wrote for it, by collection. */
  written: Record<string, number>
}

export interface Coverage {
  /**
   * Waits until every other live instance has stored what it had accepted before the call. The dead are named
   * at once. Throws the outage when the database can't be asked, or doesn't answer in time.
   */
  storedByAll(options: { timeoutMs: number }): Promise<StoredByAll>
}

interface CoverageOptions {
  coordination: Pick<Coordination, 'listInstances' | 'requestFlush'>
  instanceId: string
  /** Whether another process speaks for that id: then it is one of the others. */
  isTaken?(): boolean
  pollEveryMs?: number
}

const POLL_EVERY_MS = 75

/** One request to all others, and whoever waits for it. */
interface Round {
  waiters: number
  /** Numbers that are to be reached, of those not done yet; null until the request was sent. */
  open: Map<string, number> | null
  dead: Set<string>
  /** Sums that the others had reported before the request, by id. */
  before: Map<string, InstanceRecord['flushReport']>
  written: Record<string, number>
  done: Promise<void>
  finish(): void
  fail(error: unknown): void
}

export function createCoverage(options: CoverageOptions): Coverage {
  const { coordination, instanceId, isTaken = () => false, pollEveryMs = POLL_EVERY_MS } = options
  let sending: Promise<void> | null = null
  /** Begun as soon as the one before it is sent; until then others may join it. */
  let next: Round | null = null
  const open = new Set<Round>()
  let polling = false

  function newRound(): Round {
    const { promise: done, resolve: finish, reject: fail } = Promise.withResolvers<void>()
    done.catch(() => undefined) // those who wait are told
    return { waiters: 0, open: null, dead: new Set(), before: new Map(), written: {}, done, finish, fail }
  }

  async function send(round: Round): Promise<void> {
    try {
      const { nowMs, instances } = await coordination.listInstances()
      const asked = new Set<string>()
      const self = isTaken() ? '' : instanceId
      for (const one of instances) {
        if (one.instanceId === self) continue
        round.before.set(one.instanceId, one.flushReport)
        const liveness = livenessOf(one, nowMs)
        if (liveness === 'dead') round.dead.add(one.instanceId)
        else if (liveness === 'live' || liveness === 'draining') asked.add(one.instanceId)
      }
      if (asked.size > 0) {
        await coordination.requestFlush(self)
        // The number that the request has by now, or a later one's: both are after what was accepted before it.
        const wanted = await coordination.listInstances()
        round.open = new Map()
        for (const one of wanted.instances) {
          if (asked.has(one.instanceId)) round.open.set(one.instanceId, one.flushWanted)
        }
        settle(round, wanted.nowMs, new Map(wanted.instances.map((one) => [one.instanceId, one])))
      } else {
        round.open = new Map()
        round.finish()
      }
    } catch (error) {
      round.fail(error)
    }
  }

  /** Strikes out who is done, gone, forgotten or dead; finishes the round when nobody is left. */
  function settle(round: Round, nowMs: number, instances: ReadonlyMap<string, InstanceRecord>): void {
    for (const [id, wanted] of round.open!) {
      const one = instances.get(id)
      const liveness = one ? livenessOf(one, nowMs) : 'gone'
      if (one && one.flushDone >= wanted) {
        for (const [collection, sum] of Object.entries(one.flushReport)) {
          const before = round.before.get(id)?.[collection] ?? 0
          // A lower sum is one of a new start, all of which came since.
          round.written[collection] = (round.written[collection] ?? 0) + (sum < before ? sum : sum - before)
        }
      } else if (liveness === 'dead' || liveness === 'lost') round.dead.add(id)
      // One that signed off has stored everything; one that was forgotten does not count any more.
      else if (liveness !== 'gone') continue
      round.open!.delete(id)
    }
    if (round.open!.size > 0) {
      open.add(round)
      poll()
    } else {
      open.delete(round)
      round.finish()
    }
  }

  /** One look for all rounds that wait. */
  function poll(): void {
    if (polling) return
    polling = true
    setTimeout(async () => {
      try {
        for (const round of open) if (round.waiters === 0) open.delete(round)
        if (open.size === 0) return
        const waiting = [...open]
        const { nowMs, instances } = await coordination.listInstances()
        const byId = new Map(instances.map((one) => [one.instanceId, one]))
        for (const round of waiting) settle(round, nowMs, byId)
      } catch (error) {
        for (const round of open) round.fail(error)
        open.clear()
      } finally {
        polling = false
        if (open.size > 0) poll()
      }
    }, pollEveryMs)
  }

  /** A call joins a round only before that begins: what is asked of the others is then after the call. */
  function join(): Round {
    if (!sending) {
      const round = newRound()
      sending = send(round).finally(sendNext)
      return round
    }
    next ??= newRound()
    return next
  }

  function sendNext(): void {
    const round = next
    next = null
    sending = round ? send(round).finally(sendNext) : null
  }

  return {
    async storedByAll({ timeoutMs }) {
      const round = join()
      round.waiters++
      try {
        await inTime(round.done, timeoutMs)
        if (!round.open)
          throw new BackendError('outage', 'TIMEOUT', `the instances were not listed within ${timeoutMs} ms`)
        const late = [...round.open.keys()].sort()
        return { missing: [...round.dead, ...late].sort(), late, written: { ...round.written } }
      } finally {
        round.waiters--
      }
    },
  }
}
