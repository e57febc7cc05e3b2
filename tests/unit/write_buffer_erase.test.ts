import { describe, expect, test } from 'bun:test'
import { merge } from '../../src/collections/row.ts'
import { translationTasks as tasks } from '../../src/collections/translation.ts'
import { accepted, createBufferUnderTest, expectJournalled, settle } from '../support/contract_gates.ts'
import { fullRow, plain, rowWith, stampOf, T0 } from '../support/contract_rows.ts'

const DELETE = stampOf(50)
const DELETE_MS = T0 + 50
const task = (id: string, n: number, group = 's') => fullRow(tasks, [group, id], { n, stamp: stampOf(n) })

describe('a delete', () => {
  test('voids what is not newer than it in its group, and counts it', async () => {
    const under = createBufferUnderTest()
    const { buffer } = under
    const rows = [task('old', 1), task('equal', 50), task('new', 51), task('old', 1, 'other')]
    await buffer.accept(tasks, accepted(rows))
    await buffer.erase(tasks, 's', DELETE)
    expect([...buffer.group(tasks, 's').keys()]).toEqual(['new'])
    expect(buffer.group(tasks, 'other').size).toBe(1)
    expect(under.told).toMatchObject({ accepted: 4, voided: 2 })
    expect(under.imbalance()).toBe(0)
    expect(buffer.status().bytes).toBe(800)
    await buffer.erase(tasks, 'nobody', DELETE)
    expect(buffer.status().rows).toBe(2)
  })

  test('clears the older fields of a row that has newer ones, and those that it lacks, at its own stamp', async () => {
    const under = createBufferUnderTest()
    const { buffer } = under
    const newer = rowWith(tasks, ['s', 'a'], { status: 'new', context: null }, stampOf(60))
    await buffer.accept(tasks, accepted([merge(task('a', 1), newer)]))
    await buffer.erase(tasks, 's', DELETE)
    const cleared = rowWith(
      tasks,
      ['s', 'a'],
      Object.fromEntries(tasks.slots.map((name) => [name, null])),
      DELETE,
    )
    expect(plain(tasks, buffer.get(tasks, ['s', 'a']))).toEqual({
      ...plain(tasks, merge(cleared, newer))!,
      createdAtMs: DELETE_MS,
    })
    expectJournalled(under)
    expect(under.told.voided).toBe(0)
    expect(under.imbalance()).toBe(0)
  })

  test('is the creation of a row that was written anew, whatever it was before', async () => {
    const { buffer } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a', 1)]))
    await buffer.accept(tasks, accepted([task('a', 60)]))
    expect(buffer.get(tasks, ['s', 'a'])!.createdAtMs).toBe(T0 + 1)
    await buffer.erase(tasks, 's', DELETE)
    expect(buffer.get(tasks, ['s', 'a'])!.createdAtMs).toBe(DELETE_MS)
  })

  test('waits for the flush that may be writing what it voids', async () => {
    const { buffer, store } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    let isErased = false
    const erase = buffer.erase(tasks, 's', DELETE).then(() => {
      isErased = true
    })
    await settle()
    expect(isErased).toBe(false)
    store.pending[0]!.store()
    await Promise.all([flush, erase])
    expect(isErased).toBe(true)
    expect(buffer.status().rows).toBe(0)
  })

  test('voids what the flush that ran could not write', async () => {
    const under = createBufferUnderTest()
    const { buffer, store } = under
    await buffer.accept(tasks, accepted([task('a', 1), task('new', 60)]))
    const flush = buffer.flush([tasks])
    await settle()
    const erase = buffer.erase(tasks, 's', DELETE)
    store.pending[0]!.fail()
    await Promise.all([flush, erase])
    expect([...buffer.group(tasks, 's').keys()]).toEqual(['new'])
    expect(under.told.voided).toBe(1)
    expect(under.imbalance()).toBe(0)
    buffer.stop()
  })

  test('voids what was stamped before it and waits for its commit', async () => {
    const under = createBufferUnderTest()
    const { buffer } = under
    const accept = buffer.accept(tasks, accepted([task('a', 1), task('new', 60)]))
    const erase = buffer.erase(tasks, 's', DELETE)
    await Promise.all([accept, erase])
    expect([...buffer.group(tasks, 's').keys()]).toEqual(['new'])
    expect(under.told).toMatchObject({ accepted: 2, voided: 1 })
    expectJournalled(under)
  })

  test('is in the journal when it resolves: no restart shows what it voided', async () => {
    const { buffer, journal } = createBufferUnderTest()
    await buffer.accept(tasks, accepted([task('a', 1), task('b', 2)]))
    await buffer.erase(tasks, 's', DELETE)
    expect(journal!.records.size).toBe(0)
  })

  test('leaves the flush that waited nothing of it to write', async () => {
    const under = createBufferUnderTest()
    const { buffer, store } = under
    await buffer.accept(tasks, accepted([task('a', 1), task('new', 60)]))
    const [running, waiting] = [buffer.flush([tasks]), buffer.flush([tasks])]
    await settle()
    const erase = buffer.erase(tasks, 's', DELETE)
    await settle()
    store.pending[0]!.fail()
    store.open()
    await Promise.all([running, waiting, erase])
    // What failed may have been stored, and is the database's to delete; what is written now is not.
    expect(
      store.writes
        .slice(1)
        .flat()
        .map(({ key }) => key[1]),
    ).toEqual(['new'])
    expect([...store.stored.keys()]).toEqual(['s/new'])
    expect(under.told).toMatchObject({ accepted: 2, stored: 1, voided: 1 })
    expect(under.imbalance()).toBe(0)
    buffer.stop()
  })

  test('spares what is accepted after it, also while it waits', async () => {
    const under = createBufferUnderTest()
    const { buffer, store } = under
    await buffer.accept(tasks, accepted([task('a', 1)]))
    const flush = buffer.flush([tasks])
    await settle()
    const erase = buffer.erase(tasks, 's', DELETE)
    await buffer.accept(tasks, accepted([task('a', 60), task('b', 61)]))
    store.pending[0]!.fail()
    await Promise.all([flush, erase])
    expect([...buffer.group(tasks, 's').keys()].toSorted()).toEqual(['a', 'b'])
    const [kept, alone] = [buffer.get(tasks, ['s', 'a']), task('a', 60)]
    expect(plain(tasks, kept)?.fields).toEqual(plain(tasks, alone)!.fields)
    expect(under.imbalance()).toBe(0)
    buffer.stop()
  })
})
