/** The tables as Drizzle sees them: for drizzle-kit, and held against the real ones by a drift test. */
import {
  bigint,
  char,
  customType,
  datetime,
  decimal,
  index,
  int,
  json,
  longtext,
  mysqlTable,
  primaryKey,
  text,
  tinyint,
  uniqueIndex,
  varchar,
} from 'drizzle-orm/mysql-core'

const varbinary = customType<{ data: Uint8Array; config: { length: number } }>({
  dataType: (config) => `varbinary(${config!.length})`,
})
const binary = customType<{ data: Uint8Array; config: { length: number } }>({
  dataType: (config) => `binary(${config!.length})`,
})
const moment = (name: string) => datetime(name, { mode: 'string', fsp: 3 })
const millis = (name: string) => bigint(name, { mode: 'number' })

export const translationSessions = mysqlTable(
  'translation_sessions',
  {
    session_id: varchar('session_id', { length: 36 }).primaryKey(),
    filename: varchar('filename', { length: 255 }),
    file_path: varchar('file_path', { length: 512 }),
    status: varchar('status', { length: 20 }),
    game_info: json('game_info'),
    llm_provider: varchar('llm_provider', { length: 50 }),
    metadata: json('metadata'),
    total_tasks: int('total_tasks'),
    completed_tasks: int('completed_tasks'),
    failed_tasks: int('failed_tasks'),
    processing_tasks: int('processing_tasks'),
    deleted_at: moment('deleted_at'),
    created_at: moment('created_at').notNull(),
    updated_at: moment('updated_at').notNull(),
    stamps: varbinary('stamps', { length: 512 }).notNull(),
  },
  (table) => [
    index('idx_status_created').on(table.status, table.created_at),
    index('idx_created_at').on(table.created_at),
    index('idx_updated_at').on(table.updated_at),
    index('idx_deleted_at').on(table.deleted_at),
  ],
)

export const translationTasks = mysqlTable(
  'translation_tasks',
  {
    session_id: varchar('session_id', { length: 36 }).notNull(),
    task_id: varchar('task_id', { length: 64 }).notNull(),
    batch_id: varchar('batch_id', { length: 64 }),
    sheet_name: varchar('sheet_name', { length: 255 }),
    row_index: int('row_index'),
    column_name: varchar('column_name', { length: 255 }),
    source_text: text('source_text'),
    target_text: text('target_text'),
    context: text('context'),
    status: varchar('status', { length: 20 }),
    confidence: decimal('confidence', { precision: 5, scale: 4 }),
    error_message: text('error_message'),
    retry_count: int('retry_count'),
    start_time: moment('start_time'),
    end_time: moment('end_time'),
    duration_ms: int('duration_ms'),
    created_at: moment('created_at').notNull(),
    updated_at: moment('updated_at').notNull(),
    stamps: varbinary('stamps', { length: 512 }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.session_id, table.task_id] }),
    index('idx_task_id').on(table.task_id, table.updated_at),
    index('idx_batch_id').on(table.batch_id),
    index('idx_status_created').on(table.status, table.created_at),
    index('idx_created_at').on(table.created_at),
    index('idx_updated_at').on(table.updated_at),
  ],
)

export const leases = mysqlTable('leases', {
  name: varchar('name', { length: 64 }).primaryKey(),
  owner: varchar('owner', { length: 64 }).notNull(),
  fence: millis('fence').notNull(),
  expires_at: millis('expires_at').notNull(),
})

export const instances = mysqlTable(
  'instances',
  {
    instance_id: varchar('instance_id', { length: 64 }).primaryKey(),
    number: int('number').notNull(),
    state: varchar('state', { length: 16 }).notNull(),
    version: varchar('version', { length: 32 }).notNull(),
    buffered_rows: millis('buffered_rows').notNull().default(0),
    started_at: millis('started_at').notNull(),
    seen_at: millis('seen_at').notNull(),
  },
  (table) => [uniqueIndex('uq_number').on(table.number)],
)

export const tombstones = mysqlTable(
  'tombstones',
  {
    collection: varchar('collection', { length: 64 }).notNull(),
    group_key: varchar('group_key', { length: 64 }).notNull(),
    stamp: binary('stamp', { length: 8 }).notNull(),
    finished: tinyint('finished').notNull().default(0),
    created_at: millis('created_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.collection, table.group_key] }),
    index('idx_finished').on(table.finished, table.created_at),
  ],
)

export const deadLetters = mysqlTable(
  'dead_letters',
  {
    collection: varchar('collection', { length: 64 }).notNull(),
    record_key: varchar('record_key', { length: 255 }).notNull(),
    stamp: binary('stamp', { length: 8 }).notNull(),
    id: char('id', { length: 36 }).notNull(),
    group_key: varchar('group_key', { length: 64 }).notNull(),
    reason: varchar('reason', { length: 1024 }).notNull(),
    error_code: varchar('error_code', { length: 64 }).notNull(),
    record: longtext('record').notNull(),
    stamps: varbinary('stamps', { length: 512 }).notNull(),
    accepted_at: millis('accepted_at').notNull(),
    failed_at: millis('failed_at').notNull(),
    attempts: int('attempts').notNull().default(1),
  },
  (table) => [
    primaryKey({ columns: [table.collection, table.record_key, table.stamp] }),
    uniqueIndex('uq_id').on(table.id),
    index('idx_group').on(table.group_key),
    index('idx_failed_at').on(table.failed_at),
  ],
)

export const instanceFlushes = mysqlTable('instance_flushes', {
  instance_id: varchar('instance_id', { length: 64 }).primaryKey(),
  wanted: millis('wanted').notNull(),
  done: millis('done').notNull(),
  report: varchar('report', { length: 1024 }).notNull(),
})

export const instanceHolders = mysqlTable('instance_holders', {
  instance_id: varchar('instance_id', { length: 64 }).primaryKey(),
  volume: varchar('volume', { length: 64 }).notNull(),
  token: varchar('token', { length: 64 }).notNull(),
  expires_at: millis('expires_at').notNull(),
})

export const facts = mysqlTable('facts', {
  name: varchar('name', { length: 64 }).primaryKey(),
  json: longtext('json').notNull(),
  updated_at: millis('updated_at').notNull(),
})

export const restores = mysqlTable(
  'restores',
  {
    id: char('id', { length: 36 }).primaryKey(),
    session_id: varchar('session_id', { length: 36 }).notNull(),
    tasks_count: int('tasks_count').notNull(),
    instance_id: varchar('instance_id', { length: 64 }).notNull(),
    restored_at: millis('restored_at').notNull(),
    ok: tinyint('ok').notNull(),
  },
  (table) => [index('idx_restored_at').on(table.restored_at)],
)

export const schemaMigrations = mysqlTable('schema_migrations', {
  name: varchar('name', { length: 128 }).primaryKey(),
  applied_at: millis('applied_at').notNull(),
})
