/**
 * Several instances on one database: updates in any order, repeated, split into parts, on whichever instance,
 * stored in whatever order. Field by field what was accepted last is what is there at the end.
 */
import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { type CollectionName, clocksApart, flushOwn, newest } from '../support/acceptance.ts'
import { sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { type Item, sessionItem, taskItem, taskItems } from '../support/translation_items.ts'

/** Each run is real HTTP, so there are few; the same ones every time. */
const RUNS = 20
const SEED = 4_071_962
const TEST_TIMEOUT_MS = 120_000

/** Fields of one row. A session and two of its tasks are enough to get into each other's way. */
interface Update {
  row: 'session' | 'task_0' | 'task_1'
  fields: Item
  isWhole: boolean
}

/** What is done, one after the other. */
type Step =
  | { do: 'write'; on: number; update: Update }
  | { do: 'flush one'; on: number }
  | { do: 'flush all'; on: number }

const text = fc.option(fc.string({ unit: 'grapheme', maxLength: 12 }))
const number = fc.option(fc.nat(1000))
const json = fc.option(fc.dictionary(fc.constantFrom('a', 'b'), fc.nat(9), { maxKeys: 2 }))
const some = (fields: Record<string, fc.Arbitrary<unknown>>) =>
  fc.record(fields, { requiredKeys: [] }).filter((made) => Object.keys(made).length > 0)

const sessionFields = some({
  filename: fc.constantFrom('one.xlsx', 'two.xlsx', '三.xlsx'),
  // Finished ones are flushed at once, by the instance that is told so.
  status: fc.constantFrom('pending', 'processing', 'completed', 'failed'),
  game_info: json,
  metadata: json,
})
const taskFields = some({
  source_text: fc.constantFrom('one', 'two', '三'),
  status: fc.constantFrom('pending', 'processing', 'completed', 'failed'),
  row_index: fc.nat(1000),
  target_text: text,
  context: text,
  confidence: fc.option(fc.nat(10_000).map((n) => n / 10_000)),
  error_message: text,
  retry_count: number.map((n) => n ?? 0),
  duration_ms: number,
})
const update: fc.Arbitrary<Update> = fc
  .tuple(fc.constantFrom('session' as const, 'task_0' as const, 'task_1' as const), fc.boolean())
  .chain(([row, isWhole]) =>
    (row === 'session' ? sessionFields : taskFields).map((fields) => ({ row, fields, isWhole })),
  )

/** The update as it is, twice, or in two parts. */
const parts = fc
  .tuple(update, fc.constantFrom('once', 'twice', 'split'), fc.nat(8))
  .map(([one, how, at]): Update[] => {
    if (how === 'once') return [one]
    if (how === 'twice') return [one, one]
    const fields = Object.entries(one.fields)
    const cut = at % (fields.length + 1)
    return [fields.slice(0, cut), fields.slice(cut)]
      .filter((half) => half.length > 0)
      .map((half) => ({ row: one.row, fields: Object.fromEntries(half), isWhole: false }))
  })

/** A set of updates, taken apart, shuffled, dealt to the instances, with flushes in between. */
function stepsOf(instances: number): fc.Arbitrary<Step[]> {
  const on = fc.nat(instances - 1)
  return fc
    .array(parts, { minLength: 2, maxLength: 6 })
    .map((sets) => sets.flat())
    .chain((all) => fc.shuffledSubarray(all, { minLength: all.length }))
    .chain((shuffled) =>
      fc.tuple(
        ...shuffled.map((one) =>
          fc
            .tuple(
              on,
              fc.option(fc.constantFrom('flush one' as const, 'flush one' as const, 'flush all' as const)),
              on,
            )
            .map(([writer, flush, flusher]): Step[] => [
              { do: 'write', on: writer, update: one },
              ...(flush ? [{ do: flush, on: flusher }] : []),
            ]),
        ),
      ),
    )
    .map((steps) => steps.flat())
}

async function startAll(
  scene: Scene,
  server: (typeof sqlServers)[number],
  count: number,
): Promise<Instance[]> {
  const { url } = await scene.database(server)
  const start = async () => instance(await scene.start({ DATABASE_URL: url }))
  return Promise.all(Array.from({ length: count }, start))
}

/** Sends an update; answers the item that was accepted. */
async function write(on: Instance, sessionId: string, { row, fields, isWhole }: Update): Promise<Item> {
  const isSession = row === 'session'
  const item = isWhole
    ? isSession
      ? sessionItem(sessionId, fields)
      : taskItem(sessionId, row, fields)
    : { session_id: sessionId, ...(!isSession && { task_id: row }), ...fields }
  const call = isSession ? (isWhole ? on.sessions : on.patchSessions) : isWhole ? on.tasks : on.patchTasks
  expect((await call([item])).status).toBe(202)
  return item
}

for (const server of sqlServers) {
  for (const count of [2, 3]) {
    test(
      `${count} instances on ${server}: updates permuted, repeated and split, stored in crossed orders, leave field by field the newest`,
      async () => {
        await using scene = createScene()
        const all = await startAll(scene, server, count)
        let sessions = 0
        const storing = fc.shuffledSubarray(
          all.flatMap((on) => (['sessions', 'tasks'] as CollectionName[]).map((name) => ({ on, name }))),
          { minLength: 2 * count },
        )
        await fc.assert(
          fc.asyncProperty(stepsOf(count), storing, async (steps, order) => {
            const id = `s-${sessions++}`
            const accepted: Record<Update['row'], Item[]> = { session: [], task_0: [], task_1: [] }
            // Only complete rows are shown, so each begins as one, somewhere.
            accepted.session.push(await write(all[0]!, id, { row: 'session', fields: {}, isWhole: true }))
            for (const [i, row] of (['task_0', 'task_1'] as const).entries())
              accepted[row].push(await write(all[(i + 1) % count]!, id, { row, fields: {}, isWhole: true }))

            let writer: Instance | undefined
            const expectNewest = async () => {
              for (const on of all) {
                expect((await on.session(id)).body).toMatchObject(newest(accepted.session))
                expect(await on.allTasks(id)).toMatchObject([
                  newest(accepted.task_0),
                  newest(accepted.task_1),
                ])
              }
            }
            for (const step of steps) {
              const on = all[step.on]!
              if (step.do === 'flush one') await flushOwn(on)
              else if (step.do === 'flush all') {
                expect((await on.flush()).body).toMatchObject({ status: 'flushed' })
                await expectNewest()
              } else {
                // One instance's own order holds within a millisecond, too.
                if (on !== writer) await clocksApart(all)
                writer = on
                accepted[step.update.row].push(await write(on, id, step.update))
              }
            }
            for (const { on, name } of order) await flushOwn(on, [name])
            await expectNewest()
          }),
          { seed: SEED + count, numRuns: RUNS, endOnFailure: true },
        )
        for (const on of all)
          expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0, voided: 0 })
      },
      TEST_TIMEOUT_MS,
    )
  }

  test(`3 instances on ${server}: a write that waits stores what its own instance holds, and a flush on any of them what all hold`, async () => {
    await using scene = createScene()
    const all = await startAll(scene, server, 3)
    await all[0]!.sessions([sessionItem('s')])
    for (const [i, on] of all.entries())
      await on.tasks(taskItems('s', 10, { from: 10 * i, target_text: `of ${i}` }))
    const held = () => Promise.all(all.map(async (on) => (await on.health()).buffer.tasks_count))
    expect(await held()).toEqual([10, 10, 10])

    const waited = await all[1]!.http.post('/api/v1/translation/tasks/batch?wait=true', {
      tasks: [taskItem('s', 'waited')],
    })
    expect(waited.status).toBe(200)
    expect(waited.body).toMatchObject({ written: 1, outcomes: [{ index: 0, outcome: 'stored' }] })
    expect(await held()).toEqual([10, 0, 10])
    const stored = await all[0]!.allTasks('s')
    expect(stored.length).toBe(11)
    expect(stored.filter(({ target_text }) => target_text === 'of 1').length).toBe(10)

    expect((await all[2]!.flush()).body).toMatchObject({
      status: 'flushed',
      sessions_written: 1,
      tasks_written: 20,
    })
    expect(await held()).toEqual([0, 0, 0])
    for (const on of all) expect((await on.allTasks('s')).length).toBe(31)
  })
}
