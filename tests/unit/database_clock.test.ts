import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import { createDatabaseClock } from '../../src/cluster/clock.ts'
import { settle } from '../support/contract_gates.ts'

const T0 = 1_700_000_000_000

/** True time, a machine whose clock is off and can be set, a database that answers over a network. */
function world({ machineAheadMs = 0 } = {}) {
  const it = {
    trueMs: T0,
    machineAheadMs,
    /** How fast the machine's quartz runs. */
    pace: 1,
    databaseAheadMs: 0,
    /** Round trips to come: how long there, how long back. The last one stays. */
    trips: [[0, 0]] as [there: number, back: number][],
    down: false,
    asked: 0,
    logs: [] as string[],
    monotonicMs: 5_000,
    pass(ms: number) {
      it.trueMs += ms
      it.monotonicMs += ms * it.pace
    },
    clock: undefined as unknown as ReturnType<typeof createDatabaseClock>,
    /** How far the clock is ahead of the database's. */
    aheadMs: () => it.clock.nowMs() - (it.trueMs + it.databaseAheadMs),
  }
  const log = (message: string) => void it.logs.push(message)
  it.clock = createDatabaseClock({
    async readDatabaseMs() {
      it.asked++
      if (it.down) throw new TypeError('down')
      const [there, back] = it.trips.length > 1 ? it.trips.shift()! : it.trips[0]!
      it.pass(there)
      const answer = Math.floor(it.trueMs + it.databaseAheadMs)
      it.pass(back)
      return answer
    },
    local: {
      nowMs: () => Math.floor(it.trueMs + it.machineAheadMs),
      monotonicMs: () => it.monotonicMs,
    },
    log: { debug: log, info: log, warn: log, error: log },
  })
  return it
}

test("is the machine's clock until the database was asked, and then the database's, whichever was ahead", async () => {
  for (const machineAheadMs of [300_000, -300_000]) {
    const w = world({ machineAheadMs })
    expect(w.aheadMs()).toBe(machineAheadMs)
    expect([w.clock.offsetMs(), w.clock.errorMs()]).toEqual([null, null])
    w.trips = [[2, 2]]
    await w.clock.sample()
    expect(w.aheadMs()).toBe(0)
    expect(w.clock.offsetMs()).toBe(-machineAheadMs)
    expect(w.clock.errorMs()).toBeCloseTo(3, 5)
  }
})

test("does not mind what is done to the machine's clock while the process lives; the offset follows it", async () => {
  const w = world()
  await w.clock.sample()
  w.machineAheadMs -= 300_000
  w.pass(1000)
  expect(w.aheadMs()).toBe(0)
  expect(w.clock.offsetMs()).toBe(300_000)
  w.machineAheadMs += 900_000
  expect(w.aheadMs()).toBe(0)
  expect(w.clock.offsetMs()).toBe(-600_000)
})

test('starts with the offset that the journal knows, which the first comparison replaces', async () => {
  const w = world({ machineAheadMs: 300_000 })
  expect(w.aheadMs()).toBe(300_000)
  w.clock.assume(-299_000)
  expect(w.aheadMs()).toBe(1000)
  expect(w.clock.offsetMs()).toBe(-299_000)
  expect(w.clock.errorMs()).toBeNull()
  await w.clock.sample()
  expect(w.aheadMs()).toBe(0)
  w.clock.assume(-200_000)
  expect(w.aheadMs()).toBe(0)
})

test('believes the quickest answer: slow and one-sided ones change nothing', async () => {
  const w = world()
  w.trips = [
    [80, 0],
    [1, 1],
    [0, 200],
    [500, 0],
    [0, 40],
  ]
  await w.clock.sample()
  expect(Math.abs(w.aheadMs())).toBeLessThanOrEqual(1)
  expect(w.clock.errorMs()).toBeLessThan(2.2)
  w.trips = [[400, 0]]
  w.pass(60_000)
  await w.clock.sample()
  expect(Math.abs(w.aheadMs())).toBeLessThanOrEqual(1)
})

