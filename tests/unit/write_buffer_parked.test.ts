import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import {
  translationSessions as sessions,
  translationTasks as tasks,
} from '../../src/collections/translation.ts'
import { AppError } from '../../src/lib/errors.ts'
import {
  accepted,
  type BufferUnderTest,
  createBufferUnderTest,
  expectJournalled,
  keyText,
  settle,
} from '../support/contract_gates.ts'
import { fullRow, plain, rowWith, stampOf } from '../support/contract_rows.ts'

const task = (id: string, n = 1, session = 's') => fullRow(tasks, [session, id], { n, stamp: stampOf(n) })
const batch = (count: number, session = 's') =>
  Array.from({ length: count }, (_, n) => task(`t-${n}`, n + 1, session))

/** Flushes, and refuses the rows that `isBad` names. */
async function flushRefusing(
  { buffer, store }: BufferUnderTest,
  isBad: (key: string) => boolean = () => true,
) {
  const flush = buffer.flush([tasks])
  await settle()
  for (const one of [...store.pending]) {
    one.store([...one.rows.keys()].filter((index) => isBad(keyText(one.rows[index]!.key))))
  }
  return (await flush).get(tasks.name)!
}

async function refusalOf(one: Promise<unknown>): Promise<AppError | null> {
  try {
    await one
    return null
  } catch (error) {
    if (error instanceof AppError) return error
    throw error
  }
}

const parked = ({ buffer }: BufferUnderTest) => buffer.status().collections[1]!.parked

async function tick(): Promise<void> {
  jest.advanceTimersByTime(30_000)
  await settle()
}

beforeEach(() => void jest.useFakeTimers())
afterEach(() => void jest.useRealTimers())

