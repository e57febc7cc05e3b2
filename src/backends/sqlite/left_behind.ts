/** What an embedded store still holds that nothing is routed to any more. */
import { Database } from 'bun:sqlite'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Collection } from '../../collections/definition.ts'

/** Rows in a journal that nobody reads; none where there is no file. Opens it for reading alone. */
export function rowsLeftInJournal({ folder, instanceId }: { folder: string; instanceId: string }): number {
  const path = join(folder, `${instanceId}.journal`)
  if (!existsSync(path)) return 0
  const client = new Database(path, { readonly: true })
  try {
    return Number(client.query('SELECT COUNT(*) FROM journal_records').values()[0]?.[0])
  } finally {
    client.close()
  }
}

/** Rows by collection; empty where there is no file or no table. Opens it for reading alone. */
export function rowsLeftIn(path: string, collections: readonly Collection[]): Record<string, number> {
  if (!existsSync(path)) return {}
  const client = new Database(path, { readonly: true })
  try {
    const tables = new Set(
      client.query("SELECT name FROM sqlite_schema WHERE type = 'table'").values().flat(),
    )
    const counts = collections
      .filter(({ name }) => tables.has(name))
      .map(
        ({ name }) =>
          [name, Number(client.query(`SELECT COUNT(*) FROM "${name}"`).values()[0]?.[0])] as const,
      )
    return Object.fromEntries(counts.filter(([, rows]) => rows > 0))
  } finally {
    client.close()
  }
}
