/** Who may know why. */
import { expect, test } from 'bun:test'
import { type HealthOptions, healthOf } from '../../src/system/health.ts'

const REASON = "Table 'games.translation_tasks' doesn't exist"

const options = {
  version: '1.0.0',
  instanceId: 'instance-a',
  uptimeMs: () => 1000,
  nowMs: () => 0,
  backends: () => [],
  buffer: () => ({
    rows: 0,
    capacityRows: 1,
    lastFlushAtMs: null,
    collections: [
      {
        collection: 'translation_tasks',
        failure: REASON,
        parked: 0,
        rows: 0,
        inFlight: 0,
        oldestAtMs: null,
        counts: {},
      },
    ],
  }),
  journal: () => ({ durability: 'full', failure: REASON, faults: [REASON], sizeBytes: 0, loading: true }),
  instanceFault: () => null,
} as unknown as HealthOptions

test('a failure is told to everybody, its reason to those who may read the system', () => {
  const told = healthOf(options, { reasons: true })
  expect(told.buffer.failures).toEqual([`translation_tasks: ${REASON}`])
  expect(told.journal).toMatchObject({ status: 'failing', detail: REASON, faults: [REASON] })
  const open = healthOf(options, { reasons: false })
  expect(open.buffer.failures).toEqual(['translation_tasks: the reason is told at /api/v1/system/health'])
  expect(open.journal).toMatchObject({ status: 'failing' })
  expect(open.journal.faults).toHaveLength(1)
  expect(JSON.stringify(open)).not.toContain('games')
})
