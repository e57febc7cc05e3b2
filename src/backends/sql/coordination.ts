/** The coordination facet over fixed statements; the texts are each dialect's own. */

import { newestStamp, packStamps } from '../../collections/row.ts'
import { ABSENT, MAX_INSTANCE_NUMBER, STAMP_BYTES, type Stamp } from '../../collections/stamp.ts'
import { uuidv7 } from '../../lib/ids.ts'
import { BackendError, type Coordination } from '../backend.ts'
import type { Dialect, SqlSession } from './codec.ts'
import { statement } from './statement.ts'

/** Every fixed statement that coordination uses, by its file's name. */
export type CoordinationTexts = Record<
  | 'clock_read'
  | 'lease_take'
  | 'lease_read'
  | 'lease_release'
  | 'instance_number'
  | 'instance_numbers'
  | 'instance_insert'
  | 'instance_restart'
  | 'instance_touch'
  | 'instance_forget'
  | 'instance_sign_off'
  | 'tombstone_put'
  | 'tombstone_finish'
  | 'tombstone_erasing'
  | 'tombstone_unfinished'
  | 'tombstone_withdraw'
  | 'dead_letter_put'
  | 'dead_letter_count_group'
  | 'dead_letter_delete_group'
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
}

/** An instance that has not been seen for a day has no stamps in the making: its number may be given out. */
const FORGET_AFTER_MS = 24 * 3600 * 1000
const REASON_CHARS = 1024

export function createCoordination({
  dialect,
  session,
  texts,
  firstInstanceNumber,
}: CoordinationOptions): Coordination {
  const sql = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, statement(text)])) as {
    [name in keyof CoordinationTexts]: ReturnType<typeof statement>
  }
  const now = async () => Number((await session.all(sql.clock_read()))[0]?.[0])

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
    now,

    async takeLease(name, owner, ttlMs) {
      await session.run(sql.lease_take(name, owner, ttlMs))
      const [held] = await session.all(sql.lease_read(name))
      return held?.[0] === owner ? { fence: Number(held[1]) } : null
    },
    async releaseLease(name, owner) {
      await session.run(sql.lease_release(name, owner))
    },

    async registerInstance({ instanceId, version }) {
      const [known] = await session.all(sql.instance_number(instanceId))
      if (!known) return claimNumber(instanceId, version)
      await session.run(sql.instance_restart(version, instanceId))
      return Number(known[0])
    },
    async touchInstance({ instanceId, state, bufferedRows }) {
      return (await session.run(sql.instance_touch(state, bufferedRows, instanceId))) > 0
    },
    async signOffInstance(instanceId) {
      await session.run(sql.instance_sign_off(instanceId))
    },

    async putTombstone(collection, group, stamp) {
      await session.run(sql.tombstone_put(collection, group, dialect.encodeStamp(stamp)))
    },
    async finishTombstone(collection, group, stamp) {
      await session.run(sql.tombstone_finish(collection, group, dialect.encodeStamp(stamp)))
    },
    async withdrawTombstone(collection, group, stamp) {
      await session.run(sql.tombstone_withdraw(collection, group, dialect.encodeStamp(stamp)))
    },
    async isBeingErased(collection, group) {
      return (await session.all(sql.tombstone_erasing(collection, group))).length > 0
    },
    async unfinishedTombstones(limit) {
      const found = await session.all(sql.tombstone_unfinished(limit))
      return found.map(([collection, group, stamp]) => ({
        collection: String(collection),
        group: String(group),
        stamp: decodeStamp(stamp),
      }))
    },

    async putDeadLetters(letters) {
      for (const { collection, row, code, reason } of letters) {
        await session.run(
          sql.dead_letter_put(
            collection,
            JSON.stringify(row.key),
            dialect.encodeStamp(newestStamp(row)),
            uuidv7(),
            row.key[0],
            asciiText(reason, REASON_CHARS),
            code,
            asciiJson(row.values.map((value) => (value === undefined ? [] : [value]))),
            Uint8Array.from(packStamps(row).match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
            row.createdAtMs,
          ),
        )
      }
    },
    async countDeadLetters(collection, group) {
      return Number((await session.all(sql.dead_letter_count_group(collection, group)))[0]?.[0])
    },
    async deleteDeadLetters(collection, group, stamp) {
      await session.run(sql.dead_letter_delete_group(collection, group, dialect.encodeStamp(stamp)))
    },

    async getFact(name) {
      const [found] = await session.all(sql.fact_get(name))
      return found ? String(found[0]) : null
    },
    async putFact(name, json) {
      await session.run(sql.fact_put(name, json))
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

function decodeStamp(raw: unknown): Stamp {
  if (!(raw instanceof Uint8Array) || raw.byteLength !== STAMP_BYTES) return ABSENT
  return new DataView(raw.buffer, raw.byteOffset, raw.byteLength).getBigUint64(0)
}

/** JSON in ASCII alone, so that a store which refused the text itself takes its letter. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** A text in printable ASCII, the rest of it escaped; cut at a character. */
function asciiText(text: string, max: number): string {
  let ascii = ''
  for (const char of text) {
    const written = /[\x20-\x7e]/.test(char) ? char : asciiJson(char).slice(1, -1)
    if (ascii.length + written.length > max) break
    ascii += written
  }
  return ascii
}
