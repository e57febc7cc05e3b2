import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import { BackendError } from '../../src/backends/backend.ts'
import type { InstanceRecord } from '../../src/backends/coordination.ts'
import { createCoverage } from '../../src/cluster/coverage.ts'
import { settle } from '../support/contract_gates.ts'

const T0 = 1_700_000_000_000
const TEN_MINUTES = 600_000

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

/** A table of instances in the test's hands, seen by the instance `me`. */
function table(...others: string[]) {
  const it = {
    nowMs: T0,
    rows: new Map<string, InstanceRecord>(),
    lists: 0,
    requests: 0,
    /** Thrown by the next request. */
    failure: null as Error | null,
    /** While set, a list waits for it. */
    gate: null as Promise<void> | null,
    down: false,
    join(id: string, more: Partial<InstanceRecord> = {}) {
      const row = { instanceId: id, version: '1', state: 'live' as const, bufferedRows: 0, startedAtMs: T0 }
      const none = { seenAtMs: it.nowMs, flushWanted: 0, flushDone: 0, flushReport: {} }
      it.rows.set(id, { ...row, ...none, ...more })
    },
    change(id: string, more: Partial<InstanceRecord>) {
      it.rows.set(id, { ...it.rows.get(id)!, ...more })
    },
    /** The instance has done all that was asked of it; `written` are its sums. */
    report(id: string, written: Record<string, number> = {}) {
      it.change(id, { flushDone: it.rows.get(id)!.flushWanted, flushReport: written })
    },
    /** Time goes on; those of `alive` give signs of it. */
    async pass(ms: number, alive: readonly string[] = [...it.rows.keys()]) {
      for (let passed = 0; passed < ms; passed += 25) {
        it.nowMs += 25
        for (const id of alive) if (it.rows.has(id)) it.change(id, { seenAtMs: it.nowMs })
        jest.advanceTimersByTime(25)
        await settle()
      }
    },
    coverage: undefined as unknown as ReturnType<typeof createCoverage>,
  }
  it.coverage = createCoverage({
    instanceId: 'me',
    coordination: {
      async listInstances() {
        it.lists++
        await it.gate
        if (it.down) throw new BackendError('outage', 'DOWN', 'down')
        return { nowMs: it.nowMs, instances: [...it.rows.values()].map((row) => ({ ...row })) }
      },
      async requestFlush(by) {
        it.requests++
        const { failure } = it
        it.failure = null
        if (failure) throw failure
        for (const [id, row] of it.rows)
          if (id !== by && row.state !== 'gone') it.change(id, { flushWanted: row.flushWanted + 1 })
      },
    },
  })
  for (const id of ['me', ...others]) it.join(id)
  return it
}

/** A call, and whether it has ended yet. */
function call(t: ReturnType<typeof table>, timeoutMs = 3000) {
  const one = { ended: false, result: t.coverage.storedByAll({ timeoutMs }) }
  one.result.catch(() => undefined).finally(() => (one.ended = true))
  return one
}

test('alone it costs one query, and nobody is asked; so it is beside those that are gone or lost', async () => {
  const t = table()
  expect(await t.coverage.storedByAll({ timeoutMs: 3000 })).toEqual({ missing: [], late: [], written: {} })
  t.join('gone', { state: 'gone' })
  t.join('lost', { seenAtMs: T0 - TEN_MINUTES - 5001 })
  expect((await t.coverage.storedByAll({ timeoutMs: 3000 })).missing).toEqual([])
  expect([t.lists, t.requests]).toEqual([2, 0])
})

test('waits until each of the others has done what was asked after the call, and sums what they wrote', async () => {
  const t = table('a', 'b')
  t.change('a', { flushWanted: 7, flushDone: 7, flushReport: { tasks: 99 } })
  const one = call(t)
  await t.pass(500)
  expect(t.requests).toBe(1)
  t.report('a', { tasks: 102, sessions: 1 })
  await t.pass(500)
  expect(one.ended).toBe(false)
  t.report('b', { tasks: 4 })
  await t.pass(100)
  expect(one.ended).toBe(true)
  expect(await one.result).toEqual({ missing: [], late: [], written: { tasks: 7, sessions: 1 } })
})

test('one that drains counts like one that lives; one that signs off, or is forgotten, is not waited for', async () => {
  const t = table('draining', 'leaving', 'forgotten')
  t.change('draining', { state: 'draining' })
  const one = call(t)
  await t.pass(200)
  t.change('leaving', { state: 'gone' })
  t.rows.delete('forgotten')
  await t.pass(200)
  expect(one.ended).toBe(false)
  t.report('draining')
  await t.pass(100)
  expect((await one.result).missing).toEqual([])
})

