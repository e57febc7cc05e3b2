/** How many instances there are, by state, as the metrics show it: looked at now and then. */
import type { Coordination } from '../backends/coordination.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { type Liveness, livenessOf } from './liveness.ts'

export interface Census {
  counts(): Readonly<Partial<Record<Liveness, number>>>
  start(): void
  stop(): void
}

const EVERY_MS = 5000

export function createCensus(options: { coordination: Coordination; log: Logger }): Census {
  const { coordination, log } = options
  let counts: Partial<Record<Liveness, number>> = {}
  let timer: ReturnType<typeof setInterval> | null = null

  async function take(): Promise<void> {
    try {
      const { nowMs, instances } = await coordination.listInstances()
      const fresh: Partial<Record<Liveness, number>> = { live: 0, draining: 0, dead: 0, lost: 0 }
      for (const one of instances) {
        const state = livenessOf(one, nowMs)
        if (state !== 'gone') fresh[state] = (fresh[state] ?? 0) + 1
      }
      counts = fresh
    } catch (error) {
      log.debug('instances not counted', { meta: { error: messageOf(error) } })
    }
  }

  return {
    counts: () => counts,
    start() {
      timer ??= setInterval(take, EVERY_MS)
    },
    stop() {
      if (timer) clearInterval(timer)
      timer = null
    },
  }
}
