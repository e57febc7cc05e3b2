/** Damage of every kind: what is intact comes back, what is not is counted, and nothing is thrown. */
import { Database } from 'bun:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { heldBy, type Journal, type JournalRecord, type OpenedJournal } from '../../src/buffer/journal.ts'
import {
  acceptRecords,
  COLLECTION,
  INSTANCE,
  type JournalFolder,
  journalFolder,
  journalRecord,
  journalState,
  readAll,
} from '../support/journals.ts'

const PAGE = 4096
const WAL_HEADER = 32
const FRAME = 24 + PAGE

let place: JournalFolder
beforeEach(() => {
  place = journalFolder()
})
afterEach(() => place.drop())

const log = () => `${place.path}-wal`
const mark = () => `${place.path}.mark`
const kept = () => place.files().filter((name) => name.includes('.damaged-'))

/** Numbers that are the same in every run (mulberry32). */
function numbersFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

function change(path: string, work: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path)
  work(bytes)
  writeFileSync(path, bytes)
}

function flip(path: string, offset: number, bits = 0xff): void {
  change(path, (bytes) => {
    bytes[offset]! ^= bits
  })
}

/** The files as a killed process leaves them: what a handle of this one still has open is copied. */
function killed(prepare: (journal: Journal, folder: string) => void): void {
  const living = journalFolder()
  const journal = living.journal()
  journal.open()
  prepare(journal, living.folder)
  for (const name of living.files()) copyFileSync(join(living.folder, name), join(place.folder, name))
  journal.close()
  living.drop()
}

function closed(count: number): void {
  const journal = place.journal()
  journal.open()
  acceptRecords(journal, { count })
  journal.close()
}

/** 1500 records, all of them in the file and none in the log. */
function checkpointed(journal: Journal): void {
  acceptRecords(journal, { count: 1500 })
  journal.close()
  journal.open()
}

function remove(journal: Journal, { accepted, upTo }: { accepted: number; upTo: number }): void {
  const ids = Array.from({ length: upTo }, (_, n) => n + 1)
  journal.commit({ put: [], remove: ids, state: journalState({ accepted, stored: upTo }) })
}

interface Expected {
  accepted: number
  /** At most this many may be gone. */
  mayLose: number
}

/** Opens what was damaged, and holds it to what may be expected of any damage. */
function openDamaged({ accepted, mayLose }: Expected): OpenedJournal & { read: JournalRecord[] } {
  const journal = place.journal()
  const opened = journal.open()
  const read = readAll(journal)
  expect(read).toStrictEqual(read.map(({ id }) => journalRecord(id)))
  expect(read).toHaveLength(opened.records)
  expect(read.at(-1)?.id ?? 0).toBe(opened.lastId)
  const counts = opened.state.counts[COLLECTION]
  if (counts) expect(heldBy(counts)).toBe(read.length)
  expect(opened.lostRows).toBe(counts?.lost ?? 0)
  expect(accepted - read.length).toBeLessThanOrEqual(mayLose)
  if (opened.lostRows > 0) expect(opened.faults).not.toEqual([])
  // Whatever it was, the journal works, and the next opening finds nothing wrong.
  const next = { ...journalRecord(1_000_000) }
  journal.commit({
    put: [next],
    remove: read.slice(0, 1).map(({ id }) => id),
    state: {
      ...opened.state,
      counts: {
        ...opened.state.counts,
        [COLLECTION]: {
          ...journalState().counts[COLLECTION]!,
          ...counts,
          accepted: (counts?.accepted ?? 0) + 1,
          stored: (counts?.stored ?? 0) + Math.min(1, read.length),
        },
      },
    },
  })
  journal.close()
  expect(journal.open()).toMatchObject({ faults: [], lostRows: 0, lastId: 1_000_000 })
  expect(readAll(journal)).toStrictEqual([...read.slice(1), next])
  journal.close()
  return { ...opened, read }
}

