import { describe, expect, test } from 'bun:test'
import { SQLiteSyncDialect } from 'drizzle-orm/sqlite-core'
import { statementsOf } from '../../src/backends/sql/migrate.ts'
import { statement } from '../../src/backends/sql/statement.ts'

const compile = (query: ReturnType<ReturnType<typeof statement>>) => new SQLiteSyncDialect().sqlToQuery(query)

describe('a fixed statement', () => {
  test('takes its parameters in order, as parameters', () => {
    const { sql, params } = compile(statement('SELECT a FROM t WHERE b = ? AND c > ?;\n')('x', 7))
    expect(sql.trim()).toBe('SELECT a FROM t WHERE b = ? AND c > ?')
    expect(params).toEqual(['x', 7])
  })

  test('is stripped of its comments: a question mark in one is no parameter', () => {
    const text = '-- Is it there? Parameters: a.\n  -- Really?\nSELECT 1 WHERE a = ?;\n'
    const { sql, params } = compile(statement(text)(null))
    expect(sql).toBe('SELECT 1 WHERE a = ?')
    expect(params).toEqual([null])
  })

  test('takes exactly as many as it has', () => {
    const bound = statement('SELECT ? + ?')
    expect(() => bound(1)).toThrow('statement takes 2 parameters, 1 given')
    expect(() => bound(1, 2, 3)).toThrow('statement takes 2 parameters, 3 given')
    expect(() => statement('SELECT 1')()).not.toThrow()
  })

  test('carries what looks like SQL as a value', () => {
    const hostile = `'; DROP TABLE t; -- ?`
    const { sql, params } = compile(statement('SELECT ?')(hostile))
    expect(sql).toBe('SELECT ?')
    expect(params).toEqual([hostile])
  })

  test('may be bound again and again', () => {
    const bound = statement('SELECT ?')
    expect([bound(1), bound(2)].map((query) => compile(query).params)).toEqual([[1], [2]])
  })
})

describe('a migration', () => {
  test('is cut into its statements, comments and blank ones left out', () => {
    const text = `-- First; it says.
CREATE TABLE a (
  -- one; two
  b TEXT DEFAULT ';x'
);

;
INSERT INTO a VALUES (1);  
-- the end;
`
    const found = statementsOf(text).map((query) => compile(query).sql)
    expect(found).toEqual([
      expect.stringMatching(/^CREATE TABLE a \(\s+b TEXT DEFAULT ';x'\s+\)$/),
      'INSERT INTO a VALUES (1)',
    ])
  })

  test('of nothing has none', () => {
    expect(statementsOf('-- nothing\n')).toEqual([])
  })
})
