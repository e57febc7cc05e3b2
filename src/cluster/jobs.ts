/** Work on a timer that one instance does at a time: whoever holds the lease of that name. */
import type { Coordination } from '../backends/coordination.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'

export interface Job {
  name: string
  everyMs: number
  /** Time from the first look ever to the first round; 0 where there is none. */
  firstAfterMs?: number
  /** Must tolerate a second holder: a lease can expire under a slow one. */
  run(): Promise<void>
}

const LEASE_TTL_MS = 60_000
/** How often an instance looks whether a job is due. */
const LOOK_EVERY_MS = 30_000

export interface JobRunner {
  start(): void
  /** Waits for what runs. */
  stop(): Promise<void>
}

export function createJobRunner(options: {
  coordination: Coordination
  instanceId: string
  jobs: readonly Job[]
  log: Logger
}): JobRunner {
  const { coordination, instanceId, log } = options
  const timers: ReturnType<typeof setInterval>[] = []
  const running = new Map<string, Promise<void>>()
  let stopped = false

  /** When the next round is due is the database's knowledge: it outlives restarts, and holds for all instances. */
  async function isDue(job: Job): Promise<boolean> {
    const nowMs = await coordination.now()
    const fact = await coordination.getFact(`job:${job.name}`)
    if (fact !== null) return (JSON.parse(fact) as { due_at: number }).due_at <= nowMs
    if (!job.firstAfterMs) return true
    await setDue(job, nowMs + job.firstAfterMs)
    return false
  }

  function setDue(job: Job, atMs: number): Promise<void> {
    return coordination.putFact(`job:${job.name}`, JSON.stringify({ due_at: atMs }))
  }

  async function attempt(job: Job): Promise<void> {
    const lease = `job:${job.name}`
    try {
      if (!(await coordination.takeLease(lease, instanceId, LEASE_TTL_MS))) return
      if (!(await isDue(job))) return await coordination.releaseLease(lease, instanceId)
      const renewal = setInterval(() => {
        coordination.takeLease(lease, instanceId, LEASE_TTL_MS).catch(() => undefined) // the job's own statements will tell
      }, LEASE_TTL_MS / 3)
      try {
        await job.run()
      } finally {
        clearInterval(renewal)
      }
      await setDue(job, (await coordination.now()) + job.everyMs)
      await coordination.releaseLease(lease, instanceId)
    } catch (error) {
      log.warn('job failed, will be tried again', { meta: { job: job.name, error: messageOf(error) } })
    }
  }

  function tick(job: Job): void {
    if (stopped || running.has(job.name)) return
    running.set(
      job.name,
      attempt(job).finally(() => running.delete(job.name)),
    )
  }

  return {
    start() {
      for (const job of options.jobs) {
        timers.push(setInterval(tick, Math.min(job.everyMs, LOOK_EVERY_MS), job))
      }
    },
    async stop() {
      stopped = true
      for (const timer of timers) clearInterval(timer)
      await Promise.all(running.values())
    },
  }
}
