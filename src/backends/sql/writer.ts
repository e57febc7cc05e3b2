/** Changes of a record store that are the same in every dialect; the bulk upsert is each dialect's own. */
import { type SQL, sql } from 'drizzle-orm'
import type { Collection } from '../../collections/definition.ts'
import { ABSENT, STAMP_BYTES, type Stamp, stampHex, stampMs } from '../../collections/stamp.ts'
import type { RecordStore } from '../backend.ts'
import type { Dialect, SqlSession } from './codec.ts'
import { extremeStamp, slotOf } from './guard.ts'
import { selectGroups } from './reader.ts'
import { conditions, table } from './select.ts'

type Common = Pick<RecordStore, 'delete' | 'erase' | 'purge' | 'groups' | 'newestStamp'>

export function createWriter(dialect: Dialect, session: SqlSession): Common {
  const q = dialect.quote

  /**
   * Clears what is not newer than `stamp` in the rows that `where` finds, a range of about `limit` keys a
   * statement: a group can be large. The key's second field orders a group; without one it is a single row.
   */
  async function clear(collection: Collection, where: SQL, stamp: Stamp, limit: number): Promise<void> {
    const { assignments, needed } = clearing(dialect, collection, stamp)
    const from = table(dialect, collection)
    const order = sql.raw(q(collection.key[1] ?? collection.key[0]!))
    let beyond = sql``
    while (true) {
      const found = await session.all(
        sql`SELECT ${order} FROM ${from} WHERE ${where} AND ${needed}${beyond} ORDER BY ${order} LIMIT ${limit}`,
      )
      if (found.length === 0) return
      const [first, last] = [found[0]![0], found.at(-1)![0]]
      await session.run(
        sql`UPDATE ${from} SET ${assignments} WHERE ${where} AND ${order} BETWEEN ${first} AND ${last} AND ${needed}`,
      )
      if (found.length < limit) return
      beyond = sql` AND ${order} > ${last}`
    }
  }

  return {
    async delete(collection, key) {
      const match = sql.join(
        collection.key.map((name, i) => sql`${sql.raw(q(name))} = ${key[i]}`),
        sql.raw(' AND '),
      )
      return (await session.run(sql`DELETE FROM ${table(dialect, collection)} WHERE ${match}`)) > 0
    },

    async erase(collection, group, stamp, limit) {
      const bound = dialect.encodeStamp(stamp)
      const inGroup = sql`${sql.raw(q(collection.key[0]!))} = ${group}`
      const newest = sql.raw(extremeStamp(dialect.greatest, collection, 'stamps'))
      const deleted = await session.run(
        dialect.deleteSome(collection, sql`${inGroup} AND ${newest} <= ${bound}`, limit),
      )
      // What is left has something newer; its older fields are cleared as the delete's own write.
      if (deleted < limit) await clear(collection, sql`${inGroup} AND ${newest} > ${bound}`, stamp, limit)
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

/**
 * The law's `erasedUpTo` for a row that has something newer: fields that are not newer than `stamp`, also
 * those never written, become null at it. `needed` tells rows in which that changes anything.
 */
function clearing(dialect: Dialect, collection: Collection, stamp: Stamp): { assignments: SQL; needed: SQL } {
  // Written out: it is compared with every field, and both dialects take bytes like this.
  const bound = `X'${stampHex(stamp)}'`
  const at = dialect.encode('timestamp', stampMs(stamp))
  const fields = collection.slots.map((name, slot) => ({
    column: dialect.quote(name),
    own: slotOf('stamps', slot),
  }))
  const cleared = fields.map(
    ({ column, own }) => `${column} = CASE WHEN ${own} <= ${bound} THEN NULL ELSE ${column} END`,
  )
  const raised = fields.map(({ own }) => `${dialect.greatest}(${own}, ${bound})`)
  // Slots beyond those this version knows are kept as they are.
  const beyond = `SUBSTR(stamps, ${collection.slots.length * STAMP_BYTES + 1})`
  const filled = fields.map(({ column, own }) => `(${own} = ${bound} AND ${column} IS NOT NULL)`)
  const oldest = extremeStamp(dialect.least, collection, 'stamps')
  return {
    // MySQL assigns from left to right: the stamps, which all others compare, come last.
    assignments: sql`${sql.raw(`${cleared.join(', ')}, created_at = ${dialect.greatest}(created_at, `)}${at}${sql.raw(`), stamps = ${dialect.concat([...raised, beyond])}`)}`,
    needed: sql`(${sql.raw(`${oldest} < ${bound} OR ${filled.join(' OR ')} OR created_at < `)}${at})`,
  }
}
