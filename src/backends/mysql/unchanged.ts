/** A tombstone over a row that is still the one that was examined, also where another node changes it. */
import { sql } from 'drizzle-orm'
import type { Coordination } from '../coordination.ts'
import { table } from '../sql/select.ts'
import { statements } from '../sql/statement.ts'
import { createTombstones } from '../sql/tombstones.ts'
import { repeatingConflicts } from './conflicts.ts'
import type { MysqlPool } from './connection.ts'
import { mysqlDialect } from './dialect.ts'
import { toBackendError } from './errors.ts'
import { coordinationTexts } from './statements.ts'

/**
 * The lock of the common statement holds on its own Galera node only: a write of the row through another one
 * would commit as well, before the tombstone and unseen by it. So the transaction writes the row too: it takes
 * the stamps away and puts them back, which nobody sees, and beside which no other node's write can commit.
 * Where there is no row there is nothing to write, and on Galera one that arrives in that moment is not seen.
 */
export function tombstoneIfUnchanged(
  pool: MysqlPool,
  timeoutMs: number,
): Coordination['putTombstoneIfUnchanged'] {
  const texts = statements(coordinationTexts)
  return (collection, group, stamp, seen) => {
    const row = table(mysqlDialect, collection)
    const isOwn = sql`${sql.raw(mysqlDialect.quote(collection.key[0]!))} = ${group}`
    return repeatingConflicts(timeoutMs, (leftMs) =>
      pool.lend(leftMs, async (connection) => {
        const session = pool.sessionOn(connection)
        const tombstones = createTombstones({ dialect: mysqlDialect, session, sql: texts })
        await session.run(sql.raw('START TRANSACTION'))
        try {
          const isPut = await tombstones.putTombstoneIfUnchanged(collection, group, stamp, seen)
          if (isPut && seen) {
            await session.run(sql`UPDATE ${row} SET stamps = '' WHERE ${isOwn}`)
            await session.run(sql`UPDATE ${row} SET stamps = ${seen} WHERE ${isOwn}`)
          }
          await session.run(sql.raw('COMMIT'))
          return isPut
        } catch (error) {
          // A lock wait that was given up leaves the transaction open.
          if (toBackendError(error).kind !== 'outage') await session.run(sql.raw('ROLLBACK'))
          throw error
        }
      }),
    )
  }
}
