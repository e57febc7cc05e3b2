/** Changes of a record store that are the same in every dialect; the bulk upsert is each dialect's own. */
import { sql } from 'drizzle-orm'
import { ABSENT, stampMs } from '../../collections/stamp.ts'
import type { RecordStore } from '../backend.ts'
import type { Dialect, SqlSession } from './codec.ts'
import { extremeStamp, slotOf } from './guard.ts'
import { selectGroups } from './reader.ts'
import { conditions, table } from './select.ts'

type Common = Pick<RecordStore, 'delete' | 'erase' | 'purge' | 'groups' | 'newestStamp'>

export function createWriter(dialect: Dialect, session: SqlSession): Common {
  const q = dialect.quote
  return {
    async delete(collection, key) {
      const match = sql.join(
        collection.key.map((name, i) => sql`${sql.raw(q(name))} = ${key[i]}`),
        sql.raw(' AND '),
      )
      return (await session.run(sql`DELETE FROM ${table(dialect, collection)} WHERE ${match}`)) > 0
    },

    async erase(collection, group, stamp, limit) {
      const inGroup = sql`${sql.raw(q(collection.key[0]!))} = ${group}`
      const newest = sql.raw(extremeStamp(dialect.greatest, collection, 'stamps'))
      const bound = sql`${dialect.encodeStamp(stamp)}`
      const deleted = await session.run(
        dialect.deleteSome(collection, sql`${inGroup} AND ${newest} <= ${bound}`, limit),
      )
      if (deleted === limit) return deleted
      // What is left has something newer; its older fields are cleared as the delete's own write.
      const clear = collection.slots.map(
        (name, slot) =>
          sql`${sql.raw(q(name))} = CASE WHEN ${sql.raw(slotOf('stamps', slot))} <= ${bound} THEN NULL ELSE ${sql.raw(q(name))} END`,
      )
      const raised = collection.slots.map((_, slot) => `${dialect.greatest}(${slotOf('stamps', slot)}, @D)`)
      const stamps = dialect
        .concat([...raised, `SUBSTR(stamps, ${collection.slots.length * 8 + 1})`])
        .split('@D')
      const at = dialect.encode('timestamp', stampMs(stamp))
      await session.run(sql`UPDATE ${table(dialect, collection)} SET ${sql.join(clear, sql.raw(', '))},
        created_at = ${sql.raw(dialect.greatest)}(created_at, ${at}),
        stamps = ${sql.join(stamps.flatMap((part, i) => (i === 0 ? [sql.raw(part)] : [bound, sql.raw(part)])))}
        WHERE ${inGroup} AND ${newest} > ${bound} AND (${sql.raw(extremeStamp(dialect.least, collection, 'stamps'))} <= ${bound} OR created_at < ${at})`)
      return deleted
    },

    async purge(collection, filters, limit) {
      return session.run(dialect.deleteSome(collection, conditions(dialect, collection, filters), limit))
    },

    async groups(collection, after, limit) {
      const found = await session.all(
        selectGroups(dialect, collection.name, collection.key[0]!, after, limit),
      )
      return found.map(([group]) => dialect.decode('text', group) as string)
    },

    async newestStamp(collection, group) {
      const newest = sql.raw(`MAX(${extremeStamp(dialect.greatest, collection, 'stamps')})`)
      const [[raw] = [null]] = await session.all(
        sql`SELECT ${newest} FROM ${table(dialect, collection)} WHERE ${sql.raw(q(collection.key[0]!))} = ${group}`,
      )
      if (!(raw instanceof Uint8Array) || raw.byteLength === 0) return ABSENT
      return new DataView(raw.buffer, raw.byteOffset, raw.byteLength).getBigUint64(0)
    },
  }
}
