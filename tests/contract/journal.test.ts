import { Database } from 'bun:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openJournals } from '../../src/backends/sqlite/journal.ts'
import { JournalError } from '../../src/buffer/journal.ts'
import {
  acceptRecords,
  INSTANCE,
  type JournalFolder,
  journalFolder,
  journalRecord,
  journalRecords,
  journalState,
  readAll,
} from '../support/journals.ts'

let place: JournalFolder
beforeEach(() => {
  place = journalFolder()
})
afterEach(() => place.drop())

function kindOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof JournalError) return error.kind
    throw error
  }
  return 'nothing was thrown'
}

const healthy = { lostRows: 0, faults: [] as string[] }

describe.each(['full', 'normal'] as const)('a journal (%s)', (durability) => {
  test('gives back what was committed, after it was closed too', () => {
    const journal = place.journal({ durability })
    expect(journal.open()).toEqual({
      ...healthy,
      state: { counts: {}, lastId: 0, highWater: 0n, instanceNumber: null, clockOffsetMs: null },
      records: 0,
      lastId: 0,
    })
    const records = journalRecords(1, 130)
    const state = journalState({ accepted: 130 })
    journal.commit({ put: records, remove: [], state })
    expect(readAll(journal, 7)).toStrictEqual(records)
    journal.close()
    const again = place.journal({ durability })
    expect(again.open()).toEqual({ ...healthy, state, records: 130, lastId: 130 })
    expect(readAll(again)).toStrictEqual(records)
    again.close()
  })
})

describe('a commit', () => {
  test('puts new contents in the place of a record, and removes records by id, in gaps and runs', () => {
    const journal = place.journal()
    journal.open()
    journal.commit({ put: journalRecords(1, 200), remove: [], state: journalState({ accepted: 200 }) })
    const changed = [journalRecord(3, 'newer'), journalRecord(150, '\0 \ud800 🙂')]
    const remove = [199, 1, 2, 77, 10, 12, 11, 100, 9999]
    journal.commit({ put: changed, remove, state: journalState({ accepted: 200, stored: 8 }) })
    const expected = journalRecords(1, 200)
      .map((record) => changed.find(({ id }) => id === record.id) ?? record)
      .filter(({ id }) => !remove.includes(id))
    expect(readAll(journal)).toStrictEqual(expected)
    journal.close()
    expect(journal.open()).toMatchObject({ ...healthy, records: 192, lastId: 200 })
    expect(readAll(journal)).toStrictEqual(expected)
    journal.close()
  })

  test('of the state alone is kept, and an empty journal keeps its state', () => {
    const journal = place.journal()
    journal.open()
    acceptRecords(journal, { count: 50 })
    const ids = journalRecords(1, 50).map(({ id }) => id)
    journal.commit({ put: [], remove: ids, state: journalState({ accepted: 50, stored: 50 }) })
    const state = {
      ...journalState({ accepted: 51, voided: 1, stored: 50 }),
      clockOffsetMs: null,
      highWater: 2n ** 63n,
    }
    journal.commit({ put: [], remove: [], state })
    journal.close()
    expect(place.journal().open()).toEqual({ ...healthy, state, records: 0, lastId: 0 })
  })

  test('holds records that are larger than a page, and larger than the log may stay', () => {
    const journal = place.journal()
    journal.open()
    const records = [1, 2, 3, 4, 5, 6].map((id) => journalRecord(id, `文${'x'.repeat(id ** 4 * 6000)}`))
    journal.commit({ put: records, remove: [], state: journalState({ accepted: 6 }) })
    expect(readAll(journal)).toStrictEqual(records)
    journal.close()
    expect(journal.open()).toMatchObject({ ...healthy, records: 6 })
    expect(readAll(journal)).toStrictEqual(records)
    journal.close()
  })
})

describe('reading', () => {
  test('answers ascending pages above an id', () => {
    const journal = place.journal()
    journal.open()
    for (const id of [30, 10, 20]) {
      journal.commit({ put: [journalRecord(id)], remove: [], state: journalState({ accepted: id / 10 }) })
    }
    const ids = (after: number, limit: number) => journal.read(after, limit).map(({ id }) => id)
    expect([ids(0, 2), ids(20, 2), ids(30, 2), ids(9, 1)]).toEqual([[10, 20], [30], [], [10]])
    journal.close()
  })
})

