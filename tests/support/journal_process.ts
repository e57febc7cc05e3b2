/** A process that has a journal: holds its lock, or commits until it is killed and says what was acknowledged. */
import { writeSync } from 'node:fs'
import { openJournals } from '../../src/backends/sqlite/journal.ts'
import { INSTANCE, journalRecords, journalState } from './journals.ts'

const [folder, what, durability] = process.argv.slice(2)
const { own } = openJournals({
  folder: folder!,
  instanceId: INSTANCE,
  durability: durability as 'full' | 'normal',
})

try {
  const { lastId, state } = own.open()
  console.log('opened')
  // The handle stays in use; a test that is gone leaves nobody behind.
  if (what === 'hold') process.stdin.on('end', () => own.close()).resume()
  if (what === 'commit') {
    const before = state.counts.translation_tasks?.accepted ?? 0
    const size = 20
    for (let n = 0; ; n++) {
      const first = lastId + 1 + n * size
      own.commit({
        put: journalRecords(first, size),
        remove: [],
        state: journalState({ accepted: before + (n + 1) * size }),
      })
      // Straight to the pipe: what stands in it was acknowledged.
      writeSync(1, `${first + size - 1}\n`)
    }
  }
} catch (error) {
  console.log(`${(error as { kind?: string }).kind}: ${(error as Error).message}`)
}