test('whoever is not done when the time is up is named, as one that is late', async () => {
  const t = table('quick', 'slow')
  const one = call(t, 3000)
  await t.pass(200)
  t.report('quick', { tasks: 1 })
  await t.pass(2700)
  expect(one.ended).toBe(false)
  await t.pass(200)
  expect(await one.result).toEqual({ missing: ['slow'], late: ['slow'], written: { tasks: 1 } })
})

test('the dead are named at once: no waiting where nobody else lives', async () => {
  const t = table()
  t.join('dead', { seenAtMs: T0 - 5001 })
  t.join('ended-with-rows-left', { state: 'draining', seenAtMs: T0 - TEN_MINUTES })
  const { missing, late } = await t.coverage.storedByAll({ timeoutMs: 3000 })
  expect([missing, late]).toEqual([['dead', 'ended-with-rows-left'], []])
  expect(t.requests).toBe(0)
  t.change('dead', { seenAtMs: T0 - 5000 })
  expect(call(t).ended).toBe(false)
})

test('one that dies meanwhile is named then, not when the time is up', async () => {
  const t = table('a', 'dying')
  const one = call(t, 8000)
  await t.pass(200, ['me', 'a'])
  t.report('a')
  await t.pass(4700, ['me', 'a'])
  expect(one.ended).toBe(false)
  await t.pass(300, ['me', 'a'])
  expect(one.ended).toBe(true)
  expect(await one.result).toMatchObject({ missing: ['dying'], late: [] })
})

test('calls at once share a request, but none joins one that is sent: what was accepted in between counts', async () => {
  const t = table('a')
  const { promise, resolve } = Promise.withResolvers<void>()
  t.gate = promise
  const first = call(t)
  await settle()
  const joined = [call(t), call(t), call(t)]
  t.gate = null
  resolve()
  await settle()
  expect(t.requests).toBe(2)
  t.change('a', { flushDone: 1 })
  await t.pass(100)
  expect([first.ended, ...joined.map(({ ended }) => ended)]).toEqual([true, false, false, false])
  const later = call(t)
  await t.pass(100)
  t.change('a', { flushDone: 2 })
  await t.pass(100)
  expect(joined.every(({ ended }) => ended)).toBe(true)
  expect(later.ended).toBe(false)
  t.report('a')
  await t.pass(100)
  expect(later.ended).toBe(true)
  expect(t.requests).toBe(3)
})

test('looks once for all who wait, each with a time of its own, and not at all when nobody does', async () => {
  const t = table('a')
  const short = call(t, 500)
  await settle()
  const long = call(t, 2000)
  await settle()
  const before = t.lists
  await t.pass(1000)
  expect(t.lists - before).toBeLessThan(16)
  expect([short.ended, long.ended]).toEqual([true, false])
  await t.pass(1200)
  expect(long.ended).toBe(true)
  const after = t.lists
  await t.pass(2000)
  expect(t.lists - after).toBeLessThanOrEqual(1)
})

test("what another's request made an instance write counts for all who wait for it, though a later one found nothing", async () => {
  const t = table('a')
  t.report('a', { tasks: 900, sessions: 5 })
  const one = call(t)
  await settle()
  t.report('a', { tasks: 1000, sessions: 5 })
  // Before anybody looks: another one asked, and there was nothing left to write.
  t.change('a', { flushWanted: 2 })
  t.report('a', { tasks: 1000, sessions: 5 })
  await t.pass(100)
  expect((await one.result).written).toEqual({ tasks: 100, sessions: 0 })
})

test('what an instance wrote since it was started anew counts as a whole', async () => {
  const t = table('a')
  t.report('a', { tasks: 900 })
  const one = call(t)
  await settle()
  t.report('a', { tasks: 7 })
  await t.pass(100)
  expect((await one.result).written).toEqual({ tasks: 7 })
})

test('an outage is thrown, at the call and while it waits; then it works again', async () => {
  const t = table('a')
  t.down = true
  await expect(t.coverage.storedByAll({ timeoutMs: 3000 })).rejects.toMatchObject({ kind: 'outage' })
  t.down = false
  const one = call(t)
  await t.pass(200)
  t.down = true
  await t.pass(100)
  await expect(one.result).rejects.toMatchObject({ kind: 'outage' })
  t.down = false
  t.failure = new BackendError('outage', '1290', 'read only')
  await expect(t.coverage.storedByAll({ timeoutMs: 3000 })).rejects.toMatchObject({ code: '1290' })
  const again = call(t)
  await settle()
  t.report('a')
  await t.pass(100)
  expect((await again.result).missing).toEqual([])
})

test('a database that hangs is an outage when the time is up: nobody can tell who is missing', async () => {
  const t = table('a')
  t.gate = new Promise(() => undefined)
  const one = call(t, 3000)
  await t.pass(2900)
  expect(one.ended).toBe(false)
  await t.pass(200)
  await expect(one.result).rejects.toMatchObject({ kind: 'outage', code: 'TIMEOUT' })
})
