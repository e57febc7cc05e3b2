/** Replay of dead letters from a real store into a buffer that does what the test says. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test'
import { join } from 'node:path'
import type { Backend } from '../../src/backends/backend.ts'
import { openBackend } from '../../src/backends/catalog.ts'
import type { Coordination } from '../../src/backends/coordination.ts'
import type { FlushReport } from '../../src/buffer/flusher.ts'
import type { Collection } from '../../src/collections/definition.ts'
import { newestStamp, type Row } from '../../src/collections/row.ts'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { AppError } from '../../src/lib/errors.ts'
import { createLogger } from '../../src/lib/log.ts'
import { createDeadLetterService } from '../../src/system/dead_letters.ts'
import { freshFolder } from '../support/backends.ts'
import { fullRow } from '../support/contract_rows.ts'
import { until } from '../support/waiting.ts'

let backend: Backend
let drop: () => Promise<void>
let store: Coordination
beforeAll(async () => {
  const folder = await freshFolder()
  drop = folder.drop
  const config = { path: join(folder.env.DATA_DIR!, 'letters.sqlite') }
  backend = await openBackend('store', { type: 'sqlite', config }, { owner: 'test', readTimeoutMs: 5000 })
  await backend.prepare({ migrate: true })
  store = backend.coordination!
})
afterAll(async () => {
  await backend.close()
  await drop()
})
beforeEach(async () => {
  await store.removeDeadLetters(await store.findDeadLetters({}, { limit: 1000, after: '' }))
})

const rowOf = (n: number) => fullRow(tasks, ['s', `t-${n}`], { n })
const putLetters = (collection: Collection, rows: readonly Row[]) =>
  store.putDeadLetters(
    rows.map((row) => ({ collection: collection.name, row, code: '1406', reason: 'too long' })),
  )
const idsLeft = async () => (await store.listDeadLetters({}, { limit: 1000 })).map(({ row }) => row.key[1]!)

interface Buffer {
  room?: () => number
  takeIn?: (collection: Collection, rows: readonly { row: Row; bytes: number }[]) => Promise<void>
  flush?: () => Promise<Error | null>
  refusal?: () => AppError | null
}

/** A service in front of a buffer that takes everything, and stores it at a flush, unless the test says otherwise. */
function serviceOn(buffer: Buffer) {
  const taken: string[][] = []
  const service = createDeadLetterService({
    coordination: store,
    collections: [sessions, tasks],
    buffer: {
      room: buffer.room ?? (() => 1000),
      async takeIn(collection, rows, { replayed }) {
        expect(replayed).toBe(true)
        await buffer.takeIn?.(collection, rows)
        taken.push(rows.map(({ row }) => row.key.at(-1)!))
      },
      async flush(collections = []) {
        const failure = (await buffer.flush?.()) ?? null
        const report: FlushReport = { written: 0, refused: 0, failure }
        return new Map(collections.map(({ name }) => [name, report]))
      },
    },
    refusal: buffer.refusal ?? (() => null),
    flushTimeoutMs: 200,
    log: createLogger({ level: 'error', instance: 'test', write: () => undefined }),
  })
  return { service, taken }
}

const full = () => new AppError('BUFFER_FULL', { retryAfterSeconds: 1 })
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: unknown) => error,
  )

test('a page takes no more than the buffer has room for, and every letter comes once', async () => {
  await putLetters(tasks, [0, 1, 2, 3, 4, 5, 6].map(rowOf))
  const { service, taken } = serviceOn({ room: () => 3 })
  expect(await service.replay({}, { dryRun: false })).toEqual({ matched: 7, replayed: 7, refused: 0 })
  expect(taken.map((page) => page.length)).toEqual([3, 3, 1])
  expect(taken.flat().toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6].map((n) => `t-${n}`))
  expect(await idsLeft()).toEqual([])
})

test('large rows come in pages of bounded bytes', async () => {
  const large = [0, 1, 2].map((n) =>
    fullRow(tasks, ['s', `t-${n}`], { n, fields: { source_text: 'x'.repeat(3_000_000) } }),
  )
  await putLetters(tasks, large)
  const { service, taken } = serviceOn({})
  expect(await service.replay({}, { dryRun: false })).toMatchObject({ replayed: 3 })
  expect(taken.map((page) => page.length)).toEqual([1, 1, 1])
})

