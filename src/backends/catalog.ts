/** The list of backends, one line each; a backend's module is imported only when it is configured. */
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
