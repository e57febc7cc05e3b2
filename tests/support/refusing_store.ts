/** A store whose table of tasks refuses the rows that a test names, until it is mended. */
import { Database } from 'bun:sqlite'
import { join } from 'node:path'
import type { BackendUnderTest } from './backends.ts'
import type { Scene } from './scene.ts'
import { openStatementRelay } from './statement_relay.ts'

/** How a row is refused: with an error number that the service has on its list, or one that nobody listed. */
export type Refusal = 'listed' | 'unlisted'

/** On SQLite every failure has one of a few codes, so there is no unlisted one. */
export interface RefusingStore {
  /** The environment of a service on this store; every service of one store may have it. */
  env: Record<string, string>
  /** Refuses every row for which a condition on `NEW` holds. */
  refuse(condition: string, how?: Refusal): Promise<void>
  mend(): Promise<void>
  /** Upserts of tasks that were sent since this was asked last; null on SQLite, where nobody can look on. */
  upserts(): number | null
  /** What the service calls the error. */
  errorCode(how: Refusal): string
}

const UPSERT = 'INSERT INTO `translation_tasks`'
const UNLISTED_NUMBER = 50_001
/** The message is that of a refusal: it must not matter. */
const MESSAGE = 'Duplicate entry, Data too long'

/** Makes an empty store; its tables are there once a service has been started on it. */
export async function openRefusingStore(
  scene: Scene,
  backend: BackendUnderTest['name'],
): Promise<RefusingStore> {
  return backend === 'sqlite' ? sqliteStore(await scene.folder()) : await serverStore(scene, backend)
}

function sqliteStore(folder: string): RefusingStore {
  const run = async (statement: string) => {
    const database = new Database(join(folder, 'persistence.sqlite'), { readwrite: true })
    try {
      database.run('PRAGMA busy_timeout = 5000')
      database.run(statement)
    } finally {
      database.close()
    }
  }
  return {
    env: { DATA_DIR: folder },
    refuse: (condition) =>
      run(`CREATE TRIGGER refusing BEFORE INSERT ON translation_tasks WHEN ${condition}
             BEGIN SELECT RAISE(ABORT, '${MESSAGE}'); END`),
    mend: () => run('DROP TRIGGER refusing'),
    upserts: () => null,
    errorCode: () => 'SQLITE_CONSTRAINT_TRIGGER',
  }
}

async function serverStore(
  scene: Scene,
  server: Exclude<BackendUnderTest['name'], 'sqlite'>,
): Promise<RefusingStore> {
  const database = await scene.database(server)
  const relay = await openStatementRelay({ to: database.url })
  scene.defer(relay.close)
  let told = 0
  return {
    env: { DATABASE_URL: relay.url },
    async refuse(condition, how = 'listed') {
      const number = how === 'listed' ? '' : `, MYSQL_ERRNO = ${UNLISTED_NUMBER}`
      await database.query(`CREATE TRIGGER refusing BEFORE INSERT ON translation_tasks FOR EACH ROW
        BEGIN IF ${condition} THEN
          SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '${MESSAGE}'${number};
        END IF; END`)
    },
    async mend() {
      await database.query('DROP TRIGGER refusing')
    },
    upserts() {
      const before = told
      told = relay.count(UPSERT)
      return told - before
    },
    errorCode: (how) => (how === 'listed' ? '1644' : String(UNLISTED_NUMBER)),
  }
}