describe('the database', () => {
  test('with a byte of a record flipped loses that record', () => {
    closed(2000)
    const offset = readFileSync(place.path).indexOf('text of 777,')
    flip(place.path, offset)
    const { faults, lostRows, read } = openDamaged({ accepted: 2000, mayLose: 1 })
    expect([lostRows, faults.length, read.some(({ id }) => id === 777)]).toEqual([1, 2, false])
    expect(kept()).toHaveLength(1)
  })

  test('with a page of its tree destroyed loses what was on that page, and nothing behind it', () => {
    closed(30_000)
    const pages = readFileSync(place.path)
    const interior = Array.from({ length: pages.length / PAGE }, (_, n) => n).filter(
      (n) => n > 0 && pages[n * PAGE] === 5,
    )
    expect(interior.length).toBeGreaterThan(2)
    for (const [n, mayLose] of [
      ...interior.map((n) => [n, 0] as const),
      [interior.at(-1)! + 5, 30] as const,
    ]) {
      writeFileSync(place.path, pages)
      rmSync(mark(), { force: true })
      change(place.path, (bytes) => bytes.fill(0xa5, n * PAGE, (n + 1) * PAGE))
      expect(openDamaged({ accepted: 30_000, mayLose }).faults).not.toEqual([])
    }
  }, 30_000)

  test('with a damaged header loses nothing', () => {
    closed(500)
    const intact = readFileSync(place.path)
    for (const [from, to] of [
      [0, 100],
      [0, 16],
      [16, 18],
      [18, 20],
      [28, 40],
      [44, 60],
      [64, 72],
      [100, 200],
      [0, PAGE],
    ] as const) {
      writeFileSync(place.path, intact)
      rmSync(mark(), { force: true })
      change(place.path, (bytes) => bytes.fill(0x5a, from, to))
      openDamaged({ accepted: 500, mayLose: 0 })
    }
  })

  test('cut short loses what is cut off', () => {
    const random = numbersFrom(1)
    closed(3000)
    const intact = readFileSync(place.path)
    for (let round = 0; round < 8; round++) {
      writeFileSync(place.path, intact)
      rmSync(mark(), { force: true })
      const size = PAGE * 3 + random(intact.length - PAGE * 3)
      truncateSync(place.path, size)
      openDamaged({ accepted: 3000, mayLose: 100 + 3000 * (1 - size / intact.length) })
    }
  })

  test.each(['garbage', 'nothing'])('replaced by %s says how many rows are gone, by its mark', (what) => {
    closed(300)
    writeFileSync(place.path, what === 'nothing' ? '' : Buffer.alloc(50_000, 'no journal'))
    const { faults, lostRows, state } = openDamaged({ accepted: 300, mayLose: 300 })
    expect(lostRows).toBe(300)
    expect(faults.length).toBeGreaterThan(1)
    expect(state).toMatchObject({ instanceNumber: 7, highWater: journalState().highWater })
  })

  test('that is gone says so, by its mark; without a mark it is a new one', () => {
    closed(300)
    rmSync(place.path)
    expect(openDamaged({ accepted: 300, mayLose: 300 }).lostRows).toBe(300)
    for (const path of [place.path, mark()]) rmSync(path)
    expect(openDamaged({ accepted: 0, mayLose: 0 }).faults).toEqual([])
  })

  test('whose counts are damaged takes those of the mark, and without a mark begins with what is there', () => {
    closed(300)
    const intact = readFileSync(place.path)
    const damage = () => {
      writeFileSync(place.path, intact)
      change(place.path, (bytes) => bytes.fill(0, PAGE * 2 + 100, PAGE * 3))
    }
    damage()
    const { lostRows, state } = openDamaged({ accepted: 300, mayLose: 0 })
    expect([lostRows, state.counts[COLLECTION]?.accepted, state.instanceNumber]).toEqual([0, 300, 7])
    damage()
    rmSync(mark())
    const alone = openDamaged({ accepted: 300, mayLose: 0 })
    expect(alone.state.counts[COLLECTION]).toMatchObject({ accepted: 0, transferred_in: 300 })
    expect(alone.state.highWater).toBe(journalRecord(300).row.stamps as bigint)
    expect(alone.faults).not.toEqual([])
  })

  test('does not bring back what was removed, where its tree is damaged', () => {
    const journal = place.journal()
    journal.open()
    acceptRecords(journal, { count: 20_000 })
    remove(journal, { accepted: 20_000, upTo: 19_000 })
    journal.close()
    change(place.path, (bytes) => bytes.fill(0xa5, PAGE, PAGE * 2)) // the root
    const { read } = openDamaged({ accepted: 1000, mayLose: 0 })
    expect(read).toHaveLength(1000)
  })

  test.each([
    ['list of free pages', 32, 40],
    ['header and root', 0, PAGE * 2],
  ])('does not bring back what was removed, where its tree and its %s are damaged', (_, from, to) => {
    const journal = place.journal()
    journal.open()
    acceptRecords(journal, { count: 4000 })
    remove(journal, { accepted: 4000, upTo: 3700 })
    journal.close()
    change(place.path, (bytes) => {
      bytes.fill(0xff, from, to)
      bytes.fill(0, PAGE + 1, PAGE * 2) // the root
    })
    const { lostRows, read } = openDamaged({ accepted: 300, mayLose: 0 })
    expect(read.map(({ id }) => id)).toEqual(Array.from({ length: 300 }, (_, n) => 3701 + n))
    expect(lostRows).toBeLessThanOrEqual(300)
  })

  test('whose list of free pages names one in use is damaged, though every record can be read', () => {
    const journal = place.journal()
    journal.open()
    acceptRecords(journal, { count: 2000 })
    remove(journal, { accepted: 2000, upTo: 1000 })
    journal.close()
    change(place.path, (bytes) => bytes.writeUInt32BE(2, 32))
    const { faults, lostRows, read } = openDamaged({ accepted: 1000, mayLose: 0 })
    expect([faults.length, lostRows, read.length]).toEqual([1, 0, 1000])
  })
})