describe('refused rows beyond what dead letters may be kept', () => {
  test('of their session stay buffered, outside the flushes, and others go on', async () => {
    const under = createBufferUnderTest({ config: { dead_letters_per_session: 3 } })
    const { buffer, letters, store } = under
    await buffer.accept(tasks, accepted([...batch(5), ...batch(2, 'other')]))
    const report = await flushRefusing(under, (key) => key !== 's/t-4')
    expect(report).toMatchObject({ failure: null, written: 1, refused: 5 })
    expect(letters.map(({ row }) => keyText(row.key)).toSorted()).toEqual([
      'other/t-0',
      'other/t-1',
      's/t-0',
      's/t-1',
      's/t-2',
    ])
    expect(buffer.status()).toMatchObject({ rows: 1 })
    expect(parked(under)).toBe(1)
    expect(plain(tasks, buffer.get(tasks, ['s', 't-3']))).toEqual(plain(tasks, task('t-3', 4)))
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
    // Nothing of it is tried, however often the others are.
    store.open()
    await buffer.accept(tasks, accepted(batch(3, 'other')))
    await buffer.flush()
    expect(store.writes.at(-1)!.every(({ key }) => key[0] === 'other')).toBe(true)
    expect(buffer.status().rows).toBe(1)
  })

  test('that are too large for a dead letter stay as well, and the rest of their chunk is done with', async () => {
    const under = createBufferUnderTest()
    const { buffer, letters, neighbours, store } = under
    neighbours.refuseLetters(({ row }) => row.key[1] === 't-1')
    await buffer.accept(tasks, accepted([...batch(3), ...batch(2, 'other')]))
    const report = await flushRefusing(under, (key) => key.startsWith('s/'))
    expect(report).toMatchObject({ failure: null, written: 2, refused: 2 })
    expect(letters.map(({ row }) => keyText(row.key)).toSorted()).toEqual(['s/t-0', 's/t-2'])
    expect([parked(under), buffer.status().rows, under.imbalance()]).toEqual([1, 1, 0])
    expectJournalled(under)
    // It is tried again by the timer alone, and stored once its store takes it.
    store.open()
    buffer.start()
    await tick()
    buffer.stop()
    expect([parked(under), buffer.status().rows, under.imbalance()]).toEqual([0, 0, 0])
    expectJournalled(under)
  })

  test('in all, whatever the session', async () => {
    const under = createBufferUnderTest({ config: { max_dead_letters: 4 } })
    await under.buffer.accept(tasks, accepted([...batch(3, 'a'), ...batch(3, 'b')]))
    await flushRefusing(under)
    expect(under.letters.length).toBe(4)
    expect(parked(under)).toBe(2)
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
  })

  test('counts what is there already, also from other instances', async () => {
    const under = createBufferUnderTest({ config: { dead_letters_per_session: 3 } })
    for (let n = 0; n < 3; n++)
      under.letters.push({ collection: tasks.name, row: task(`x-${n}`), code: '1', reason: 'r' })
    await under.buffer.accept(tasks, accepted(batch(2)))
    await flushRefusing(under)
    expect(under.letters.length).toBe(3)
    expect(parked(under)).toBe(2)
  })

  test('are kept, with their chunk, while the letters cannot be counted', async () => {
    const under = createBufferUnderTest()
    under.neighbours.fail('countDeadLetters', new TypeError('a fault of ours'))
    await under.buffer.accept(tasks, accepted(batch(2)))
    const flush = under.buffer.flush([tasks]).catch((error: unknown) => error)
    await settle()
    under.store.pending[0]!.store([1])
    expect(await flush).toBeInstanceOf(TypeError)
    expect(under.buffer.status().rows).toBe(2)
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
    under.buffer.stop()
  })

  test('that are refused again are one with those of their key', async () => {
    const under = createBufferUnderTest({ config: { dead_letters_per_session: 1 } })
    const { buffer, letters, store } = under
    letters.push({ collection: tasks.name, row: task('x'), code: '1', reason: 'r' })
    await buffer.accept(tasks, accepted([rowWith(tasks, ['s', 'a'], { status: 'x' }, stampOf(1))]))
    const flush = buffer.flush([tasks])
    await settle()
    // It arrives while the older one is refused: the session is not blocked yet.
    await buffer.accept(tasks, accepted([rowWith(tasks, ['s', 'a'], { context: 'c' }, stampOf(2))]))
    store.pending[0]!.store([0])
    await flush
    expect(buffer.status().rows).toBe(2)
    expectJournalled(under)
    await flushRefusing(under)
    expect(buffer.status().rows).toBe(1)
    expect(parked(under)).toBe(1)
    expect(Object.keys(plain(tasks, buffer.get(tasks, ['s', 'a']))!.fields).toSorted()).toEqual([
      'context',
      'status',
    ])
    expect(under.told).toMatchObject({ accepted: 2, merged: 1 })
    expect(under.imbalance()).toBe(0)
    expectJournalled(under, 1)
  })
})

