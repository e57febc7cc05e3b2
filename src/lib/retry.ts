interface BackoffOptions {
  baseMs: number
  maxMs: number
  /** 0 ≤ random < 1; injected so that tests own the jitter. */
  random?: () => number
}

/** Exponential delays with full jitter in their upper half: `next()` grows them, `reset()` after a success. */
export function createBackoff(options: BackoffOptions): { nextMs(): number; reset(): void } {
  const random = options.random ?? Math.random
  let attempt = 0
  return {
    nextMs() {
      const ceiling = Math.min(options.maxMs, options.baseMs * 2 ** attempt)
      attempt = Math.min(attempt + 1, 30)
      return Math.round(ceiling / 2 + (random() * ceiling) / 2)
    },
    reset() {
      attempt = 0
    },
  }
}

/** Waits. */
export function pause(ms: number): Promise<void> {
  return new Promise((resume) => setTimeout(resume, ms))
}

/** What `promise` settles with, or undefined where that takes longer; the work itself goes on. */
export async function inTime<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const expired = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, undefined)
  })
  try {
    return await Promise.race([promise, expired])
  } finally {
    clearTimeout(timer)
  }
}

/** Rejects with `onTimeout()` when `promise` has not settled within `timeoutMs`. The work itself goes on. */
export async function withDeadline<T>(
  promise: Promise<T>,
  timeoutMs: number,
  onTimeout: () => Error,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(onTimeout()), timeoutMs)
  })
  try {
    return await Promise.race([promise, deadline])
  } finally {
    clearTimeout(timer)
  }
}
