import { describe, expect, test } from 'bun:test'
import { coveredPercent } from '../support/coverage.ts'
import type { ServerKind, StartedServer } from '../support/server_kind.ts'
import { findServer, requiredServers } from '../support/servers.ts'
import { closingLine, readCounts } from '../support/test_report.ts'

const SUMMARY =
  '(pass) a\n\n 12 pass\n 1 skip\n 2 todo\n 3 fail\n 1 error\n 40 expect() calls\nRan 17 tests\n'

describe('the figures at the end', () => {
  test('are those that bun printed last, a todo being a skip', () => {
    const counts = readCounts(` 99 pass\n${'\n'.repeat(40)}${SUMMARY}`, 1)
    expect(closingLine(counts)).toBe('12 passed, 3 failed, 3 skipped')
  })

  test('leave out what was not skipped', () => {
    expect(closingLine(readCounts(' 2 pass\n 0 fail\n', 0))).toBe('2 passed, 0 failed')
  })

  test('are read through colours', () => {
    expect(readCounts('\u001b[32m 2 pass\u001b[0m\n 0 fail\n', 0).passed).toBe(2)
  })

  test('count a crash as a failure', () => {
    expect(closingLine(readCounts('panic: out of luck', 139))).toBe('0 passed, 1 failed')
  })

  test('weigh coverage by lines, not by files', () => {
    const files = [
      { path: 'src/a.ts', lines: 90, hit: 90 },
      { path: 'src/b.ts', lines: 10, hit: 0 },
    ]
    expect(coveredPercent(files)).toBe(90)
  })
})

describe('a server', () => {
  const started: string[] = []
  const way = (title: string, server: Partial<StartedServer>) => ({
    title,
    async start(): Promise<StartedServer> {
      started.push(title)
      return { variables: { TEST_X_URL: title }, ended: () => undefined, stop: async () => {}, ...server }
    },
  })
  const none = {
    title: 'none',
    async start(): Promise<StartedServer> {
      throw new Error('no x installed')
    },
  }
  const kind = (ways: ServerKind['ways']): ServerKind => ({
    name: 'x',
    variables: ['TEST_X_URL'],
    async identify({ TEST_X_URL: url }) {
      if (url === 'dead') throw new Error('refused')
      return `X at ${url}`
    },
    ways,
  })

  test('that the environment names is taken, and none is started', async () => {
    const found = await findServer(kind([way('first', {})]), { TEST_X_URL: 'here' })
    expect(found).toMatchObject({
      tested: true,
      detail: 'X at here (TEST_X_URL)',
      variables: { TEST_X_URL: 'here' },
    })
    expect(started).toEqual([])
  })

  test('that the environment names but does not answer is left out, not replaced', async () => {
    const found = await findServer(kind([way('first', {})]), { TEST_X_URL: 'dead' })
    expect(found).toMatchObject({ tested: false, detail: 'TEST_X_URL is set, but: refused' })
    expect(started).toEqual([])
  })

  test('is started in the first way that works', async () => {
    const found = await findServer(kind([none, way('second', {}), way('third', {})]), {})
    expect(found).toMatchObject({ tested: true, detail: 'X at second (second)' })
    expect(started.splice(0)).toEqual(['second'])
  })

  test('that ends at once is cleared away, and its last words are the reason', async () => {
    let stopped = 0
    const broken = way('broken', {
      ended: async () => 'disk full',
      stop: async () => void stopped++,
    })
    const found = await findServer(kind([broken, none]), {})
    expect(found).toEqual({
      name: 'x',
      tested: false,
      detail: 'no TEST_X_URL; x ended: disk full; no x installed',
    })
    expect(stopped).toBe(1)
  })

  test('is required by its word, and an unknown word is refused', () => {
    expect(requiredServers(' mysql, mariadb,')).toEqual(['mysql', 'mariadb'])
    expect(() => requiredServers('mysql,oracle')).toThrow('oracle is unknown; known are mysql, mariadb')
  })
})