test('says how far off it may be, which holds for any mix of trips, and grows with the age of the answer', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const w = world({ machineAheadMs: seed * 777 })
    w.trips = Array.from({ length: 5 }, (_, i) => [(seed * (i + 3) * 37) % 90, (seed * (i + 7) * 53) % 90])
    await w.clock.sample()
    expect(Math.abs(w.aheadMs())).toBeLessThanOrEqual(w.clock.errorMs()! + 1)
  }
  const w = world()
  await w.clock.sample()
  const fresh = w.clock.errorMs()!
  w.pass(600_000)
  expect(w.clock.errorMs()! - fresh).toBeCloseTo(60, 5)
})

test('follows a quartz that drifts: an old quick answer gives way to a newer, somewhat slower one', async () => {
  const w = world()
  w.pace = 1 + 80e-6
  w.trips = [[0.1, 0.1]]
  await w.clock.sample()
  for (let minute = 0; minute < 60; minute++) {
    w.pass(60_000)
    w.trips = [[1, 1.5]]
    await w.clock.sample()
    expect(Math.abs(w.aheadMs())).toBeLessThanOrEqual(Math.ceil(w.clock.errorMs()!))
  }
  // Without the comparisons it would be 288 ms off.
  expect(Math.abs(w.aheadMs())).toBeLessThan(10)
})

test('never goes back when it is corrected: it goes slowly until time has caught up', async () => {
  const w = world()
  await w.clock.sample()
  w.databaseAheadMs -= 5000
  let last = w.clock.nowMs()
  await w.clock.sample()
  for (let i = 0; i < 100; i++) {
    w.pass(100)
    const now = w.clock.nowMs()
    expect(now - last).toBeGreaterThanOrEqual(0)
    expect(now - last).toBeLessThanOrEqual(100)
    last = now
  }
  // 5000 ms ahead at nine tenths a second: done after 5.6 s.
  expect(w.aheadMs()).toBe(0)
})

test('a database whose clock was set, or another one in its place, is followed at once', async () => {
  const w = world()
  w.trips = [[0.1, 0.1]]
  await w.clock.sample()
  w.pass(60_000)
  w.databaseAheadMs = 2000
  w.trips = [[10, 10]]
  await w.clock.sample()
  expect(Math.abs(w.aheadMs())).toBeLessThanOrEqual(1)
})

test('is known only after a few answers: the first one alone is often the slowest', async () => {
  const w = world({ machineAheadMs: 300_000 })
  const sampling = w.clock.sample()
  await Promise.resolve()
  expect([w.asked > 0, w.clock.offsetMs()]).toEqual([true, null])
  await sampling
  expect(w.clock.offsetMs()).toBe(-300_000)
})

test('an outage is told to who asked, and the clock goes on', async () => {
  const w = world({ machineAheadMs: 5000 })
  await w.clock.sample()
  w.down = true
  w.pass(3_600_000)
  await expect(w.clock.sample()).rejects.toThrow('down')
  expect(w.aheadMs()).toBe(0)
  w.down = false
  await w.clock.sample()
  expect(w.aheadMs()).toBe(0)
})

test('calls that meet share one comparison', async () => {
  const w = world()
  await Promise.all([w.clock.sample(), w.clock.sample()])
  const { asked } = w
  await w.clock.sample()
  expect(w.asked).toBe(2 * asked)
})

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

test('compares every minute once it is started, an outage in between or not, until it is stopped', async () => {
  const w = world()
  w.clock.start()
  w.clock.start()
  jest.advanceTimersByTime(60_000)
  await settle()
  const once = w.asked
  expect(once).toBeGreaterThan(1)
  w.down = true
  jest.advanceTimersByTime(60_000)
  await settle()
  expect(w.logs).toEqual(['clock not compared with the database'])
  w.down = false
  w.asked = 0
  jest.advanceTimersByTime(60_000)
  await settle()
  expect(w.asked).toBe(once)
  w.clock.stop()
  jest.advanceTimersByTime(600_000)
  await settle()
  expect(w.asked).toBe(once)
})
