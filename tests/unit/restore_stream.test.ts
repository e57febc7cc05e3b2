/** A restore's stream waits for its database as long as that takes, and for its client no longer than told. */
import { expect, test } from 'bun:test'
import type { Restore } from '../../src/translation/recovery.ts'
import { NDJSON, restoreStream } from '../../src/translation/restore_stream.ts'
import type { TaskDetail } from '../../src/translation/views.ts'
import { until } from '../support/waiting.ts'

const TIMEOUT_MS = 150

/** A restore of pages of `size` tasks; writes down how it ended, and whether its pages were let go. */
function restoreOf(pages: number, options: { size?: number; before?: (page: number) => unknown } = {}) {
  const { size = 10, before } = options
  const ends: { count: number; ok: boolean }[] = []
  const events: string[] = []
  async function* tasks(): AsyncGenerator<TaskDetail[]> {
    try {
      for (let page = 0; page < pages; page++) {
        await before?.(page)
        yield Array.from({ length: size }, (_, i) => ({ task_id: `${page}-${i}` }) as TaskDetail)
      }
    } finally {
      events.push('let go')
    }
  }
  const restore = {
    session: { session_id: 's' },
    tasks: tasks(),
    missing: [],
    async finish(count: number, ok: boolean) {
      ends.push({ count, ok })
      return 'now'
    },
  } as unknown as Restore
  const stream = restoreStream(restore, {
    sessionId: 's',
    form: NDJSON,
    clientTimeoutMs: TIMEOUT_MS,
    onFailure: (error) => events.push(`failed: ${String(error)}`),
    onLate: () => events.push('late'),
  })
  return { reader: stream.getReader(), ends, events }
}

type Reader = ReturnType<typeof restoreOf>['reader']

async function readAll(reader: Reader, pauseMs = 0): Promise<string[]> {
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return text.trimEnd().split('\n')
    text += decoder.decode(value, { stream: true })
    await Bun.sleep(pauseMs)
  }
}

test('a client that reads a little now and then may take longer in all', async () => {
  const { reader, ends, events } = restoreOf(8)
  const started = performance.now()
  const lines = await readAll(reader, TIMEOUT_MS / 3)
  expect(performance.now() - started).toBeGreaterThan(TIMEOUT_MS * 2)
  expect([lines.length, lines.at(-1)]).toEqual([82, expect.stringContaining('"tasks_count":80')])
  expect([ends, events]).toEqual([[{ count: 80, ok: true }], ['let go']])
  // No clock is left that would end it afterwards.
  await Bun.sleep(TIMEOUT_MS * 1.5)
  expect(events).toEqual(['let go'])
})

test('a database that takes longer is not the fault of the client', async () => {
  const { reader, events } = restoreOf(2, { before: () => Bun.sleep(TIMEOUT_MS * 1.5) })
  expect((await readAll(reader)).length).toBe(22)
  expect(events).toEqual(['let go'])
})

test('a client that stops reading ends it: once, with what went out, and without a last line', async () => {
  const { reader, ends, events } = restoreOf(100)
  await reader.read()
  await reader.read()
  await until(() => ends.length > 0, { message: 'it has ended' })
  expect([events, ends]).toEqual([['late', 'let go'], [{ count: 20, ok: false }]])
  await expect(readAll(reader)).rejects.toThrow('Request not received in time')
})

test('a page of megabytes goes out in parts: each of them shows that its client goes on', async () => {
  const { reader } = restoreOf(1, { size: 50_000 })
  const sizes: number[] = []
  for (let part = await reader.read(); !part.done; part = await reader.read())
    sizes.push(part.value.byteLength)
  expect(Math.max(...sizes)).toBe(128 * 1024)
  expect(sizes.length).toBeGreaterThan(8)
})

test('a client that goes away lets everything go; so does a page that can not be read, which is told', async () => {
  const gone = restoreOf(100)
  await gone.reader.read()
  await gone.reader.read()
  await gone.reader.cancel()
  expect(gone.events).toEqual(['let go'])
  expect(gone.ends).toMatchObject([{ ok: false }])

  const before = (page: number) => page === 1 && Promise.reject(new TypeError('no page'))
  const failing = restoreOf(100, { before })
  await expect(readAll(failing.reader)).rejects.toThrow('no page')
  expect(failing.events).toEqual(['let go', 'failed: TypeError: no page'])
  expect(failing.ends).toEqual([{ count: 10, ok: false }])
})
