import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { is } from 'drizzle-orm'
import { getTableConfig, MySqlTable } from 'drizzle-orm/mysql-core'
import * as tables from '../../src/backends/mysql/tables.ts'
import { COLLECTIONS } from '../../src/collections/catalog.ts'
import { type Collection, type FieldType, ROW_TIMES } from '../../src/collections/definition.ts'
import { STAMP_BYTES } from '../../src/collections/stamp.ts'
import {
  type BackendKind,
  backendKinds,
  type OpenStore,
  onEachBackend,
} from '../support/contract_backends.ts'

const drizzleTables = Object.values(tables)
  .filter((table) => is(table, MySqlTable))
  .map((table) => getTableConfig(table))

interface Column {
  type: string
  notNull: boolean
  default: string | null
}
interface TableShape {
  columns: Record<string, Column>
  primaryKey: string[]
  indexes: Record<string, { columns: string[]; unique: boolean }>
}

function drizzleShape(table: (typeof drizzleTables)[number]): TableShape {
  const lone = table.columns.filter((column) => column.primary).map(({ name }) => name)
  return {
    columns: Object.fromEntries(
      table.columns.map((column) => [
        column.name,
        {
          type: column.getSQLType(),
          notNull: column.notNull,
          default: column.hasDefault ? String(column.default) : null,
        },
      ]),
    ),
    primaryKey: table.primaryKeys[0]?.columns.map(({ name }) => name) ?? lone,
    indexes: Object.fromEntries(
      table.indexes.map(({ config }) => [
        config.name,
        {
          columns: config.columns.map((column) => String('name' in column ? column.name : '')),
          unique: config.unique ?? false,
        },
      ]),
    ),
  }
}

/** MariaDB says how wide it would print an integer, and keeps JSON as text. */
function comparable(type: string, { name }: BackendKind): string {
  const plain = type.toLowerCase().replace(/^((?:tiny|big)?int)\(\d+\)/, '$1')
  return name === 'mariadb' && plain === 'json' ? 'longtext' : plain
}

async function storedShape(store: OpenStore, kind: BackendKind, table: string): Promise<TableShape> {
  const columns = await store.execute(
    `SELECT column_name AS name, column_type AS type, is_nullable AS nullable, column_default AS preset
     FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '${table}' ORDER BY ordinal_position`,
  )
  const parts = await store.execute(
    `SELECT index_name AS name, column_name AS part, non_unique AS many FROM information_schema.statistics
     WHERE table_schema = DATABASE() AND table_name = '${table}' ORDER BY index_name, seq_in_index`,
  )
  const shape: TableShape = { columns: {}, primaryKey: [], indexes: {} }
  for (const { name, type, nullable, preset } of columns) {
    shape.columns[String(name)] = {
      type: comparable(String(type), kind),
      notNull: nullable === 'NO',
      default: preset === null || preset === 'NULL' ? null : String(preset),
    }
  }
  for (const { name, part, many } of parts) {
    if (name === 'PRIMARY') shape.primaryKey.push(String(part))
    else {
      shape.indexes[String(name)] ??= { columns: [], unique: Number(many) === 0 }
      shape.indexes[String(name)]!.columns.push(String(part))
    }
  }
  return shape
}

onEachBackend("Drizzle's tables", 'pool', (store, kind) => {
  test('are all of those that the migrations made, and no others', async () => {
    const found = await store().execute(
      'SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()',
    )
    expect(found.map(({ name }) => String(name)).toSorted()).toEqual(
      drizzleTables.map(({ name }) => name).toSorted(),
    )
  })

  test.each(drizzleTables.map((table) => [table.name, table] as const))(
    '%s has the columns, types, defaults, keys and indexes that it really has',
    async (name, table) => {
      const expected = drizzleShape(table)
      for (const column of Object.values(expected.columns)) column.type = comparable(column.type, kind)
      const stored = await storedShape(store(), kind, name)
      expect(stored).toEqual(expected)
      expect(Object.keys(stored.columns)).toEqual(Object.keys(expected.columns))
    },
  )

  test('every text is compared byte by byte, and every table can be written in a transaction', async () => {
    const collations = await store().execute(
      `SELECT DISTINCT collation_name AS name FROM information_schema.columns
       WHERE table_schema = DATABASE() AND collation_name IS NOT NULL`,
    )
    expect(collations.map(({ name }) => name)).toEqual(['utf8mb4_bin'])
    const engines = await store().execute(
      'SELECT DISTINCT engine AS name FROM information_schema.tables WHERE table_schema = DATABASE()',
    )
    expect(engines.map(({ name }) => name)).toEqual(['InnoDB'])
  })
})

