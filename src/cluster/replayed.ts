/** How many rows were taken up from journals, by all instances and across restarts: one fact, in the database. */
import type { Coordination } from '../backends/coordination.ts'

const FACT = 'rows_of_journals'

export interface ReplayedRows {
  /** Adds the rows that a start, or an adoption, took up. Throws when the database can't be asked. */
  add(rows: number): Promise<void>
  total(): Promise<number>
}

export function createReplayedRows({
  coordination,
}: {
  coordination: Pick<Coordination, 'addFact' | 'getFact'>
}): ReplayedRows {
  return {
    total: async () => Number(await coordination.getFact(FACT)),
    async add(rows) {
      if (rows > 0) await coordination.addFact(FACT, rows)
    },
  }
}
