/** What only a second process can show: the lock, a kill in the middle of a commit, a disk that is full. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { statfsSync, writeFileSync } from 'node:fs'
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
import { smallDisk, smallDisksMissing } from '../support/small_disk.ts'

const CHILD = new URL('../support/journal_process.ts', import.meta.url).pathname
const ROUNDS = 10

let place: JournalFolder
const children: Bun.Subprocess[] = []
beforeEach(() => {
  place = journalFolder()
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  await Promise.all(children.splice(0).map((child) => child.exited))
  place.drop()
})

function spawn(what: 'hold' | 'commit' | 'look', durability = 'normal') {
  const child = Bun.spawn([process.execPath, CHILD, place.folder, what, durability], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'ignore',
  })
  children.push(child)
  return child
}

/** The lines that a process printed, until `enough` says so or it ends. */
async function linesOf(child: ReturnType<typeof spawn>, enough: (lines: string[]) => boolean) {
  const decoder = new TextDecoder()
  let text = ''
  const lines = () => text.split('\n').slice(0, -1)
  const reader = child.stdout.getReader()
  const read = async () => {
    const { value, done } = await reader.read()
    if (!done) text += decoder.decode(value, { stream: true })
    return !done
  }
  while (!enough(lines()) && (await read()));
  return {
    lines,
    /** Everything that it had printed when it ended. */
    async rest() {
      while (await read());
      return lines()
    },
  }
}

function failureOf(work: () => unknown): JournalError | null {
  try {
    work()
    return null
  } catch (error) {
    if (error instanceof JournalError) return error
    throw error
  }
}

describe('the lock', () => {
  test('is held against other processes, from the opening on until the end, and after commits too', async () => {
    const journal = place.journal()
    const look = async () => (await spawn('look').stdout.text()).trim()
    journal.open()
    expect(await look()).toStartWith('locked:')
    acceptRecords(journal, { count: 5000 })
    expect(await look()).toStartWith('locked:')
    journal.close()
    expect(await look()).toBe('opened')
    journal.open()
    expect(await look()).toStartWith('locked:')
    journal.close()
  })

  test('ends with the process that held it, however it ends', async () => {
    const child = spawn('hold')
    await linesOf(child, (lines) => lines.includes('opened'))
    const journal = place.journal()
    const startMs = performance.now()
    expect(failureOf(() => journal.open())?.kind).toBe('locked')
    expect(performance.now() - startMs).toBeLessThan(200) // one attempt, that waits for nobody
    child.kill('SIGKILL')
    await child.exited
    expect(journal.open()).toMatchObject({ faults: [], lostRows: 0 })
    journal.close()
  })

  test('is kept through a salvage', async () => {
    const journal = place.journal()
    journal.open()
    acceptRecords(journal, { count: 100 })
    journal.close()
    writeFileSync(place.path, 'garbage')
    expect(journal.open().lostRows).toBe(100)
    expect((await spawn('look').stdout.text()).trim()).toStartWith('locked:')
    journal.close()
  })
})

describe.each(['full', 'normal'])('killed while it commits (%s)', (durability) => {
  test('a process has every commit that it acknowledged', async () => {
    let acknowledged = 0
    for (let round = 0; round < ROUNDS; round++) {
      const child = spawn('commit', durability)
      // Some rounds end within the first checkpoint, some behind it.
      const output = await linesOf(child, (lines) => lines.length > 1 + round * 15)
      child.kill('SIGKILL')
      const [first, ...numbers] = await output.rest()
      await child.exited
      expect(first).toBe('opened')
      acknowledged = Number(numbers.at(-1))
      const journal = place.journal()
      const { faults, lostRows, records, lastId, state } = journal.open()
      expect({ faults, lostRows }).toEqual({ faults: [], lostRows: 0 })
      expect(lastId).toBeGreaterThanOrEqual(acknowledged)
      expect(records).toBe(lastId)
      expect(state.counts.translation_tasks?.accepted).toBe(lastId)
      expect(readAll(journal)).toStrictEqual(journalRecords(1, lastId))
      journal.close()
    }
    expect(acknowledged).toBeGreaterThan(ROUNDS * 20)
  }, 60_000)
})

