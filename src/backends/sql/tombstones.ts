/** Tombstones: deletes of everything of a group up to a stamp. */
import { sql as text } from 'drizzle-orm'
import { ABSENT, STAMP_BYTES, type Stamp } from '../../collections/stamp.ts'
import type { Tombstone, Tombstones } from '../coordination.ts'
import type { Dialect, SqlSession } from './codec.ts'
import type { Statements } from './statement.ts'

export type TombstoneTexts = Record<
  | 'tombstone_put'
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
  return {
    async putTombstone(collection, group, stamp) {
      await session.run(sql.tombstone_put(collection, group, dialect.encodeStamp(stamp)))
    },
    async finishTombstone(collection, group, stamp) {
      await session.run(sql.tombstone_finish(collection, group, dialect.encodeStamp(stamp)))
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

  }
}

function decodeStamp(raw: unknown): Stamp {
  if (!(raw instanceof Uint8Array) || raw.byteLength !== STAMP_BYTES) return ABSENT
  return new DataView(raw.buffer, raw.byteOffset, raw.byteLength).getBigUint64(0)
}

