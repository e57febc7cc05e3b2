import { describe, expect, test } from 'bun:test'
import { BackendError, type FailureKind } from '../../src/backends/backend.ts'
import { repeatingConflicts } from '../../src/backends/mysql/conflicts.ts'

const failure = (kind: FailureKind) => new BackendError(kind, '1213', 'words')

/** Fails with these kinds, one call after the other, and then answers. */
function work(...kinds: FailureKind[]) {
  const leftMs: number[] = []
  return {
    leftMs,
    async call(left: number) {
      leftMs.push(left)
      const kind = kinds[leftMs.length - 1]
      if (kind) throw failure(kind)
      return 'done'
    },
  }
}

describe('a transaction that a conflict rolled back', () => {
  test('is tried again, each time with what is left of its time', async () => {
    const { call, leftMs } = work('conflict', 'conflict', 'conflict')
    expect(await repeatingConflicts(5000, call)).toBe('done')
    expect(leftMs).toHaveLength(4)
    expect(leftMs[0]).toBe(5000)
    expect(leftMs).toEqual(leftMs.toSorted((a, b) => b - a))
  })

  test('is given up when it loses again and again', async () => {
    const { call, leftMs } = work(...Array.from({ length: 50 }, () => 'conflict' as const))
    expect(await repeatingConflicts(60_000, call).catch((error) => error)).toMatchObject({
      kind: 'conflict',
      code: '1213',
    })
    expect(leftMs.length).toBeGreaterThan(3)
    expect(leftMs.length).toBeLessThan(50)
  })

  test('is not tried past its time', async () => {
    const { call, leftMs } = work('conflict')
    expect(await repeatingConflicts(1, call).catch((error) => error)).toMatchObject({
      kind: 'conflict',
      code: '1213',
    })
    expect(leftMs).toHaveLength(1)
  })

  test('is the only one that is repeated: what may have been executed is not', async () => {
    for (const kind of ['outage', 'refused', 'too_large', 'unknown'] as const) {
      const { call, leftMs } = work(kind)
      expect(await repeatingConflicts(5000, call).catch((error) => error)).toMatchObject({
        kind,
        code: '1213',
      })
      expect(leftMs).toHaveLength(1)
    }
  })
})