test('one of many records lets others go first while it is opened, and is opened once', async () => {
  const journal = place.journal()
  journal.open()
  acceptRecords(journal, { count: 20_000, size: 1000 })
  journal.close()
  let turns = 0
  let isOver = false
  const count = () => {
    turns++
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  const opening = journal.openInTurns()
  expect(kindOf(() => journal.open())).toBe('locked')
  expect(await opening).toMatchObject({ ...healthy, records: 20_000, lastId: 20_000 })
  isOver = true
  expect(turns).toBeGreaterThan(10)
  journal.close()
})

describe('the files', () => {
  test('of a closed journal are the database and its mark: the log is checkpointed and gone', () => {
    const journal = place.journal()
    journal.open()
    acceptRecords(journal, { count: 100 })
    const names = ['', '-wal', '.mark'].map((end) => `${INSTANCE}.journal${end}`)
    expect(place.files()).toEqual([...names, `${INSTANCE}.journal.reserve`])
    const size = journal.sizeBytes()
    expect(size).toBe(names.reduce((sum, name) => sum + statSync(join(place.folder, name)).size, 0))
    journal.close()
    expect(place.files()).toEqual(['', '.mark'].map((end) => `${INSTANCE}.journal${end}`))
    expect(journal.sizeBytes()).toBeLessThan(size)
  })

  test('give the room of what was removed back when they are told to, and the journal goes on', () => {
    const journal = place.journal({ durability: 'full' })
    journal.open()
    const count = 20_000
    acceptRecords(journal, { count, size: 1000 })
    const size = journal.sizeBytes()
    const state = { ...journalState({ accepted: count + 2, stored: count }), lastId: count }
    const kept = [journalRecord(count + 1), journalRecord(count + 2, '文'.repeat(10_000))]
    journal.commit({ put: kept, remove: journalRecords(1, count).map(({ id }) => id), state })
    expect(journal.sizeBytes()).toBeGreaterThan(size * 0.9)
    journal.shrink()
    expect(journal.sizeBytes()).toBeLessThan(size / 20)
    expect(readAll(journal)).toStrictEqual(kept)
    const more = journalRecord(count + 3)
    const after = { ...journalState({ accepted: count + 3, stored: count }), lastId: count + 3 }
    journal.commit({ put: [more], remove: [], state: after })
    journal.close()
    expect(journal.open()).toEqual({ ...healthy, state: after, records: 3, lastId: count + 3 })
    expect(readAll(journal)).toStrictEqual([...kept, more])
    journal.close()
  })

  test('do not grow with what was stored, and the log stays small over thousands of commits', () => {
    const journal = place.journal()
    journal.open()
    let most = 0
    let most500 = 0
    for (let n = 0; n < 5000; n++) {
      const put = journalRecords(1 + n * 20, 20)
      const remove = journalRecords(1 + (n - 10) * 20, 20).map(({ id }) => id)
      const accepted = (n + 1) * 20
      journal.commit({ put, remove, state: journalState({ accepted, stored: Math.max(0, accepted - 200) }) })
      most = Math.max(most, journal.sizeBytes())
      if (n === 500) most500 = most
    }
    expect(most).toBeLessThan(most500 * 1.5)
    expect(most).toBeLessThan(3 * 1024 * 1024)
    journal.close()
    expect(journal.open()).toMatchObject({ ...healthy, records: 200 })
    journal.close()
  })

  test('of a commit that was large are cut back by the commits after it', () => {
    const journal = place.journal()
    journal.open()
    acceptRecords(journal, { count: 60_000, size: 60_000 })
    const log = () => statSync(`${place.path}-wal`).size
    expect(log()).toBeGreaterThan(8 * 1024 * 1024)
    for (let n = 0; n < 2; n++) {
      journal.commit({ put: [], remove: [1 + n], state: journalState({ accepted: 60_000, stored: 1 + n }) })
    }
    expect(log()).toBeLessThanOrEqual(4 * 1024 * 1024)
    journal.close()
  })

  test('hold tables where salvage looks for them', () => {
    const journal = place.journal()
    journal.open()
    journal.close()
    const client = new Database(place.path, { readonly: true })
    expect(client.query('SELECT name, rootpage FROM sqlite_schema ORDER BY rootpage').values()).toEqual([
      ['journal_records', 2],
      ['journal_state', 3],
    ])
    expect(client.query('PRAGMA application_id').values()).toEqual([[0x70657273]])
    expect(client.query('PRAGMA user_version').values()).toEqual([[1]])
    client.close()
  })
})

describe('a folder', () => {
  test('is made when needed, and lists the journals of others without opening them', () => {
    const folder = join(place.folder, 'a', 'b')
    const { own, others } = openJournals({ folder, instanceId: 'me', durability: 'normal' })
    expect(others()).toEqual([])
    own.open()
    acceptRecords(own, { count: 3 })
    writeFileSync(join(folder, 'no id.journal'), 'x')
    writeFileSync(join(folder, 'garbage.journal'), 'not opened, so not judged')
    writeFileSync(join(folder, 'other.journal.damaged-2026-01-01T00:00:00.000Z'), '')
    writeFileSync(join(folder, 'other.journal-salvaged'), '')
    const dotted = openJournals({ folder, instanceId: 'x.y_z-1', durability: 'normal' })
    dotted.own.open()
    expect(
      dotted
        .others()
        .map(({ instanceId }) => instanceId)
        .toSorted(),
    ).toEqual(['garbage', 'me'])
    expect(
      others()
        .map(({ instanceId }) => instanceId)
        .toSorted(),
    ).toEqual(['garbage', 'x.y_z-1'])
    own.close()
    const mine = dotted.others().find(({ instanceId }) => instanceId === 'me')!
    expect(mine.open()).toMatchObject({ ...healthy, records: 3 })
    expect(mine.read(1, 10)).toStrictEqual(journalRecords(2, 2))
    mine.close()
    dotted.own.close()
  })

  test('or a file that cannot be used is told as such', () => {
    writeFileSync(join(place.folder, 'file'), '')
    const { own } = openJournals({
      folder: join(place.folder, 'file', 'x'),
      instanceId: 'a',
      durability: 'full',
    })
    expect(kindOf(() => own.open())).toBe('unusable')
    mkdirSync(join(place.folder, 'b.journal'))
    expect(kindOf(() => place.journal({ instanceId: 'b' }).open())).toBe('unusable')
    mkdirSync(join(place.folder, 'c.journal.mark'))
    // No call to the system is ever made with it: whatever is thrown, it is a JournalError.
    const strange = openJournals({ folder: `${place.folder}/\0`, instanceId: 'a', durability: 'full' })
    expect(kindOf(() => strange.own.open())).toBe('unusable')
    const c = place.journal({ instanceId: 'c' })
    expect(kindOf(() => c.open())).toBe('unusable')
    expect(kindOf(() => c.open())).toBe('unusable') // not locked: the first attempt has let go
  })
})

test('a journal of a newer version is left alone, and its version named', () => {
  const journal = place.journal()
  journal.open()
  acceptRecords(journal, { count: 5 })
  journal.close()
  const setVersion = (version: number) => {
    const client = new Database(place.path)
    client.run(`PRAGMA user_version = ${version}`)
    client.close(true)
  }
  setVersion(2)
  expect(kindOf(() => journal.open())).toBe('unusable')
  expect(() => journal.open()).toThrow('version 2')
  expect(place.files().filter((name) => name.includes('damaged'))).toEqual([])
  setVersion(1)
  expect(journal.open()).toMatchObject({ ...healthy, records: 5 })
  journal.close()
})

test('a journal that is not open, or open already, says so', () => {
  const journal = place.journal()
  expect(kindOf(() => journal.commit({ put: [], remove: [], state: journalState() }))).toBe('failed')
  expect(kindOf(() => journal.read(0, 1))).toBe('failed')
  journal.close()
  journal.open()
  expect(kindOf(() => journal.open())).toBe('locked')
  expect(kindOf(() => place.journal().open())).toBe('locked')
  acceptRecords(journal, { count: 1 })
  journal.close()
  journal.close()
  expect(kindOf(() => journal.commit({ put: [], remove: [], state: journalState() }))).toBe('failed')
})

test('a commit that fails leaves everything as it was, and the next one works', () => {
  const journal = place.journal()
  journal.open()
  acceptRecords(journal, { count: 30 })
  const bad = { ...journalRecord(40), id: 'x' as unknown as number }
  const put = [...journalRecords(31, 30), bad]
  expect(kindOf(() => journal.commit({ put, remove: [1], state: journalState({ accepted: 61 }) }))).toBe(
    'failed',
  )
  expect(readAll(journal)).toStrictEqual(journalRecords(1, 30))
  acceptRecords(journal, { from: 31, count: 5 })
  journal.close()
  expect(journal.open()).toMatchObject({ ...healthy, state: journalState({ accepted: 35 }), records: 35 })
  journal.close()
})