const noDisk = smallDisksMissing === null ? '' : ` (left out: ${smallDisksMissing})`
describe.skipIf(smallDisksMissing !== null)(`a full disk${noDisk}`, () => {
  test('fails commits, loses nothing, and is forgotten once there is room', () => {
    const folder = join(place.folder, 'disk')
    const disk = smallDisk(folder, 2)
    try {
      const { own } = openJournals({ folder, instanceId: INSTANCE, durability: 'full' })
      own.open()
      let accepted = 0
      let failure: JournalError | null = null
      while (failure === null) {
        const put = journalRecords(accepted + 1, 100)
        const state = journalState({ accepted: accepted + 100 })
        failure = failureOf(() => own.commit({ put, remove: [], state }))
        if (failure === null) accepted += 100
        expect(accepted).toBeLessThan(20_000)
      }
      expect(failure.kind).toBe('full')
      expect(failure.cause).toBeDefined()
      expect(statfsSync(folder).bavail).toBeLessThan(32)
      expect(readAll(own)).toStrictEqual(journalRecords(1, accepted))
      disk.resize(16)
      acceptRecords(own, { from: accepted + 1, count: 2000 })
      expect(readAll(own)).toStrictEqual(journalRecords(1, accepted + 2000))
      own.close()
      expect(own.open()).toMatchObject({ faults: [], lostRows: 0, records: accepted + 2000 })
      own.close()
    } finally {
      disk.unmount()
    }
  })

  test('that large records have filled lets go of them all at once, within the reserve', () => {
    const folder = join(place.folder, 'disk')
    const disk = smallDisk(folder, 2)
    try {
      disk.resize(24)
      const { own } = openJournals({ folder, instanceId: INSTANCE, durability: 'full' })
      own.open()
      const text = 'x'.repeat(40_000)
      let accepted = 0
      const accept = () =>
        failureOf(() =>
          own.commit({
            put: [journalRecord(accepted + 1, text)],
            remove: [],
            state: journalState({ accepted: accepted + 1 }),
          }),
        )
      while (accept() === null) expect(++accepted).toBeLessThan(1000)
      const ids = Array.from({ length: accepted }, (_, n) => n + 1)
      own.commit({ put: [], remove: ids, state: journalState({ accepted, stored: accepted }) })
      expect(readAll(own)).toEqual([])
      own.close()
      expect(own.open()).toMatchObject({ faults: [], lostRows: 0, records: 0 })
      own.close()
    } finally {
      disk.unmount()
    }
  })

  test('a damaged journal stays where it is while there is no room for what is intact of it', () => {
    const folder = join(place.folder, 'disk')
    const disk = smallDisk(folder, 2)
    try {
      const { own } = openJournals({ folder, instanceId: INSTANCE, durability: 'normal' })
      disk.resize(16)
      own.open()
      acceptRecords(own, { count: 6000 })
      own.close()
      disk.resize(2)
      const path = join(folder, `${INSTANCE}.journal`)
      Bun.spawnSync(['dd', 'if=/dev/urandom', `of=${path}`, 'bs=1', 'seek=20000', 'count=50', 'conv=notrunc'])
      expect(failureOf(() => own.open())?.kind).toBe('unusable')
      expect(failureOf(() => own.open())?.kind).toBe('unusable')
      disk.resize(16)
      const { faults, lostRows, records } = own.open()
      expect(faults.length).toBeGreaterThan(0)
      expect(records + lostRows).toBe(6000)
      expect(lostRows).toBeLessThan(40)
      own.close()
    } finally {
      disk.unmount()
    }
  })
})
