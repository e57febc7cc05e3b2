/**
 * Applies numbered migrations, in order, by one instance at a time. Each statement may be run twice: a
 * process can be killed between a statement and the record of it, and DDL is no transaction everywhere.
 */
import { type SQL, sql } from 'drizzle-orm'
import { BackendError } from '../backend.ts'
import type { Coordination } from '../coordination.ts'
import type { SqlSession } from './codec.ts'
import { statement } from './statement.ts'

export interface Migration {
  name: string
  /** Statements, each ended by `;` at the end of a line. */
  text: string
  before?(session: SqlSession): Promise<void>
  after?(session: SqlSession): Promise<void>
}

interface MigrateOptions {
  session: SqlSession
  coordination: Coordination
  /** Makes the tables that the lease needs; run without it, so it may only create what isn't there. */
  bootstrap: readonly string[]
  migrations: readonly Migration[]
  texts: { applied: string; put: string }
  owner: string
  /** Pauses while another instance migrates. */
  pause(): Promise<void>
}

const LEASE = 'migrations'
const LEASE_TTL_MS = 30_000

/** Thrown by a migration that failed for another reason than an outage: trying again won't help. */
export class MigrationError extends Error {
  constructor(name: string, cause: unknown) {
    super(`migration ${name} failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.name = 'MigrationError'
  }
}

/** The statements of a text, without comments. */
export function statementsOf(text: string): SQL[] {
  return text
    .replace(/^\s*--.*$/gm, '')
    .split(/;\s*$/m)
    .map((part) => part.trim())
    .filter((part) => part.length > 0)
    .map((part) => sql.raw(part))
}

/** Answers the names of the migrations it applied. */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const { session, coordination, owner } = options
  await orMigrationError('0000_coordination', async () => {
    for (const text of options.bootstrap) {
      for (const one of statementsOf(text)) await session.run(one)
    }
    while (!(await coordination.takeLease(LEASE, owner, LEASE_TTL_MS))) await options.pause()
  })
  // The lease outlives a long statement by being renewed beside it.
  const renewal = setInterval(() => {
    coordination.takeLease(LEASE, owner, LEASE_TTL_MS).catch(() => undefined) // the statement itself will tell
  }, LEASE_TTL_MS / 3)
  try {
    const applied = new Set(
      (await session.all(statement(options.texts.applied)())).map(([name]) => String(name)),
    )
    const fresh = options.migrations.filter(({ name }) => !applied.has(name))
    for (const migration of fresh) await apply(session, migration, options.texts.put)
    return fresh.map(({ name }) => name)
  } finally {
    clearInterval(renewal)
    await coordination.releaseLease(LEASE, owner)
  }
}

async function apply(session: SqlSession, migration: Migration, put: string): Promise<void> {
  await orMigrationError(migration.name, async () => {
    await migration.before?.(session)
    for (const one of statementsOf(migration.text)) await session.run(one)
    await migration.after?.(session)
    await session.run(statement(put)(migration.name, Date.now()))
  })
}

/** An outage, or a conflict with another instance, passes; what else goes wrong would go wrong again. */
async function orMigrationError(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (error instanceof BackendError && (error.kind === 'outage' || error.kind === 'conflict')) throw error
    throw new MigrationError(name, error)
  }
}