describe('the log', () => {
  const prepare = () => killed((journal) => acceptRecords(journal, { count: 1500 }))

  test('of a killed process is read without a fault', () => {
    prepare()
    expect(statSync(log()).size).toBeGreaterThan(FRAME * 10)
    expect(openDamaged({ accepted: 1500, mayLose: 0 }).faults).toEqual([])
    expect(kept()).toEqual([])
  })

  test('cut at any commit or within one loses the commits behind the cut, and counts them', () => {
    const random = numbersFrom(2)
    for (let round = 0; round < 8; round++) {
      place.drop()
      place = journalFolder()
      prepare()
      const size = statSync(log()).size
      const frames = (size - WAL_HEADER) / FRAME
      const left = round === 0 ? 0 : random(frames)
      truncateSync(log(), WAL_HEADER + left * FRAME + (round % 2 === 0 ? 0 : random(FRAME)))
      const { read, lostRows, state, faults } = openDamaged({ accepted: 1500, mayLose: 1500 })
      expect(read.length + lostRows).toBe(1500)
      expect(state.counts[COLLECTION]?.accepted).toBe(1500)
      expect(read.length).toBeGreaterThanOrEqual(Math.floor((left / frames) * 1500) - 300)
      expect(faults).not.toEqual([])
      expect(kept().filter((name) => name.endsWith('-wal'))).toHaveLength(1)
    }
  })

  test('cut, without a mark, is taken for one that never had more', () => {
    prepare()
    rmSync(mark())
    truncateSync(log(), WAL_HEADER + FRAME * 20)
    expect(openDamaged({ accepted: 1500, mayLose: 1500 }).faults).toEqual([])
  })

  test('with a byte flipped loses no more than the records of that page', () => {
    const random = numbersFrom(3)
    for (let round = 0; round < 25; round++) {
      place.drop()
      place = journalFolder()
      prepare()
      flip(log(), round === 0 ? 18 : random(statSync(log()).size), 1 << random(8))
      openDamaged({ accepted: 1500, mayLose: 40 })
    }
  }, 30_000)

  test('of an emptied file still has what was written last', () => {
    prepare()
    writeFileSync(place.path, '')
    const { faults, lostRows } = openDamaged({ accepted: 1500, mayLose: 0 })
    expect([lostRows, faults.length > 0]).toEqual([0, true])
  })

  test('of an earlier round, behind that of this one, is left alone', () => {
    killed((journal, folder) => {
      const file = join(folder, `${INSTANCE}.journal-wal`)
      const size = () => statSync(file, { throwIfNoEntry: false })?.size ?? 0
      let accepted = 0
      // Until a commit doesn't make it longer: then it has begun anew, over the frames that were there.
      for (let before = -1; size() > before; accepted += 100) {
        before = size()
        acceptRecords(journal, { from: accepted + 1, count: 100 })
      }
      expect(accepted).toBeGreaterThan(2000)
      remove(journal, { accepted, upTo: accepted - 100 })
    })
    flip(log(), WAL_HEADER + 24 + 50)
    expect(openDamaged({ accepted: 100, mayLose: 20 }).read.length).toBeLessThanOrEqual(140)
  })

  test('with a page destroyed leaves what the file has of that page', () => {
    killed((journal) => {
      checkpointed(journal)
      const put = [journalRecord(700), journalRecord(1200)]
      journal.commit({ put, remove: [], state: journalState({ accepted: 1500 }) })
    })
    // The first frame is the state's, the last one ends the commit.
    change(log(), (bytes) => bytes.fill(0xa5, WAL_HEADER + FRAME + 24, WAL_HEADER + FRAME * 2))
    openDamaged({ accepted: 1500, mayLose: 0 })
  })

  test('with a page damaged leaves a record that is found twice replayed, if any of the two was', () => {
    killed((journal) => {
      const state = journalState({ accepted: 1 })
      journal.commit({ put: [{ ...journalRecord(1), replayed: true }], remove: [], state })
      journal.close()
      journal.open()
      journal.commit({ put: [journalRecord(1)], remove: [], state })
    })
    flip(log(), WAL_HEADER + FRAME + 24 + 2000) // where the page holds nothing
    flip(log(), WAL_HEADER + 24 + 2000)
    const journal = place.journal()
    expect(journal.open()).toMatchObject({ records: 1, lostRows: 0 })
    expect(readAll(journal)).toMatchObject([{ id: 1, replayed: true }])
    expect(kept().length).toBeGreaterThan(0)
    journal.close()
  })

  test('with a page damaged that was written again behind it has only what was written last', () => {
    killed((journal) => {
      checkpointed(journal)
      journal.commit({ put: [journalRecord(1)], remove: [], state: journalState({ accepted: 1500 }) })
      remove(journal, { accepted: 1500, upTo: 1 })
    })
    flip(log(), WAL_HEADER + FRAME + 24 + 2000)
    expect(openDamaged({ accepted: 1499, mayLose: 0 }).read).toHaveLength(1499)
  })

  test('beside a blank file, its own header damaged, still has what was written last', () => {
    prepare()
    const path = join(place.folder, 'blank')
    const blank = new Database(path)
    blank.run('VACUUM')
    blank.close()
    renameSync(path, place.path)
    flip(log(), 2)
    openDamaged({ accepted: 1500, mayLose: 0 })
  })

  test('stays as it is while what is intact has no place to go to', () => {
    prepare()
    flip(log(), WAL_HEADER + FRAME + 24 + 4000)
    const before = readFileSync(log())
    mkdirSync(`${place.path}-salvaging`)
    expect(() => place.journal().open()).toThrow("can't be used")
    expect(readFileSync(log()).equals(before)).toBe(true)
    rmdirSync(`${place.path}-salvaging`)
    openDamaged({ accepted: 1500, mayLose: 1 })
  })

  test('behind a page destroyed is whole: what was removed there is not brought back', () => {
    killed((journal) => {
      checkpointed(journal)
      journal.commit({ put: [journalRecord(1400)], remove: [], state: journalState({ accepted: 1500 }) })
      remove(journal, { accepted: 1500, upTo: 1000 })
    })
    flip(log(), WAL_HEADER + 24 + 3000)
    expect(openDamaged({ accepted: 500, mayLose: 0 }).read).toHaveLength(500)
  })

  test('that ends within a commit takes nothing away that this commit would have removed', () => {
    killed((journal) => {
      checkpointed(journal)
      remove(journal, { accepted: 1500, upTo: 1400 })
    })
    rmSync(mark())
    truncateSync(log(), statSync(log()).size - FRAME)
    flip(place.path, readFileSync(place.path).indexOf('text of 77,'))
    expect(openDamaged({ accepted: 1500, mayLose: 1 }).read).toHaveLength(1499)
  })
})

