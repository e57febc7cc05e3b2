/** Many owners that reach for one lease through several backends, and whether two ever held it at a time. */
import { type Backend, BackendError } from '../../src/backends/backend.ts'

interface Holding {
  owner: string
  fence: number
  /** The lease was answered. */
  fromMs: number
  /** It was given back, or has run out. */
  untilMs: number
}

const OWNERS_A_BACKEND = 2
/** The database counts in whole milliseconds. */
const RESOLUTION_MS = 2

/** The clock of the backends has to be this machine's. */
export function watchLease(backends: readonly Backend[], { ttlMs }: { ttlMs: number }) {
  const holdings: Holding[] = []
  let stopped = false

  async function reach(backend: Backend, owner: string): Promise<void> {
    const coordination = backend.coordination!
    const mayFail = async <T>(work: Promise<T>): Promise<T | null> => {
      try {
        return await work
      } catch (error) {
        if (error instanceof BackendError) return null // its node may be the one that was ended
        throw error
      }
    }
    for (let turn = 0; !stopped; turn++) {
      const askedMs = Date.now()
      const taken = await mayFail(coordination.takeLease('watched', owner, ttlMs))
      const fromMs = Date.now()
      if (taken) {
        const holding = { owner, fence: taken.fence, fromMs, untilMs: askedMs + ttlMs }
        holdings.push(holding)
        // Kept for a while, and then given back, or left to run out.
        await Bun.sleep(20)
        if (turn % 2 === 0) {
          holding.untilMs = Math.min(holding.untilMs, Date.now())
          await mayFail(coordination.releaseLease('watched', owner))
        }
      }
      await Bun.sleep(taken ? 30 : 5)
    }
  }

  const reaching = Promise.all(
    backends.flatMap((backend, node) =>
      Array.from({ length: OWNERS_A_BACKEND }, (_, i) => reach(backend, `owner-${node}-${i}`)),
    ),
  )
  return {
    /** How often somebody had it so far. */
    taken: () => holdings.length,
    /** Pairs of holdings that overlap, or whose fences don't grow; and how often the holder changed. */
    async stop(): Promise<{ overlaps: [Holding, Holding][]; changes: number }> {
      stopped = true
      await reaching
      const inOrder = holdings
        .filter(({ fromMs, untilMs }) => fromMs < untilMs)
        .sort((a, b) => a.fromMs - b.fromMs)
      const overlaps: [Holding, Holding][] = []
      let changes = 0
      for (const [i, next] of inOrder.entries()) {
        const before = inOrder[i - 1]
        if (!before || before.owner === next.owner) continue
        changes++
        if (next.fromMs + RESOLUTION_MS < before.untilMs || next.fence <= before.fence)
          overlaps.push([before, next])
      }
      return { overlaps, changes }
    },
  }
}
