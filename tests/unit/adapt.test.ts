import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { createBatchSize } from '../../src/buffer/adapt.ts'

/** The documents' numbers. */
const DOCUMENTED = { startRows: 1000, minRows: 500, maxRows: 5000, stepRows: 100, slowMs: 2000, fastMs: 500 }

test('the batch grows by a step after a fast one, shrinks after a slow one, and stays in between', () => {
  const batch = createBatchSize(DOCUMENTED)
  expect(batch.rows()).toBe(1000)
  batch.observe(499)
  expect(batch.rows()).toBe(1100)
  batch.observe(500)
  batch.observe(2000)
  expect(batch.rows()).toBe(1100)
  batch.observe(2001)
  batch.observe(60_000)
  expect(batch.rows()).toBe(900)
})

test('the batch never leaves its bounds', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 200 }), (durations) => {
      const batch = createBatchSize(DOCUMENTED)
      for (const durationMs of durations) {
        batch.observe(durationMs)
        expect(batch.rows()).toBeGreaterThanOrEqual(500)
        expect(batch.rows()).toBeLessThanOrEqual(5000)
      }
    }),
  )
  const batch = createBatchSize(DOCUMENTED)
  for (let n = 0; n < 100; n++) batch.observe(1)
  expect(batch.rows()).toBe(5000)
  for (let n = 0; n < 100; n++) batch.observe(9999)
  expect(batch.rows()).toBe(500)
})

test('the batch starts within its bounds, whatever it is told', () => {
  expect(createBatchSize({ ...DOCUMENTED, startRows: 1 }).rows()).toBe(500)
  expect(createBatchSize({ ...DOCUMENTED, startRows: 100_000 }).rows()).toBe(5000)
})
