import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import { type AskedFlush, createInstanceRegistry, type RegistryOptions } from '../../src/cluster/instances.ts'
import { backendKinds, type OpenStore } from '../support/contract_backends.ts'
import { settle } from '../support/contract_gates.ts'

let store: OpenStore
let bufferedRows = 0
let logs: string[] = []

beforeEach(async () => {
  jest.useFakeTimers()
  store = await backendKinds.find(({ dialect }) => dialect === 'sqlite')!.open()
  logs = []
})
afterEach(async () => {
  jest.useRealTimers()
  await store.close()
})

function registry(instanceId = 'one', more: Partial<RegistryOptions> = {}) {
  const log = (message: string) => void logs.push(message)
  return createInstanceRegistry({
    coordination: store.backend.coordination!,
    instanceId,
    volume: 'volume',
    version: '1.2.3',
    bufferedRows: () => bufferedRows,
    log: { debug: log, info: log, warn: log, error: log },
    ...more,
  })
}

async function pass(ms: number): Promise<void> {
  jest.advanceTimersByTime(ms)
  await settle()
}

const rows = () => store.execute('SELECT * FROM instances ORDER BY instance_id')

test('an instance has no number before it is registered, and its own afterwards', async () => {
  const [one, two] = [registry('one'), registry('two')]
  expect(one.registered()).toBe(false)
  expect(() => one.number()).toThrow('no number yet')
  await one.register()
  await two.register()
  expect([one.registered(), one.number()]).toEqual([true, 0])
  expect(two.number()).toBe(1)
  await one.register()
  expect(one.number()).toBe(0)
})

test('an instance gives a sign of life every second, with what it holds; it registers once the database is up', async () => {
  let isUp = false
  const one = registry('one', { isUp: () => isUp })
  one.start()
  await pass(3000)
  expect(await rows()).toEqual([])
  isUp = true
  await pass(1000)
  expect(one.registered()).toBe(true)
  await store.execute('UPDATE instances SET seen_at = 0')
  bufferedRows = 12
  await pass(1000)
  const [seen] = await rows()
  expect(seen).toMatchObject({ state: 'live', buffered_rows: 12, version: '1.2.3' })
  expect(Number(seen!.seen_at)).toBeGreaterThan(0)
  one.setState('draining')
  await pass(1000)
  expect((await rows())[0]).toMatchObject({ state: 'draining' })
  one.stop()
  await store.execute('UPDATE instances SET seen_at = 0')
  await pass(5000)
  expect((await rows())[0]).toMatchObject({ seen_at: 0 })
})

test('an outage is logged once, not once a second, and again when there is another', async () => {
  const one = registry()
  await one.register()
  one.start()
  const missing = () => logs.filter((message) => message === 'sign of life not written').length
  for (const round of [1, 2]) {
    await store.execute('ALTER TABLE instances RENAME TO put_aside')
    await pass(1000)
    await pass(1000)
    await pass(1000)
    expect(missing()).toBe(round)
    await store.execute('ALTER TABLE put_aside RENAME TO instances')
    await pass(1000)
  }
  one.stop()
})

test('an instance that signs off is gone; one that was never registered has nothing to sign off', async () => {
  const one = registry()
  await one.signOff()
  expect(await rows()).toEqual([])
  await one.register()
  await one.signOff()
  expect((await rows())[0]).toMatchObject({ state: 'gone', buffered_rows: 0 })
})

test('a number that the journal knows will do until the first contact, which gives the one that counts', async () => {
  await registry('other').register()
  const one = registry('one', { isUp: () => false })
  one.assume(17)
  expect([one.registered(), one.number()]).toEqual([true, 17])
  one.start()
  await pass(3000)
  // No sign of life before that: the number may be another's by now.
  expect((await rows()).map(({ instance_id }) => instance_id)).toEqual(['other'])
  await one.signOff()
  await one.register()
  one.assume(17)
  expect(one.number()).toBe(1)
  one.stop()
})