/** Types of columns that hold a field of the type. */
const HOLDS: Record<BackendKind['dialect'], Record<FieldType, RegExp>> = {
  mysql: {
    text: /^(varchar\(\d+\)|text)$/,
    integer: /^int$/,
    decimal: /^decimal\(5,4\)$/,
    json: /^(json|longtext)$/,
    timestamp: /^datetime\(3\)$/,
  },
  sqlite: { text: /^TEXT$/, integer: /^INTEGER$/, decimal: /^REAL$/, json: /^TEXT$/, timestamp: /^INTEGER$/ },
}

onEachBackend('the tables of the collections', 'records', (store, kind) => {
  test.each(COLLECTIONS.map((collection) => [collection.name, collection as Collection] as const))(
    '%s hold its key, its fields and its times, and nothing else',
    async (name, collection) => {
      const shape =
        kind.dialect === 'sqlite' ? await sqliteShape(store(), name) : await storedShape(store(), kind, name)
      expect(Object.keys(shape.columns).toSorted()).toEqual(
        [...collection.key, ...collection.slots, ...ROW_TIMES, 'stamps'].toSorted(),
      )
      expect(shape.primaryKey).toEqual([...collection.key])
      for (const [column, { type, notNull }] of Object.entries(shape.columns)) {
        if (column === 'stamps') {
          expect(type).toMatch(/^(varbinary\(\d+\)|BLOB)$/)
          const room = Number(/\d+/.exec(type)?.[0] ?? Number.POSITIVE_INFINITY)
          expect(room).toBeGreaterThanOrEqual(collection.slots.length * STAMP_BYTES)
        } else expect(type, column).toMatch(HOLDS[kind.dialect][collection.typeOf(column)])
        // A row may arrive in halves: what is no key, and not kept by the law, may be absent.
        expect(notNull, column).toBe(!collection.slots.includes(column))
      }
    },
  )
})

async function sqliteShape(store: OpenStore, table: string): Promise<TableShape> {
  const columns = await store.execute(
    `SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info('${table}')`,
  )
  return {
    columns: Object.fromEntries(
      columns.map(({ name, type, notnull, dflt_value: preset }) => [
        String(name),
        { type: String(type), notNull: notnull === 1, default: preset === null ? null : String(preset) },
      ]),
    ),
    primaryKey: columns
      .filter(({ pk }) => Number(pk) > 0)
      .toSorted((a, b) => Number(a.pk) - Number(b.pk))
      .map(({ name }) => String(name)),
    indexes: {},
  }
}

describe('sqlite and mysql', () => {
  const stores: OpenStore[] = []
  let [embedded, server]: (OpenStore | undefined)[] = []
  const serverKind = backendKinds.find(({ dialect, skip }) => dialect === 'mysql' && skip === undefined)
  beforeAll(async () => {
    embedded = await backendKinds.find(({ dialect }) => dialect === 'sqlite')!.open()
    server = await serverKind?.open()
    stores.push(...[embedded, server].filter((store) => store !== undefined))
  })
  afterAll(() => Promise.all(stores.map((store) => store.close())))

  const title = 'have the same tables with the same columns, keys and nullability'
  if (!serverKind) test.skip(`${title} (left out: this run has no server)`, () => undefined)
  else {
    test.each(drizzleTables.map(({ name }) => [name]))(`${title}: %s`, async (name) => {
      const [lite, full] = [await sqliteShape(embedded!, name), await storedShape(server!, serverKind, name)]
      const nullability = ({ columns }: TableShape) =>
        Object.fromEntries(Object.entries(columns).map(([column, { notNull }]) => [column, notNull]))
      expect(nullability(lite)).toEqual(nullability(full))
      expect(lite.primaryKey).toEqual(full.primaryKey)
    })
  }
})

describe('the order of the slots, which stored stamps are read by', () => {
  /** Append only: a line may be added at the end, none may move or go. */
  const SLOTS: Record<string, string[]> = {
    translation_sessions: [
      'filename',
      'file_path',
      'status',
      'game_info',
      'llm_provider',
      'metadata',
      'total_tasks',
      'completed_tasks',
      'failed_tasks',
      'processing_tasks',
      'deleted_at',
    ],
    translation_tasks: [
      'batch_id',
      'sheet_name',
      'row_index',
      'column_name',
      'source_text',
      'target_text',
      'context',
      'status',
      'confidence',
      'error_message',
      'retry_count',
      'start_time',
      'end_time',
      'duration_ms',
    ],
  }

  test.each(COLLECTIONS.map((collection) => [collection.name, collection as Collection] as const))(
    'is what it has always been in %s',
    (name, collection) => {
      expect(collection.slots).toEqual(SLOTS[name]!)
      expect(collection.slots.map((field) => collection.slotOf(field))).toEqual([...SLOTS[name]!.keys()])
    },
  )
})
