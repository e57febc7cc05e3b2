/** The health of this instance. */
import { z } from '@hono/zod-openapi'
import { heldBy } from '../buffer/journal.ts'
import type { JournalStatus } from '../buffer/ledger.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import { formatTime } from '../lib/time.ts'

export interface HealthOptions {
  version: string
  instanceId: string
  uptimeMs(): number
  nowMs(): number
  /** Backends by name. */
  backends(): {
    name: string
    type: string
    state: 'starting' | 'up' | 'down'
    latencyMs: number | null
  }[]
  buffer: WriteBuffer['status']
  journal(): JournalStatus
  /** Why this instance may accept nothing, whatever its stores do; null where it may. */
  instanceFault(): string | null
}

const conservation = z
  .object({
    collection: z.string().meta({ example: 'translation_tasks' }),
    accepted: z.int().meta({ description: 'Items that were answered 202.' }),
    transferred_in: z.int().meta({ description: 'Replayed dead letters, and rows of dead instances.' }),
    stored: z.int(),
    merged: z.int().meta({ description: 'Into a newer one of its key, before it was stored.' }),
    voided: z.int().meta({ description: 'By a delete.' }),
    dead_lettered: z.int(),
    transferred_out: z.int().meta({ description: 'Taken over by another instance.' }),
    lost: z.int().meta({ description: 'Records of the journal that could not be read any more.' }),
    buffered: z.int(),
    in_flight: z.int().meta({ description: 'In statements that are under way.' }),
    balanced: z.boolean().meta({
      description:
        'accepted + transferred_in = stored + merged + voided + dead_lettered + transferred_out + lost + buffered + in_flight.',
    }),
  })
  .meta({ id: 'Conservation', description: 'Where the rows went, ever since the journal began.' })

export const healthAnswer = z
  .object({
    status: z.enum(['healthy', 'degraded']).meta({
      description:
        'degraded: a backend is down (writes are accepted, reads may fail), the journal fails or was damaged, or another process has this INSTANCE_ID.',
    }),
    database: z.enum(['healthy', 'unhealthy']),
    buffer: z.object({
      sessions_count: z.int().meta({ example: 150 }),
      tasks_count: z.int().meta({ example: 850 }),
      total_count: z.int().meta({ example: 1000 }),
      capacity: z.int().meta({ description: 'The hard limit, in rows.', example: 200_000 }),
      usage_percent: z.number().meta({ example: 0.5 }),
      last_flush: z.iso.datetime().nullable().meta({ example: '2025-09-30T10:15:00.000Z' }),
      oldest_age_seconds: z
        .number()
        .nullable()
        .meta({ description: 'Age of the oldest row that is not stored yet.', example: 12.3 }),
      failures: z
        .array(z.string())
        .meta({ description: 'Why rows can not be stored for now; empty where all is well.', example: [] }),
      conservation: z.array(conservation),
    }),
    journal: z.object({
      durability: z.enum(['full', 'normal', 'off']),
      status: z.enum(['healthy', 'failing', 'damaged', 'off']).meta({
        description:
          'failing: nothing is accepted until it can be written again. damaged: see `faults`; it works on.',
      }),
      detail: z.string().nullable().meta({ description: 'Why it fails.', example: null }),
      faults: z
        .array(z.string())
        .meta({ description: 'Damage found at the start; the file was kept.', example: [] }),
      bytes: z.int().meta({ example: 1_048_576 }),
    }),
    backends: z.array(
      z.object({
        name: z.string().meta({ example: 'sqlite' }),
        type: z.string().meta({ example: 'sqlite' }),
        status: z.enum(['healthy', 'unhealthy', 'starting']),
        latency_ms: z.number().nullable(),
      }),
    ),
    instance_id: z.string(),
    instance_fault: z.string().nullable().meta({
      description: 'Why this instance may accept nothing: another live process has its INSTANCE_ID.',
      example: null,
    }),
    uptime_seconds: z.int().meta({ example: 86_400 }),
    version: z.string().meta({ example: '1.0.0' }),
  })
  .meta({ id: 'Health' })

/** Stands for a reason where the one who asks may not know it: a database's words name tables and accounts. */
const NOT_TOLD = 'the reason is told at /api/v1/system/health'

/** `reasons` = whether the one who asks may know why something is as it is. */
export function healthOf(
  options: HealthOptions,
  { reasons }: { reasons: boolean },
): z.infer<typeof healthAnswer> {
  const told = (reason: string) => (reasons ? reason : NOT_TOLD)
  const nowMs = options.nowMs()
  const buffer = options.buffer()
  const backends = options.backends()
  const { loading } = options.journal()
  const journal = journalOf(options, told)
  const instanceFault = options.instanceFault()
  const failures = buffer.collections.flatMap(({ collection, failure, parked }) => [
    ...(failure === null ? [] : [`${collection}: ${told(failure)}`]),
    ...(parked === 0
      ? []
      : [`${collection}: ${parked} refused rows stay buffered: too many dead letters, or too large for one`]),
  ])
  const isStoring = failures.length === 0
  const allUp = backends.every(({ state }) => state === 'up')
  const rowsOf = (name: string) => buffer.collections.find(({ collection }) => collection === name)?.rows ?? 0
  const oldest = Math.min(
    ...buffer.collections.map(({ oldestAtMs }) => oldestAtMs ?? Number.POSITIVE_INFINITY),
  )
  return {
    status:
      allUp &&
      isStoring &&
      instanceFault === null &&
      (journal.status === 'healthy' || journal.status === 'off')
        ? 'healthy'
        : 'degraded',
    database: allUp ? 'healthy' : 'unhealthy',
    buffer: {
      sessions_count: rowsOf('translation_sessions'),
      tasks_count: rowsOf('translation_tasks'),
      total_count: buffer.rows,
      capacity: buffer.capacityRows,
      usage_percent: Math.round((buffer.rows / buffer.capacityRows) * 1000) / 10,
      last_flush: buffer.lastFlushAtMs === null ? null : formatTime(buffer.lastFlushAtMs),
      oldest_age_seconds: Number.isFinite(oldest) ? Math.max(0, nowMs - oldest) / 1000 : null,
      failures,
      conservation: buffer.collections.map(({ collection, rows, inFlight, counts }) => ({
        collection,
        ...counts,
        buffered: (loading ? heldBy(counts) : rows) - inFlight,
        in_flight: inFlight,
        // While a journal is read, the rows that are still in it count as well.
        balanced: loading || heldBy(counts) === rows,
      })),
    },
    journal,
    backends: backends.map(({ name, type, state, latencyMs }) => ({
      name,
      type,
      status: state === 'up' ? 'healthy' : state === 'down' ? 'unhealthy' : 'starting',
      latency_ms: latencyMs === null ? null : Math.round(latencyMs * 100) / 100,
    })),
    instance_id: options.instanceId,
    instance_fault: instanceFault,
    uptime_seconds: Math.floor(options.uptimeMs() / 1000),
    version: options.version,
  }
}

function journalOf(
  options: HealthOptions,
  told: (reason: string) => string,
): z.infer<typeof healthAnswer>['journal'] {
  const { durability, failure, faults, sizeBytes } = options.journal()
  const working = faults.length > 0 ? 'damaged' : 'healthy'
  const status = durability === 'off' && faults.length === 0 ? 'off' : failure !== null ? 'failing' : working
  return {
    durability,
    status,
    detail: failure === null ? null : told(failure),
    faults: faults.map(told),
    bytes: sizeBytes,
  }
}