describe('two processes under one INSTANCE_ID', () => {
  const TAKEN = /^ANOTHER LIVE PROCESS HAS THIS INSTANCE_ID/
  const told = () => logs.filter((message) => TAKEN.test(message)).length
  const expire = () => store.execute('UPDATE instance_holders SET expires_at = expires_at - 60000')

  test('on two volumes: the later one says so loudly once, has no number, and gives no sign, until the other is dead', async () => {
    const one = registry('one')
    await one.register()
    const other = registry('one', { volume: 'another volume', version: 'other' })
    await other.register()
    expect([other.isTaken(), other.registered(), told()]).toEqual([true, false, 1])
    other.start()
    await pass(3000)
    expect([other.isTaken(), told(), one.isTaken()]).toEqual([true, 1, false])
    expect((await rows())[0]).toMatchObject({ version: '1.2.3' })
    await expire()
    await pass(1000)
    expect([other.isTaken(), other.number()]).toEqual([false, 0])
    expect((await rows())[0]).toMatchObject({ version: 'other' })
    other.stop()
  })

  test('on one volume: the one that starts is the instance, restarted, and does not wait', async () => {
    const killed = registry('one')
    await killed.register()
    const one = registry('one')
    await one.register()
    expect([one.isTaken(), one.number(), told()]).toEqual([false, 0, 0])
  })

  test('on copies of a volume: the earlier one finds the later at its next sign, and does not take the place back while that lives', async () => {
    const one = registry('one')
    await one.register()
    one.start()
    const copy = registry('one')
    await copy.register()
    await pass(1000)
    expect([one.isTaken(), copy.isTaken(), told()]).toEqual([true, false, 1])
    await pass(3000)
    expect([one.isTaken(), copy.isTaken(), told()]).toEqual([true, false, 1])
    // It leaves the instance to the other: nothing of that is signed off, and no request is answered for it.
    await one.signOff()
    expect((await rows())[0]).toMatchObject({ state: 'live' })
    one.stop()
  })

  test('after an orderly end: the next one does not wait, wherever it is', async () => {
    const one = registry('one')
    await one.register()
    await one.signOff()
    const next = registry('one', { volume: 'another volume' })
    await next.register()
    expect([next.isTaken(), told()]).toEqual([false, 0])
  })

  test('one that was cut off for long, and whose place nobody took, goes on', async () => {
    const one = registry('one')
    await one.register()
    one.start()
    await expire()
    await pass(1000)
    expect([one.isTaken(), told()]).toEqual([false, 0])
    one.stop()
  })

  test('the one that waits answers no request to store what the instance holds', async () => {
    await registry('one').register()
    let flushes = 0
    const other = registry('one', {
      volume: 'another volume',
      flush: async () => {
        flushes++
        return { written: {}, ok: true }
      },
    })
    await other.register()
    other.start()
    await store.backend.coordination!.requestFlush('two')
    await pass(2000)
    expect(flushes).toBe(0)
    other.stop()
  })
})

describe('asked by another to store what it holds', () => {
  const coordination = () => store.backend.coordination!
  const record = async (id: string) =>
    (await coordination().listInstances()).instances.find(({ instanceId }) => instanceId === id)!

  /** An instance whose flushes wait until the test ends them. */
  async function asked(more: Partial<RegistryOptions> = {}) {
    const flushes: ((result: AskedFlush) => void)[] = []
    const one = registry('one', {
      flush: () => new Promise((resolve) => flushes.push(resolve)),
      ...more,
    })
    await one.register()
    one.start()
    return { one, flushes }
  }
  const done: AskedFlush = { written: { translation_tasks: 3 }, ok: true }

  test('it does so within a fifth of a second, and reports once it is done', async () => {
    const { one, flushes } = await asked()
    await pass(1000)
    expect(flushes.length).toBe(0)
    await coordination().requestFlush('two')
    await pass(200)
    expect(flushes.length).toBe(1)
    await pass(1000)
    expect(flushes.length).toBe(1)
    expect(await record('one')).toMatchObject({ flushWanted: 1, flushDone: 0 })
    flushes[0]!(done)
    await settle()
    expect(await record('one')).toMatchObject({ flushDone: 1, flushReport: { translation_tasks: 3 } })
    await pass(1000)
    expect(flushes.length).toBe(1)
    one.stop()
  })

  test('a request that came while it flushed takes another flush', async () => {
    const { one, flushes } = await asked()
    await coordination().requestFlush('two')
    await pass(200)
    await coordination().requestFlush('two')
    flushes[0]!(done)
    await settle()
    expect(await record('one')).toMatchObject({ flushWanted: 2, flushDone: 1 })
    await pass(200)
    expect(flushes.length).toBe(2)
    flushes[1]!({ written: {}, ok: true })
    await settle()
    expect(await record('one')).toMatchObject({ flushDone: 2, flushReport: done.written })
    one.stop()
  })

  test('a flush that left something is not reported, and tried again after a pause', async () => {
    const { one, flushes } = await asked()
    await coordination().requestFlush('two')
    await pass(200)
    flushes[0]!({ written: { translation_tasks: 1 }, ok: false })
    await settle()
    expect(await record('one')).toMatchObject({ flushWanted: 1, flushDone: 0 })
    for (let i = 0; i < 20 && flushes.length < 2; i++) await pass(200)
    flushes[1]!(done)
    await settle()
    // What the first one wrote was written for the request as well.
    expect(await record('one')).toMatchObject({ flushDone: 1, flushReport: { translation_tasks: 4 } })
    one.stop()
  })

  test('nothing is looked at while the database is known to be down', async () => {
    let isUp = false
    const { one, flushes } = await asked({ isUp: () => isUp })
    await coordination().requestFlush('two')
    await pass(1000)
    expect(flushes.length).toBe(0)
    isUp = true
    await pass(200)
    expect(flushes.length).toBe(1)
    one.stop()
  })

  test('what a life before had reported is no answer to what was asked since', async () => {
    const first = await asked()
    await coordination().requestFlush('two')
    await pass(200)
    first.flushes[0]!(done)
    await settle()
    first.one.stop()
    await coordination().requestFlush('two')
    const { one, flushes } = await asked()
    await pass(200)
    expect(await record('one')).toMatchObject({ flushWanted: 2, flushDone: 1 })
    flushes[0]!(done)
    await settle()
    expect(await record('one')).toMatchObject({ flushDone: 2 })
    one.stop()
  })
})
