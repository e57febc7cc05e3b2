/** How many rows were taken up from journals, by all instances and across restarts: one fact, in the database. */
import { BackendError } from '../backends/backend.ts'
import type { Coordination } from '../backends/coordination.ts'

const FACT = 'replayed_rows'
const LEASE = 'fact:replayed_rows'
const LEASE_TTL_MS = 5000
const RETRY_MS = 200
const ATTEMPTS = 50

export interface ReplayedRows {
  /** Adds the rows that a start, or an adoption, took up. Throws when the database can't be asked. */
  add(rows: number): Promise<void>
  total(): Promise<number>
}

export function createReplayedRows(options: {
  coordination: Coordination
  instanceId: string
}): ReplayedRows {
  const { coordination, instanceId } = options
  let last: Promise<unknown> = Promise.resolve()

  async function total(): Promise<number> {
    const fact = await coordination.getFact(FACT)
    return fact === null ? 0 : (JSON.parse(fact) as { rows: number }).rows
  }

  /** Instances start together after an outage: one after the other reads the sum and writes the next. */
  async function addUnderLease(rows: number): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await coordination.takeLease(LEASE, instanceId, LEASE_TTL_MS)) {
        try {
          await coordination.putFact(FACT, JSON.stringify({ rows: (await total()) + rows }))
        } finally {
          await coordination.releaseLease(LEASE, instanceId)
        }
        return
      }
      await new Promise((resume) => setTimeout(resume, RETRY_MS))
    }
    throw new BackendError('conflict', 'LEASE_HELD', `the lease ${LEASE} was not to be had`)
  }

  return {
    total,
    async add(rows) {
      if (rows === 0) return
      // The lease is the instance's: within it, one after the other too.
      const adding = last.then(() => addUnderLease(rows))
      last = adding.catch(() => undefined) // whoever added is told
      return adding
    },
  }
}