test('what the buffer is handed is the row, field by field, with its stamps', async () => {
  const [task, session] = [rowOf(1), fullRow(sessions, ['s'], { n: 2 })]
  await putLetters(tasks, [task])
  await putLetters(sessions, [session])
  const handed = new Map<string, Row>()
  const { service } = serviceOn({
    async takeIn(collection, rows) {
      for (const { row, bytes } of rows) {
        expect(bytes).toBeGreaterThan(0)
        handed.set(collection.name, row)
      }
    },
  })
  await service.replay({}, { dryRun: false })
  for (const [name, row] of [
    [tasks.name, task],
    [sessions.name, session],
  ] as const) {
    const got = handed.get(name)!
    expect(got.values).toEqual(row.values as never)
    expect([newestStamp(got), got.createdAtMs]).toEqual([newestStamp(row), row.createdAtMs])
  }
})

// The letter is then the only place where the row is.
test('a row that is refused again before its letter is removed keeps the letter', async () => {
  await putLetters(tasks, [0, 1].map(rowOf))
  const { service } = serviceOn({ takeIn: async () => void (await putLetters(tasks, [rowOf(1)])) })
  expect(await service.replay({}, { dryRun: false })).toEqual({ matched: 2, replayed: 2, refused: 1 })
  expect(await store.listDeadLetters({}, { limit: 10 })).toMatchObject([
    { row: { key: ['s', 't-1'] }, attempts: 2 },
  ])
})

test('letters that fail while a replay runs are not part of it, so it ends', async () => {
  await putLetters(tasks, [0, 1, 2].map(rowOf))
  const startMs = await store.now()
  let made = 100
  const { service, taken } = serviceOn({
    room: () => 1,
    async flush() {
      await until(async () => (await store.now()) > startMs + 1, { message: "the database's clock moves on" })
      await putLetters(tasks, [rowOf(made++)])
      return null
    },
  })
  expect(await service.replay({}, { dryRun: false })).toMatchObject({ matched: 3, replayed: 3 })
  expect(taken.flat().toSorted()).toEqual(['t-0', 't-1', 't-2'])
  expect((await idsLeft()).toSorted()).toEqual(['t-100', 't-101', 't-102'])
})

test('a purge spares what is refused again after it was looked at', async () => {
  await putLetters(tasks, [0, 1].map(rowOf))
  const { service } = serviceOn({})
  const inner = store.findDeadLetters
  const meddling: Coordination = {
    ...store,
    async findDeadLetters(filter, page) {
      const found = await inner(filter, page)
      if (page.after === '') await putLetters(tasks, [rowOf(0)])
      return found
    },
  }
  expect(await service.purge({}, { dryRun: true })).toEqual({ matched: 2, purged: 0 })
  const purging = createDeadLetterService({
    coordination: meddling,
    collections: [tasks],
    buffer: { room: () => 0, takeIn: async () => undefined, flush: async () => new Map() },
    refusal: () => null,
    flushTimeoutMs: 200,
    log: createLogger({ level: 'error', instance: 'test', write: () => undefined }),
  })
  expect(await purging.purge({}, { dryRun: false })).toEqual({ matched: 2, purged: 1 })
  expect(await idsLeft()).toEqual(['t-0'])
})

test('a buffer that is full at once is the answer; later it is what was done until then', async () => {
  await putLetters(tasks, [0, 1, 2, 3].map(rowOf))
  const atOnce = serviceOn({ takeIn: async () => Promise.reject(full()) })
  expect(await failureOf(atOnce.service.replay({}, { dryRun: false }))).toMatchObject({ code: 'BUFFER_FULL' })
  expect((await idsLeft()).length).toBe(4)
  let pages = 0
  const later = serviceOn({
    room: () => 2,
    takeIn: async () => (++pages > 1 ? Promise.reject(full()) : undefined),
  })
  expect(await later.service.replay({}, { dryRun: false })).toEqual({ matched: 4, replayed: 2, refused: 0 })
  expect((await idsLeft()).length).toBe(2)
})

test('letters stay while their rows are only buffered: the flush failed, or is not done in time', async () => {
  await putLetters(tasks, [0, 1].map(rowOf))
  for (const flush of [async () => new Error('down'), () => new Promise<null>(() => undefined)]) {
    const { service } = serviceOn({ flush })
    expect(await failureOf(service.replay({}, { dryRun: false }))).toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
    })
    expect((await idsLeft()).length).toBe(2)
  }
})

test('an instance that takes no writes replays nothing', async () => {
  await putLetters(tasks, [rowOf(0)])
  const { service, taken } = serviceOn({ refusal: () => new AppError('SHUTTING_DOWN') })
  expect(await failureOf(service.replay({}, { dryRun: false }))).toMatchObject({ code: 'SHUTTING_DOWN' })
  expect(taken).toEqual([])
})
