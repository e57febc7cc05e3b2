/**
 * Tombstones: deletes of everything of a group up to a stamp. The column `finished` holds 0 while rows are
 * still being removed, 1 when that is done, 2 when it was done once more.
 */
import { sql as build } from 'drizzle-orm'
import type { Collection } from '../../collections/definition.ts'
import { ABSENT, makeStamp, STAMP_BYTES, type Stamp } from '../../collections/stamp.ts'
import type { Tombstone, Tombstones } from '../coordination.ts'
import type { Dialect, SqlSession } from './codec.ts'
import { table } from './select.ts'
import type { Statements } from './statement.ts'

export type TombstoneTexts = Record<
  | 'clock_read'
  | 'tombstone_put'
  | 'tombstone_put_if'
  | 'tombstone_finish'
  | 'tombstone_erasing'
  | 'tombstone_unfinished'
  | 'tombstone_unrepeated'
  | 'tombstone_mark_repeated'
  | 'tombstone_purge',
  string
>

interface TombstonesOptions {
  dialect: Dialect
  session: SqlSession
  sql: Statements<TombstoneTexts>
}

const GROUPS_A_STATEMENT = 500

export function createTombstones({ dialect, session, sql }: TombstonesOptions): Tombstones {
  /** A group's own row is the one whose whole key is the group. */
  function ownRow(collection: Collection, group: string) {
    const key = build.raw(dialect.quote(collection.key[0]!))
    return build`${table(dialect, collection)} WHERE ${key} = ${group}`
  }

  return {
    async putTombstone(collection, group, stamp) {
      await session.run(sql.tombstone_put(collection, group, dialect.encodeStamp(stamp)))
    },

    // One statement is one transaction: the row it looked at stays locked until its tombstone is there, so a
    // write of that row is either seen, or comes after. It affects no row exactly where its condition fails:
    // the drivers count a tombstone that stays as it is too. (Where one didn't, the row would be spared.)
    async putTombstoneIfUnchanged(collection, group, stamp, seen) {
      const lock = build.raw(dialect.forUpdate)
      const row = ownRow(collection, group)
      const unchanged =
        seen === null
          ? build`NOT EXISTS (SELECT 1 FROM ${row} ${lock})`
          : build`EXISTS (SELECT 1 FROM ${row} AND stamps = ${seen} ${lock})`
      const put = sql.tombstone_put_if(collection.name, group, dialect.encodeStamp(stamp), unchanged)
      return (await session.run(put)) > 0
    },

    async stampsOf(collection, group) {
      const [found] = await session.all(build`SELECT stamps FROM ${ownRow(collection, group)}`)
      return found ? (found[0] as Uint8Array) : null
    },

    async finishTombstone(collection, group, stamp) {
      await session.run(sql.tombstone_finish(collection, group, dialect.encodeStamp(stamp)))
    },

    async isBeingErased(collection, group) {
      return (await session.all(sql.tombstone_erasing(collection, group))).length > 0
    },

    async tombstonesOf(collection, groups) {
      const stamps = new Map<string, Stamp>()
      for (let i = 0; i < groups.length; i += GROUPS_A_STATEMENT) {
        const among = build.join(
          groups.slice(i, i + GROUPS_A_STATEMENT).map((group) => build`${group}`),
          build.raw(', '),
        )
        const found = await session.all(
          build`SELECT group_key, stamp FROM tombstones WHERE collection = ${collection} AND group_key IN (${among})`,
        )
        for (const [group, stamp] of found) stamps.set(String(group), decodeStamp(stamp))
      }
      return stamps
    },

    async unfinishedTombstones(ageMs, limit) {
      return (await session.all(sql.tombstone_unfinished(ageMs, limit))).map(decodeTombstone)
    },

    async unrepeatedTombstones(ageMs, limit) {
      return (await session.all(sql.tombstone_unrepeated(ageMs, limit))).map(decodeTombstone)
    },

    async markRepeated({ collection, group, stamp }) {
      await session.run(sql.tombstone_mark_repeated(collection, group, dialect.encodeStamp(stamp)))
    },

    async purgeTombstones(ageMs, limit) {
      const untilMs = Number((await session.all(sql.clock_read()))[0]?.[0]) - ageMs
      const last = makeStamp(untilMs + 1, 0, 0) - 1n
      return session.run(sql.tombstone_purge(untilMs, dialect.encodeStamp(last), limit))
    },
  }
}

function decodeTombstone([collection, group, stamp]: readonly unknown[]): Tombstone {
  return { collection: String(collection), group: String(group), stamp: decodeStamp(stamp) }
}

function decodeStamp(raw: unknown): Stamp {
  if (!(raw instanceof Uint8Array) || raw.byteLength !== STAMP_BYTES) return ABSENT
  return new DataView(raw.buffer, raw.byteOffset, raw.byteLength).getBigUint64(0)
}
