/** How many bytes each backend occupies: asked now and then, because asking costs. */
import type { BackendMonitor } from '../backends/monitor.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'

export interface StorageSizes {
  measure(): Promise<void>
  all(): { backend: string; bytes: number }[]
  start(): void
  stop(): void
}

const EVERY_MS = 60_000

export function createStorageSizes(options: { backends(): BackendMonitor[]; log: Logger }): StorageSizes {
  const sizes = new Map<string, number>()
  let timer: ReturnType<typeof setInterval> | null = null

  async function measure(): Promise<void> {
    for (const { backend, state } of options.backends()) {
      if (state() !== 'up' || !backend.records) continue
      try {
        sizes.set(backend.name, await backend.records.sizeBytes())
      } catch (error) {
        options.log.debug('size of storage not read', {
          meta: { backend: backend.name, error: messageOf(error) },
        })
      }
    }
  }

  return {
    measure,
    all: () => [...sizes].map(([backend, bytes]) => ({ backend, bytes })),
    start() {
      timer ??= setInterval(measure, EVERY_MS)
    },
    stop() {
      if (timer) clearInterval(timer)
      timer = null
    },
  }
}
