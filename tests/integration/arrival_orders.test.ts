/**
 * Pieces of a session and of its task in every order: the task before its session, a PATCH before its POST,
 * halves of one row on two instances. There is one row of each at the end, and it is shown as soon as it can be.
 */
import { expect, test } from 'bun:test'
import { type CollectionName, clocksApart, flushOwn, newest, permutations } from '../support/acceptance.ts'
import { recordBackends, sqlServers } from '../support/backends.ts'
import { type Instance, instance } from '../support/instance.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { type Item, sessionItem, taskItem } from '../support/translation_items.ts'

/** A session has the tag as its provider, and its task as its batch: lists can be asked for it. */
type Piece = (sessionId: string, tag: string) => Item

/** What is sent; a PATCH and its POST have fields in common, where the later one counts. */
const PIECES = {
  'POST session': (id, tag) =>
    sessionItem(id, {
      llm_provider: tag,
      metadata: { from: 'POST' },
      game_info: { name: 'POST' },
      total_tasks: 3,
    }),
  'PATCH session': (id) => ({
    session_id: id,
    status: 'pending',
    metadata: { from: 'PATCH' },
    game_info: null,
    file_path: '/patched',
  }),
  'POST task': (id, tag) =>
    taskItem(id, 't', { batch_id: tag, context: 'POST', retry_count: 1, error_message: 'POST' }),
  'PATCH task': (id) => ({
    session_id: id,
    task_id: 't',
    status: 'completed',
    target_text: '译文',
    context: null,
    confidence: 0.5,
    retry_count: 2,
  }),
} satisfies Record<string, Piece>
type PieceName = keyof typeof PIECES
const NAMES = Object.keys(PIECES) as PieceName[]
const isOf = (name: PieceName, collection: CollectionName) =>
  name.endsWith(collection === 'tasks' ? 'task' : 'session')

/** A batch of one kind of piece. */
async function send(on: Instance, name: PieceName, items: Item[]): Promise<void> {
  const call = {
    'POST session': on.sessions,
    'PATCH session': on.patchSessions,
    'POST task': on.tasks,
    'PATCH task': on.patchTasks,
  }[name]
  expect((await call(items)).status).toBe(202)
}

interface Sent {
  id: string
  tag: string
  order: readonly PieceName[]
}

/** The row that an order makes. */
const expected = ({ id, tag, order }: Sent, collection: CollectionName): Item =>
  newest(order.filter((name) => isOf(name, collection)).map((name) => PIECES[name](id, tag)))

/** Everything of a tag through a list, page by page, by session. */
async function listed(on: Instance, collection: CollectionName, tag: string): Promise<Map<string, Item>> {
  const found = new Map<string, Item>()
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query = new URLSearchParams({
      [collection === 'tasks' ? 'batch_id' : 'llm_provider']: tag,
      page_size: '100',
      ...(cursor && { cursor }),
    })
    const page = await on.http.get<{ items: Item[]; next_cursor: string | null }>(
      `/api/v1/translation/${collection}?${query}`,
    )
    expect(page.status).toBe(200)
    for (const item of page.body.items) {
      expect(found.has(String(item.session_id))).toBe(false) // one row, not two
      found.set(String(item.session_id), item)
    }
    cursor = page.body.next_cursor
  }
  return found
}

/**
 * Whether a session and its task are shown as they must be: single reads show what is stored or buffered by the
 * instance, `sent`; lists and counters what is stored, which may be less.
 */
async function expectShown(on: Instance, sent: Sent, storedOrder = sent.order): Promise<void> {
  const { id, order } = sent
  const stored = { ...sent, order: storedOrder }
  const [session, task, list] = await Promise.all([
    on.session(id),
    on.task(id, 't'),
    on.http.get<{ items?: Item[] }>(`/api/v1/translation/sessions/${id}/tasks`),
  ])
  const hasSession = order.includes('POST session')
  const hasTask = order.includes('POST task')
  const lists = storedOrder.includes('POST task')
  expect({
    id,
    order,
    session: session.status,
    task: task.status,
    listed: list.body.items?.length ?? 0,
  }).toEqual({
    id,
    order,
    session: hasSession ? 200 : 404,
    task: hasTask ? 200 : 404,
    listed: lists ? 1 : 0,
  })
  if (hasTask) expect(task.body).toMatchObject(expected(sent, 'tasks'))
  if (lists) expect(list.body.items![0]).toMatchObject(expected(stored, 'tasks'))
  if (!hasSession) return
  expect(session.body).toMatchObject(expected(sent, 'sessions'))
  const isCompleted = lists && expected(stored, 'tasks').status === 'completed'
  expect(session.body.completed_tasks).toBe(isCompleted ? 1 : 0)
}

