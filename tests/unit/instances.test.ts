import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import { createInstanceRegistry } from '../../src/cluster/instances.ts'
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

function registry(instanceId = 'one') {
  const log = (message: string) => void logs.push(message)
  return createInstanceRegistry({
    coordination: store.backend.coordination!,
    instanceId,
    version: '1.2.3',
    bufferedRows: () => bufferedRows,
    log: { debug: log, info: log, warn: log, error: log },
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

test('an instance gives a sign of life every second, with what it holds; none before it is registered', async () => {
  const one = registry()
  one.start()
  await pass(3000)
  expect(await rows()).toEqual([])
  await one.register()
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
