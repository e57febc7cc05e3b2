/** Where the gauges look: every number that is kept elsewhere, in the form that they want. */
import type { BackendMonitor } from '../backends/monitor.ts'
import type { Ledger } from '../buffer/ledger.ts'
import type { WriteBuffer } from '../buffer/write_buffer.ts'
import type { Census } from '../cluster/census.ts'
import type { DatabaseClock } from '../cluster/clock.ts'
import type { InstanceRegistry } from '../cluster/instances.ts'
import type { MetricSources } from '../telemetry/gauges.ts'

interface Rooms {
  buffer: WriteBuffer
  ledger: Ledger
  census: Census
  clock: DatabaseClock
  registry: InstanceRegistry
  backends(): readonly BackendMonitor[]
  storageBytes: MetricSources['storageBytes']
}

export function metricSources(rooms: Rooms): MetricSources {
  const { buffer, ledger, census, clock, registry, backends, storageBytes } = rooms
  return {
    buffer() {
      const { collections, ...whole } = buffer.status()
      const ageOf = (atMs: number | null) => (atMs === null ? 0 : Math.max(0, clock.nowMs() - atMs) / 1000)
      return {
        ...whole,
        collections: collections.map((one) => ({ ...one, oldestAgeSeconds: ageOf(one.oldestAtMs) })),
      }
    },
    journal() {
      const { failure, faults, sizeBytes } = ledger.status()
      return { failing: failure !== null, faults: faults.length, bytes: sizeBytes }
    },
    cluster: () => ({
      instances: census.counts(),
      clockErrorMs: clock.errorMs(),
      isTaken: registry.isTaken(),
    }),
    pools: () =>
      backends().map(({ backend, state }) => ({
        backend: backend.name,
        up: state() === 'up',
        ...(backend.pool?.() ?? { active: 0, idle: 0, waiting: 0, max: 0 }),
      })),
    storageBytes,
  }
}