for (const { name } of recordBackends) {
  test(`${name}: every order of a session, its PATCH, its task and its PATCH, flushed after any of them, makes the same rows, each shown once its POST is there`, async () => {
    await using scene = createScene()
    const database = name === 'sqlite' ? null : await scene.database(name)
    const on = instance(await scene.start(database ? { DATABASE_URL: database.url } : {}))
    const orders = permutations(NAMES)
    // After each piece but the last, which is always flushed.
    for (let flushes = 0; flushes < 2 ** (NAMES.length - 1); flushes++) {
      const tag = `flushes-${flushes}`
      const all = orders.map((order, i) => ({ id: `${tag}-${i}`, tag, order }))
      for (let step = 0; step < NAMES.length; step++) {
        for (const piece of NAMES) {
          const due = all.filter(({ order }) => order[step] === piece)
          await send(
            on,
            piece,
            due.map(({ id }) => PIECES[piece](id, tag)),
          )
        }
        const isLast = step === NAMES.length - 1
        if (!isLast && (flushes & (1 << step)) === 0) continue
        expect((await on.flush()).status).toBe(200)
        await Promise.all(all.map((one) => expectShown(on, { ...one, order: one.order.slice(0, step + 1) })))
      }
      expect((await listed(on, 'sessions', tag)).size).toBe(orders.length)
      expect((await listed(on, 'tasks', tag)).size).toBe(orders.length)
    }
    expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0, voided: 0 })
  })
}

async function startPair(scene: Scene, server: (typeof sqlServers)[number]): Promise<[Instance, Instance]> {
  const { url } = await scene.database(server)
  const start = async () => instance(await scene.start({ DATABASE_URL: url }))
  return Promise.all([start(), start()])
}

for (const server of sqlServers) {
  test(`${server}: a PATCH and a POST of one row on two instances, with their flushes in every order: one row, shown as soon as its POST is stored`, async () => {
    await using scene = createScene()
    const both = await startPair(scene, server)
    const steps = ['POST', 'PATCH', 'flush 0', 'flush 1'] as const
    for (const [i, order] of permutations(steps).entries()) {
      const tag = `order-${i}`
      // For the second session the instances have changed their parts.
      const all = [0, 1].map((swapped) => ({
        id: `${tag}-${swapped}`,
        sideOf: { POST: swapped, PATCH: 1 - swapped },
        pieces: [] as { name: PieceName; side: number; stored: boolean }[],
      }))
      const look = async () => {
        for (const [side, on] of both.entries()) {
          for (const { id, pieces } of all) {
            const namesOf = (seen: typeof pieces) => seen.map(({ name }) => name)
            const sent = pieces.filter((piece) => piece.stored || piece.side === side)
            const stored = pieces.filter((piece) => piece.stored)
            await expectShown(on, { id, tag, order: namesOf(sent) }, namesOf(stored))
          }
        }
      }
      const flush = async (side: number) => {
        await flushOwn(both[side]!)
        for (const { pieces } of all) {
          for (const piece of pieces) if (piece.side === side) piece.stored = true
        }
      }
      for (const step of order) {
        if (step === 'flush 0') await flush(0)
        else if (step === 'flush 1') await flush(1)
        else {
          for (const { id, sideOf, pieces } of all) {
            const side = sideOf[step]
            for (const name of [`${step} session`, `${step} task`] as const) {
              await send(both[side]!, name, [PIECES[name](id, tag)])
              pieces.push({ name, side, stored: false })
            }
          }
          await clocksApart(both)
        }
        await look()
      }
      for (const side of [0, 1]) await flush(side)
      await look()
    }
    for (const on of both) expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0 })
  })

  test(`${server}: every order of four pieces, each on either of two instances, stored in every order: one final row, the same everywhere`, async () => {
    await using scene = createScene()
    const both = await startPair(scene, server)
    const orders = permutations(NAMES)
    const sides = Array.from({ length: 2 ** NAMES.length }, (_, bits) =>
      NAMES.map((_, i) => ((bits >> i) & 1) as 0 | 1),
    )
    const stores = [0, 1].flatMap((side) =>
      (['sessions', 'tasks'] as const).map((collection) => ({ on: both[side as 0 | 1], collection })),
    )
    for (const [i, storing] of permutations(stores).entries()) {
      const tag = `stores-${i}`
      const all = orders.flatMap((order, j) =>
        sides.map((side, k) => ({ id: `${tag}-${j}-${k}`, tag, order, side })),
      )
      for (let step = 0; step < NAMES.length; step++) {
        for (const piece of NAMES) {
          for (const side of [0, 1] as const) {
            const due = all.filter(({ order, side: of }) => order[step] === piece && of[step] === side)
            await send(
              both[side],
              piece,
              due.map(({ id }) => PIECES[piece](id, tag)),
            )
          }
        }
        await clocksApart(both)
      }
      for (const { on, collection } of storing) await flushOwn(on, [collection])
      for (const on of both) {
        const [sessions, tasks] = await Promise.all([listed(on, 'sessions', tag), listed(on, 'tasks', tag)])
        expect([sessions.size, tasks.size]).toEqual([all.length, all.length])
        for (const one of all) {
          // A list of sessions leaves out what is long.
          const { metadata: _, game_info: __, ...session } = expected(one, 'sessions')
          expect(sessions.get(one.id)).toMatchObject(session)
          expect(tasks.get(one.id)).toMatchObject(expected(one, 'tasks'))
        }
      }
      for (const one of all.filter((_, n) => n % 37 === i)) for (const on of both) await expectShown(on, one)
    }
    for (const on of both) {
      expect(await on.balance()).toMatchObject({ buffered: 0, dead_lettered: 0, voided: 0 })
    }
  })
}
