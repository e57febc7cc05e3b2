/** The list of backends, one line each; a backend's module is imported only when it is configured. */
import type { Backend } from './backend.ts'
import type { MysqlConfig } from './mysql/connection.ts'
import type { SqliteConfig } from './sqlite/connection.ts'

export type BackendSpec = { type: 'sqlite'; config: SqliteConfig } | { type: 'mysql'; config: MysqlConfig }

/** `owner` names this instance in the leases it takes. Opens nothing yet: `prepare` does. */
export async function openBackend(name: string, spec: BackendSpec, owner: string): Promise<Backend> {
  switch (spec.type) {
    case 'sqlite':
      return (await import('./sqlite/mod.ts')).openSqlite({ name, config: spec.config, owner })
    case 'mysql':
      return (await import('./mysql/mod.ts')).openMysql({ name, config: spec.config, owner })
  }
}
