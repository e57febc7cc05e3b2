/** The list of backends, one line each; a backend's module is imported only when it is configured. */
import type { JournalStore } from '../buffer/journal.ts'
import type { Collection } from '../collections/definition.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import type { Backend } from './backend.ts'
import type { MysqlConfig } from './mysql/connection.ts'
import type { SqliteConfig } from './sqlite/connection.ts'

export type BackendSpec = { type: 'sqlite'; config: SqliteConfig } | { type: 'mysql'; config: MysqlConfig }

export interface OpenOptions {
  /** Names this instance in the leases it takes. */
  owner: string
  /** How long a read may wait for an answer. */
  readTimeoutMs: number
}

/** Opens nothing yet: `prepare` does. */
export async function openBackend(name: string, spec: BackendSpec, options: OpenOptions): Promise<Backend> {
  switch (spec.type) {
    case 'sqlite':
      return (await import('./sqlite/mod.ts')).openSqlite({ name, config: spec.config, ...options })
    case 'mysql':
      return (await import('./mysql/mod.ts')).openMysql({ name, config: spec.config, ...options })
  }
}

/** The journals in a folder: files beside the embedded store's, whatever the backends are. */
export async function openJournals(options: {
  folder: string
  instanceId: string
  durability: 'full' | 'normal'
}): Promise<JournalStore> {
  return (await import('./sqlite/journal.ts')).openJournals(options)
}

interface JournalLeftOptions {
  folder: string
  instanceId: string
  log: Logger
  tell(fault: string): void
}

/** Rows that were promised to be safe must not be forgotten by a setting: the journal is off now. */
export async function warnOfJournalLeft({ log, tell, ...place }: JournalLeftOptions): Promise<void> {
  try {
    const rows = (await import('./sqlite/left_behind.ts')).rowsLeftInJournal(place)
    if (rows === 0) return
    const fault = `BUFFER_JOURNAL is off, but a journal of before holds ${rows} rows: start once with full or normal`
    tell(fault)
    log.error(fault, { meta: { rows } })
  } catch (error) {
    // Where there is no SQLite, there never was one.
    log.warn('the journal of before cannot be looked into', { meta: { error: messageOf(error) } })
  }
}

interface RowsLeftOptions {
  collections: readonly Collection[]
  backends: Readonly<Record<string, BackendSpec>>
  routes: Readonly<Record<string, string>>
  log: Logger
}

/** Moving a collection to another backend moves no rows: whoever did so should hear of it. */
export async function warnOfRowsLeft({ collections, backends, routes, log }: RowsLeftOptions): Promise<void> {
  for (const [name, spec] of Object.entries(backends)) {
    const moved = collections.filter((collection) => routes[collection.name] !== name)
    if (spec.type !== 'sqlite' || moved.length === 0) continue
    try {
      const { rowsLeftIn } = await import('./sqlite/left_behind.ts')
      const rows = rowsLeftIn(spec.config.path, moved)
      if (Object.keys(rows).length === 0) continue
      log.error('RECORDS WERE LEFT in an embedded store that these collections are no longer routed to', {
        meta: { backend: name, path: spec.config.path, rows },
      })
    } catch (error) {
      log.debug('embedded store not examined', { meta: { backend: name, error: messageOf(error) } })
    }
  }
}
