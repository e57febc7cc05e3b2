/** The books of an instance: every row that was acknowledged went somewhere, and GET /health says where. */
import { api } from '../support/http.ts'
import type { Judge } from './judge_messages.ts'
import type { CollectionName } from './records.ts'

const OUT = [
  'stored',
  'merged',
  'voided',
  'dead_lettered',
  'transferred_out',
  'lost',
  'buffered',
  'in_flight',
]
/** What must not happen to a row that is good. */
const NEVER = ['lost', 'dead_lettered', 'voided'] as const
const COLLECTIONS = { translation_sessions: 'sessions', translation_tasks: 'tasks' } as const

type Entry = Record<string, unknown> & { collection: keyof typeof COLLECTIONS; balanced: boolean }
interface Health {
  status: string
  buffer: { total_count: number; conservation: Entry[] }
}

/** What is wrong with an instance's books, in words; the judge knows what was acknowledged, across restarts. */
export async function booksFaults(url: string, place: string, judge: Judge): Promise<string[]> {
  const { body } = await api(url).get<Health>('/health')
  const items = await judge.itemsOf(place)
  const faults: string[] = []
  for (const entry of body.buffer.conservation) {
    const collection: CollectionName = COLLECTIONS[entry.collection]
    const of = (name: string) => Number(entry[name] ?? 0)
    const into = of('accepted') + of('transferred_in')
    const out = OUT.reduce((sum, name) => sum + of(name), 0)
    const figures = JSON.stringify(entry)
    if (!entry.balanced || into !== out)
      faults.push(`${place}: ${into} came in, ${out} are accounted for: ${figures}`)
    for (const name of NEVER) if (of(name) !== 0) faults.push(`${place}: ${of(name)} ${name}: ${figures}`)
    const least = items.acknowledged[collection]
    const most = least + items.unknown[collection]
    if (of('accepted') < least || of('accepted') > most)
      faults.push(
        `${place}: accepted ${of('accepted')} ${collection}, but ${least} to ${most} were: ${figures}`,
      )
  }
  if (body.buffer.conservation.length === 0) faults.push(`${place} keeps no books`)
  return faults
}
