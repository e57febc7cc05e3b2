/** Sends the planned sessions as Backend V2 would. */
import type { Client } from './client.ts'
import { ReplayError } from './failure.ts'
import { sessionItem, TASK_STATES, taskItems } from './items.ts'
import { createPace, inParallel, pause } from './parallel.ts'
import { interleavedBatches, type PlannedBatch, type PlannedSession } from './plan.ts'

interface DriveOptions {
  client: Client
  replayId: string
  /** 0 is as fast as possible. */
  tasksPerSecond: number
  connections: number
  stop: AbortController
  /** Told with the tasks that have just been posted in their last state. */
  onCompleted: (tasks: number) => void
}

const BASE = '/api/v1/translation'

/**
 * Posts every session, then its tasks, each batch through its states in order, several batches at once.
 * Rejects with the first error; what was posted until then stays.
 */
export async function driveSessions(
  sessions: readonly PlannedSession[],
  options: DriveOptions,
): Promise<void> {
  const { client, connections, stop, onCompleted } = options
  const pace = createPace(options.tasksPerSecond)
  const runs = new Map(sessions.map((session) => [session, createRun(session, options)]))

  async function drive(batch: PlannedBatch): Promise<void> {
    const run = runs.get(batch.session)!
    const size = batch.to - batch.from
    await pause(pace.reserveMs(size, performance.now()), stop.signal)
    await run.opened()
    for (const state of TASK_STATES) {
      if (state === 'processing') {
        batch.startMs = Date.now()
        run.begun(size)
      }
      // A clock set back meanwhile must not make the duration negative.
      if (state === 'completed') batch.endMs = Math.max(batch.startMs, Date.now())
      await postAll(client, 'tasks', taskItems(batch, state))
    }
    onCompleted(size)
    await run.completed(size)
  }

  await inParallel(interleavedBatches(sessions), { width: connections, stop }, drive)
}

/** The session's own row, while its batches run. */
function createRun(session: PlannedSession, { client, replayId }: DriveOptions) {
  const progress = { replayId, completed: 0, processing: 0 }
  const post = () => postAll(client, 'sessions', [sessionItem(session, progress)])
  let opening: Promise<void> | undefined
  let isPosting = false
  let hasChanged = false
  return {
    /** Resolves once the session has been posted for the first time. */
    opened(): Promise<void> {
      opening ??= post()
      return opening
    },
    begun(tasks: number): void {
      progress.processing += tasks
    },
    /** Posts the counters. One post at a time, or an older count could be accepted after a newer one. */
    async completed(tasks: number): Promise<void> {
      progress.processing -= tasks
      progress.completed += tasks
      hasChanged = true
      if (isPosting) return
      isPosting = true
      while (hasChanged) {
        hasChanged = false
        await post()
      }
      isPosting = false
    },
  }
}

async function postAll(client: Client, kind: 'sessions' | 'tasks', items: unknown[]): Promise<void> {
  const path = `${BASE}/${kind}/batch`
  const { count } = await client.post(path, { [kind]: items })
  if (count !== items.length) {
    throw new ReplayError(`POST ${path}: ${items.length} items were sent, ${count} accepted`)
  }
}
