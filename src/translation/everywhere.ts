/** Reads that have to see what every instance has accepted, not this one alone. */
import { z } from '@hono/zod-openapi'
import { BackendError } from '../backends/backend.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { Coverage, StoredByAll } from '../cluster/coverage.ts'
import { AppError } from '../lib/errors.ts'
import { withDeadline } from '../lib/retry.ts'

export type Consistency = 'strong' | undefined

export interface Everywhere {
  /** Waits for the other instances; what this one holds is laid over by the caller, or flushed beside it. */
  others(timeoutMs: number): Promise<StoredByAll>
  /** Waits for the others for up to 3 s, then reads, within the time that a read may take. */
  afterOthers<T>(read: (others: StoredByAll) => Promise<T>): Promise<T>
  /** The same, with what is buffered here stored first; names who is missing. Reads at once unless `strong`. */
  read<T extends object>(
    consistency: Consistency,
    read: () => Promise<T>,
  ): Promise<T & { missing_instances?: string[] }>
}

/** How long the others may take, within the 5 s that the printed client waits for a read. */
const OTHERS_MS = 3000
/** However long that took: a store that answers needs no more for a page. */
const LEAST_READ_MS = 1000

export const consistencyQuery = {
  consistency: z
    .enum(['strong'])
    .meta({
      id: 'Consistency',
      description:
        '`strong` waits up to 3 seconds until every instance has stored what it had accepted before, and names those that have not in `missing_instances`.',
    })
    .optional(),
}

export const missingInstances = z.array(z.string()).meta({
  description: 'Instances that may hold rows which are not part of the answer.',
  example: [],
})

/** Names who is missing, where that was asked for. */
export function covering<Shape extends z.ZodRawShape>(answer: z.ZodObject<Shape>, id: string) {
  return answer.extend({ missing_instances: missingInstances.optional() }).meta({ id })
}

/** What was not found may be what a missing instance holds: the answer names those too. */
export function naming(error: unknown, missing: readonly string[]): unknown {
  if (error instanceof AppError && missing.length > 0)
    Object.assign(error.members, { missing_instances: missing })
  return error
}

interface EverywhereOptions {
  buffer: Pick<WriteBuffer, 'flush'>
  coverage: Coverage
  instanceId: string
  /** The whole time of a read, waiting included. */
  readTimeoutMs: number
}

export function createEverywhere(options: EverywhereOptions): Everywhere {
  const { buffer, coverage, instanceId, readTimeoutMs } = options

  /** Whether what is buffered here was stored in time. */
  async function storeOwn(): Promise<boolean> {
    const late = new AppError('FLUSH_TIMEOUT')
    try {
      for (const { failure } of (await withDeadline(buffer.flush(), OTHERS_MS, () => late)).values())
        if (failure) throw failure
      return true
    } catch (error) {
      if (error === late) return false
      throw error
    }
  }

  async function within<T>(startedAt: number, read: () => Promise<T>): Promise<T> {
    const leftMs = Math.max(LEAST_READ_MS, readTimeoutMs - (performance.now() - startedAt))
    const late = () => new BackendError('outage', 'TIMEOUT', `not read within ${Math.round(leftMs)} ms`)
    return withDeadline(read(), leftMs, late)
  }

  return {
    others: (timeoutMs) => coverage.storedByAll({ timeoutMs }),

    async afterOthers(read) {
      const startedAt = performance.now()
      const others = await coverage.storedByAll({ timeoutMs: OTHERS_MS })
      return within(startedAt, () => read(others))
    },

    async read(consistency, read) {
      if (consistency !== 'strong') return read()
      const startedAt = performance.now()
      const [own, others] = await Promise.all([storeOwn(), coverage.storedByAll({ timeoutMs: OTHERS_MS })])
      const missing = own ? others.missing : [instanceId, ...others.missing]
      try {
        return { ...(await within(startedAt, read)), missing_instances: missing }
      } catch (error) {
        throw naming(error, missing)
      }
    },
  }
}