describe('a session with parked rows', () => {
  async function blocked(): Promise<BufferUnderTest> {
    const under = createBufferUnderTest({ config: { dead_letters_per_session: 2, flush_interval: 30 } })
    await under.buffer.accept(tasks, accepted(batch(4)))
    await flushRefusing(under)
    expect(parked(under)).toBe(2)
    return under
  }

  test('is refused at the door for whatever collection, and no other session is', async () => {
    const { buffer } = await blocked()
    const refusal = await refusalOf(buffer.accept(tasks, accepted([task('new', 9)])))
    expect(refusal).toMatchObject({ code: 'DEAD_LETTERS_FULL', members: { session_id: 's' } })
    expect(refusal!.headers['Retry-After']).toBe('30')
    const row = fullRow(sessions, ['s'])
    expect(await refusalOf(buffer.accept(sessions, accepted([row])))).toMatchObject({
      code: 'DEAD_LETTERS_FULL',
    })
    // A request is taken whole or not at all.
    const mixed = accepted([task('a', 1, 'other'), task('b')])
    expect(await refusalOf(buffer.accept(tasks, mixed))).toMatchObject({ code: 'DEAD_LETTERS_FULL' })
    expect(buffer.group(tasks, 'other').size).toBe(0)
    expect(await refusalOf(buffer.accept(tasks, accepted([task('a', 1, 'other')])))).toBeNull()
    expect(await refusalOf(buffer.accept(sessions, accepted([fullRow(sessions, ['other'])])))).toBeNull()
  })

  test('writes again once its letters are purged: its rows are tried by themselves', async () => {
    const under = await blocked()
    const { buffer, letters, store } = under
    buffer.start()
    await tick()
    expect(parked(under)).toBe(2)
    expect(store.pending.length).toBe(0)
    letters.splice(0)
    store.open()
    await tick()
    expect(buffer.status().rows).toBe(0)
    expect([...store.stored.keys()].toSorted()).toEqual(['s/t-2', 's/t-3'])
    expect(await refusalOf(buffer.accept(tasks, accepted([task('new', 9)])))).toBeNull()
    expect(under.told).toMatchObject({ accepted: 5, stored: 2, dead_lettered: 2, merged: 0 })
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
    buffer.stop()
  })

  test('comes back beside what had arrived meanwhile: both are written, and make one row', async () => {
    const under = createBufferUnderTest({ config: { dead_letters_per_session: 1 } })
    const { buffer, letters, store } = under
    letters.push({ collection: tasks.name, row: task('x'), code: '1', reason: 'r' })
    await buffer.accept(tasks, accepted([rowWith(tasks, ['s', 'a'], { status: 'x' }, stampOf(1))]))
    const flush = buffer.flush([tasks])
    await settle()
    await buffer.accept(tasks, accepted([rowWith(tasks, ['s', 'a'], { context: 'c' }, stampOf(2))]))
    store.pending[0]!.store([0])
    await flush
    letters.splice(0)
    buffer.start()
    await tick()
    expect(store.pending[0]!.rows.length).toBe(1)
    expect(under.told).toMatchObject({ accepted: 2 })
    expectJournalled(under)
    store.open()
    await settle()
    expect(buffer.status().rows).toBe(0)
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
    buffer.stop()
  })

  test('is parked anew, as far as there is no room, when its rows are refused again', async () => {
    const under = await blocked()
    const { buffer, letters, store } = under
    buffer.start()
    letters.splice(0, 1)
    await tick()
    store.pending[0]!.store([0, 1])
    await settle()
    expect(letters.length).toBe(2)
    expect(parked(under)).toBe(1)
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
    buffer.stop()
  })

  test('comes back from the journal as it was, and nothing is lost', async () => {
    const first = await blocked()
    const journal = first.journal!.crash()
    const under = createBufferUnderTest({
      journal,
      neighbours: first.neighbours,
      config: { dead_letters_per_session: 2 },
    })
    under.buffer.reload(tasks, journal.read(0, 100))
    expect(under.buffer.status().rows).toBe(2)
    await flushRefusing(under)
    expect(parked(under)).toBe(2)
    expect(under.imbalance()).toBe(0)
    expectJournalled(under, 1)
  })

  test('loses them to a delete, also to one that is under way when they are refused', async () => {
    const under = await blocked()
    const { buffer, neighbours } = under
    await buffer.erase(tasks, 's', stampOf(100))
    expect(buffer.status().rows).toBe(0)
    expect(await refusalOf(buffer.accept(tasks, accepted(batch(3))))).toBeNull()
    expectJournalled(under)
    const flush = buffer.flush([tasks])
    await settle()
    neighbours.tombstones.set('s', stampOf(200))
    const erase = buffer.erase(tasks, 's', stampOf(200))
    await settle()
    under.store.pending[0]!.store([0, 1, 2])
    await Promise.all([flush, erase])
    expect(parked(under)).toBe(0)
    expect(buffer.all(tasks)).toEqual([])
    expect(under.letters).toEqual([])
    expect(under.imbalance()).toBe(0)
    expectJournalled(under)
  })

  test('does not keep a drain: it ends with the rows that can’t be stored, and lets others work meanwhile', async () => {
    const under = await blocked()
    const { buffer, store } = under
    await buffer.accept(tasks, accepted(batch(2, 'other')))
    store.open()
    const ended: number[] = []
    buffer.drain(60_000).then((left) => void ended.push(left))
    await settle()
    expect(ended).toEqual([2])
    expect(store.stored.size).toBe(2)
  })
})