describe('the mark', () => {
  test.each(['gone', 'empty', 'garbage', 'cut'])('that is %s is no fault, and is written again', (what) => {
    closed(100)
    if (what === 'gone') rmSync(mark())
    else if (what === 'cut') truncateSync(mark(), 40)
    else writeFileSync(mark(), what === 'empty' ? '' : Buffer.alloc(9999, 0xfe))
    const journal = place.journal()
    expect(journal.open()).toMatchObject({ faults: [], lostRows: 0, records: 100 })
    journal.close()
    expect(readFileSync(mark(), 'utf8')).toContain('"accepted":100')
  })
})

test('damage anywhere, of any size, throws nothing and costs little more than what it covers', () => {
  const random = numbersFrom(4)
  closed(1500)
  const intact = readFileSync(place.path)
  for (let round = 0; round < 40; round++) {
    place.drop()
    place = journalFolder()
    writeFileSync(place.path, intact)
    const bytes = 1 << random(14)
    // Within the version's four bytes it may look like that of a newer program, which nobody may touch.
    const at = 64 + random(intact.length - 64 - bytes)
    change(place.path, (all) => {
      for (let n = at; n < at + bytes; n++) all[n] = random(256)
    })
    openDamaged({ accepted: 1500, mayLose: 60 + bytes / 50 })
  }
}, 30_000)

test('an interrupted salvage is taken up again where it was', () => {
  closed(200)
  const whole = readFileSync(place.path)
  // Begun: the file that was being made is of no use.
  writeFileSync(`${place.path}-salvaging`, whole.subarray(0, 5000))
  flip(place.path, readFileSync(place.path).indexOf('text of 77,'))
  expect(openDamaged({ accepted: 200, mayLose: 1 }).lostRows).toBe(1)
  expect(existsSync(`${place.path}-salvaging`)).toBe(false)
  // Done but for the last step: the damaged file is away, its log is not.
  rmSync(place.path)
  rmSync(mark())
  writeFileSync(`${place.path}-salvaged`, whole)
  writeFileSync(log(), 'what is left of the damaged one')
  expect(openDamaged({ accepted: 200, mayLose: 0 }).faults).toEqual([])
  expect(
    kept().filter((name) => name.startsWith(`${INSTANCE}.journal.damaged-`) && name.endsWith('-wal')),
  ).toHaveLength(1)
})
