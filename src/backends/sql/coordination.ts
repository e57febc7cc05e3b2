/** The coordination facet over fixed statements; the texts are each dialect's own. */

import { uuidv7 } from '../../lib/ids.ts'
import { BackendError } from '../backend.ts'
import type { Coordination } from '../coordination.ts'
import type { Dialect, SqlSession } from './codec.ts'
import { createDeadLetters, type DeadLetterTexts } from './dead_letters.ts'
import { createInstances, type InstanceTexts } from './instances.ts'
import { statements } from './statement.ts'
import { createTombstones, type TombstoneTexts } from './tombstones.ts'

/** Every fixed statement that coordination uses, by its file's name. */
export type CoordinationTexts = InstanceTexts &
  TombstoneTexts &
  DeadLetterTexts &
  Record<
    | 'clock_read'
    | 'lease_take'
    | 'lease_read'
    | 'lease_release'
    | 'fact_add'
    | 'fact_get'
    | 'fact_put'
    | 'restore_put'
    | 'restore_list'
    | 'restore_count',
    string
  >

interface CoordinationOptions {
  dialect: Dialect
  session: SqlSession
  texts: CoordinationTexts
  /** The least number that is given out; 0 is kept for an embedded store, which has one instance only. */
  firstInstanceNumber: number
  /** What a statement may have, written out; none where that does not matter. */
  maxStatementBytes?(): number
}

export function createCoordination({
  dialect,
  session,
  texts,
  firstInstanceNumber,
  maxStatementBytes,
}: CoordinationOptions): Coordination {
  const sql = statements(texts)
  const now = async () => Number((await session.all(sql.clock_read()))[0]?.[0])

  return {
    ...createInstances({ session, sql, now, firstInstanceNumber }),
    ...createTombstones({ dialect, session, sql }),
    ...createDeadLetters({ dialect, session, sql, texts, ...(maxStatementBytes && { maxStatementBytes }) }),
    now,

    // Who holds it is read after the commit: the statement affects a row either way, and on Galera it may be
    // the commit that fails, because another node's came first. That one has taken it, or is about to.
    async takeLease(name, owner, ttlMs) {
      try {
        await session.run(sql.lease_take(name, owner, ttlMs))
      } catch (error) {
        if (error instanceof BackendError && error.kind === 'conflict') return null
        throw error
      }
      const [held] = await session.all(sql.lease_read(name))
      return held?.[0] === owner ? { fence: Number(held[1]) } : null
    },
    async releaseLease(name, owner) {
      await session.run(sql.lease_release(name, owner))
    },

    async getFact(name) {
      const [found] = await session.all(sql.fact_get(name))
      return found ? String(found[0]) : null
    },
    async putFact(name, json) {
      await session.run(sql.fact_put(name, json))
    },
    async addFact(name, by) {
      await session.run(sql.fact_add(name, String(by)))
    },

    async putRestore({ sessionId, tasksCount, instanceId, restoredAtMs, ok }) {
      await session.run(
        sql.restore_put(uuidv7(restoredAtMs), sessionId, tasksCount, instanceId, restoredAtMs, ok ? 1 : 0),
      )
    },
    async listRestores(limit) {
      const found = await session.all(sql.restore_list(limit))
      return found.map(([sessionId, tasksCount, instanceId, restoredAt, ok]) => ({
        sessionId: String(sessionId),
        tasksCount: Number(tasksCount),
        instanceId: String(instanceId),
        restoredAtMs: Number(restoredAt),
        ok: Number(ok) === 1,
      }))
    },
    async countRestores() {
      const [[total, succeeded] = [0, 0]] = await session.all(sql.restore_count())
      return { total: Number(total), succeeded: Number(succeeded) }
    },
  }
}
