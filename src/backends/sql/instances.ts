/** The table of instances: numbers, signs of life, requests to store what is held. */
import { MAX_INSTANCE_NUMBER } from '../../collections/stamp.ts'
import { BackendError } from '../backend.ts'
import type { Instances } from '../coordination.ts'
import type { SqlSession } from './codec.ts'
import type { Statements } from './statement.ts'

export type InstanceTexts = Record<
  | 'instance_number'
  | 'instance_numbers'
  | 'instance_insert'
  | 'instance_restart'
  | 'instance_touch'
  | 'instance_hold'
  | 'instance_holder'
  | 'instance_release'
  | 'instance_forget'
  | 'instance_dismiss'
  | 'instance_sign_off'
  | 'instance_list'
  | 'instance_request_flush'
  | 'instance_flush_wanted'
  | 'instance_report_flush',
  string
>

interface InstancesOptions {
  session: SqlSession
  sql: Statements<InstanceTexts>
  now(): Promise<number>
  /** The least number that is given out; 0 is kept for an embedded store, which has one instance only. */
  firstInstanceNumber: number
}

/** An instance that has not been seen for a day has no stamps in the making: its number may be given out. */
const FORGET_AFTER_MS = 24 * 3600 * 1000

export function createInstances({ session, sql, now, firstInstanceNumber }: InstancesOptions): Instances {
  /** Two instances may reach for the same number: the unique key lets one of them have it. */
  async function claimNumber(instanceId: string, version: string): Promise<number> {
    const time = await now()
    const taken = new Set<number>()
    for (const [number, id, seenAt] of await session.all(sql.instance_numbers())) {
      if (Number(seenAt) < time - FORGET_AFTER_MS)
        await session.run(sql.instance_forget(id, time - FORGET_AFTER_MS))
      else taken.add(Number(number))
    }
    for (let number = firstInstanceNumber; number <= MAX_INSTANCE_NUMBER; number++) {
      if (taken.has(number)) continue
      try {
        await session.run(sql.instance_insert(instanceId, number, version))
        return number
      } catch (error) {
        if (!(error instanceof BackendError) || error.kind === 'outage') throw error
      }
    }
    throw new BackendError(
      'outage',
      'NO_INSTANCE_NUMBER',
      `all ${MAX_INSTANCE_NUMBER} instance numbers are in use`,
    )
  }

  return {
    async registerInstance({ instanceId, version }) {
      const [known] = await session.all(sql.instance_number(instanceId))
      if (!known) return claimNumber(instanceId, version)
      await session.run(sql.instance_restart(version, instanceId))
      return Number(known[0])
    },
    async touchInstance({ instanceId, state, bufferedRows }) {
      return (await session.run(sql.instance_touch(state, bufferedRows, instanceId))) > 0
    },
    // Who it is, is read after the commit: what an upsert affects tells nothing.
    async holdInstance({ instanceId, volume, token }, { ttlMs, hasStarted }) {
      await session.run(sql.instance_hold(instanceId, volume, token, ttlMs, hasStarted ? volume : ''))
      const [holder] = await session.all(sql.instance_holder(instanceId))
      return holder?.[0] === token
    },
    async releaseInstance({ instanceId, token }) {
      await session.run(sql.instance_release(instanceId, token))
    },
    async signOffInstance(instanceId) {
      await session.run(sql.instance_sign_off(instanceId))
    },

    async listInstances() {
      const found = await session.all(sql.instance_list())
      // One statement tells the time too: whoever asks often asks once.
      const nowMs = found.length > 0 ? Number(found[0]!.at(-1)) : await now()
      const instances = found.map(
        ([id, version, state, bufferedRows, startedAt, seenAt, wanted, done, report]) => ({
          instanceId: String(id),
          version: String(version),
          state: String(state) as 'live' | 'draining' | 'gone',
          bufferedRows: Number(bufferedRows),
          startedAtMs: Number(startedAt),
          seenAtMs: Number(seenAt),
          flushWanted: Number(wanted),
          flushDone: Number(done),
          flushReport: JSON.parse(String(report)) as Record<string, number>,
        }),
      )
      return { nowMs, instances }
    },
    async requestFlush(byInstanceId) {
      await session.run(sql.instance_request_flush(byInstanceId))
    },
    async flushWanted(instanceId) {
      return Number((await session.all(sql.instance_flush_wanted(instanceId)))[0]?.[0] ?? 0)
    },
    async reportFlush(instanceId, wanted, written) {
      await session.run(sql.instance_report_flush(JSON.stringify(written), wanted, instanceId))
    },
    async forgetInstance(instanceId, seenUntilMs) {
      return (await session.run(sql.instance_dismiss(instanceId, seenUntilMs))) > 0
    },
  }
}
