/** Metrics: the documented names, well-formed, with bounded labels, and figures that follow what happens. */
import { beforeAll, describe, expect, test } from 'bun:test'
import { onEachBackend, rawRequest } from '../support/in_process.ts'
import {
  BASE,
  freshId,
  sessionItem,
  sessionPath,
  taskItems,
  translation,
} from '../support/translation_data.ts'
import { until } from '../support/waiting.ts'

interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

interface Exposition {
  types: Map<string, string>
  helps: Map<string, string>
  samples: Sample[]
}

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (NaN|[+-]Inf|[-+.\deE]+)$/
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y

/** The text format of Prometheus; throws at anything that is not. */
function parse(text: string): Exposition {
  const found: Exposition = { types: new Map(), helps: new Map(), samples: [] }
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line)
    if (comment) {
      const kind = comment[1] === 'HELP' ? found.helps : found.types
      if (kind.has(comment[2]!)) throw new Error(`twice: ${line}`)
      kind.set(comment[2]!, comment[3]!)
      continue
    }
    const sample = SAMPLE.exec(line)
    if (!sample) throw new Error(`no sample: ${line}`)
    found.samples.push({
      name: sample[1]!,
      labels: labelsOf(sample[2] ?? '', line),
      value: Number(sample[3]),
    })
  }
  return found
}

function labelsOf(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {}
  LABEL.lastIndex = 0
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text)
    if (!match) throw new Error(`bad labels: ${line}`)
    labels[match[1]!] = match[2]!
  }
  return labels
}

/** Name, type, and the labels that every sample of it has: API.md §7.2, ARCHITECTURE_V2 §8.1, REQUIREMENTS_V2 §6.3. */
const DOCUMENTED: readonly [name: string, type: string, labels: readonly string[]][] = [
  ['persistence_api_requests_total', 'counter', ['endpoint', 'method']],
  ['persistence_api_duration_seconds', 'histogram', ['endpoint', 'method']],
  ['persistence_api_errors_total', 'counter', ['error_code']],
  ['persistence_buffer_size', 'gauge', ['type']],
  ['persistence_buffer_usage_ratio', 'gauge', []],
  ['persistence_flush_total', 'counter', []],
  ['persistence_flush_duration_seconds', 'histogram', []],
  ['persistence_storage_operations_total', 'counter', ['backend', 'operation']],
  ['persistence_storage_duration_seconds', 'histogram', ['backend', 'operation']],
  ['persistence_storage_errors_total', 'counter', ['backend', 'operation']],
  ['persistence_sessions_total', 'counter', ['status']],
  ['persistence_tasks_total', 'counter', ['status']],
  ['persistence_data_loss_total', 'counter', []],
  ['persistence_rows_total', 'counter', ['collection', 'outcome']],
  ['persistence_queries_total', 'counter', ['type', 'collection']],
  ['persistence_storage_bytes', 'gauge', ['backend']],
  ['persistence_restores_total', 'counter', ['result']],
  ['persistence_pool_connections', 'gauge', ['backend', 'state']],
  ['persistence_pool_usage_ratio', 'gauge', ['backend']],
  ['persistence_backend_up', 'gauge', ['backend']],
  ['persistence_buffer_oldest_age_seconds', 'gauge', ['type']],
  ['nodejs_eventloop_lag_seconds', 'gauge', []],
  ['process_resident_memory_bytes', 'gauge', []],
  ['process_cpu_seconds_total', 'counter', []],
  ['process_start_time_seconds', 'gauge', []],
]

onEachBackend('metrics', {}, (on) => {
  const api = translation(on)
  const metrics = async () => parse((await on.http.get('/api/v1/system/metrics')).text)
  /** The sum of the samples of that name with these labels. */
  const sum = ({ samples }: Exposition, name: string, labels: Record<string, string> = {}) =>
    samples
      .filter(
        (each) =>
          each.name === name &&
          Object.entries(labels).every(([label, value]) => each.labels[label] === value),
      )
      .reduce((total, { value }) => total + value, 0)
  /** What an action adds to a metric. */
  async function added(
    name: string,
    labels: Record<string, string>,
    action: () => Promise<unknown>,
  ): Promise<number> {
    const before = sum(await metrics(), name, labels)
    await action()
    return sum(await metrics(), name, labels) - before
  }

  beforeAll(async () => {
    const id = freshId()
    await api.store([sessionItem(id)], taskItems(id, 5))
    await api.restore(id)
    await api.session('nobody')
  })

  test('are in the text format, each with its help and its type', async () => {
    const answer = await on.http.get('/api/v1/system/metrics')
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; ?version=0\.0\.4/)
    const { types, helps, samples } = parse(answer.text)
    expect([...types.keys()].sort()).toEqual([...helps.keys()].sort())
    const orphans = samples.filter(
      ({ name }) => !types.has(name) && !types.has(name.replace(/_(bucket|sum|count)$/, '')),
    )
    expect(orphans).toEqual([])
    const keys = samples.map(({ name, labels }) => `${name} ${JSON.stringify(Object.entries(labels).sort())}`)
    expect(keys.length).toBe(new Set(keys).size)
  })

  for (const [name, type, labels] of DOCUMENTED) {
    test(`${name} is a ${type} by ${labels.join(', ') || 'nothing'}`, async () => {
      const { types, samples } = await metrics()
      expect(types.get(name)).toBe(type)
      const own = samples.filter((sample) => sample.name.replace(/_(bucket|sum|count)$/, '') === name)
      for (const sample of own) expect(Object.keys(sample.labels)).toContainValues([...labels])
      // Nothing has failed yet; an embedded store has no pool.
      const mayBeEmpty = ['persistence_storage_errors_total', 'persistence_pool_usage_ratio']
      if (!mayBeEmpty.includes(name)) expect(own.length).toBeGreaterThan(0)
    })
  }

  test('histograms count upwards to +Inf', async () => {
    const { samples, types } = await metrics()
    for (const [name] of [...types].filter(([, type]) => type === 'histogram')) {
      const series = Map.groupBy(
        samples.filter((sample) => sample.name === `${name}_bucket`),
        ({ labels: { le, ...rest } }) => JSON.stringify(rest),
      )
      for (const [rest, buckets] of series) {
        const values = buckets.map(({ value }) => value)
        expect(values).toEqual(values.toSorted((a, b) => a - b))
        expect(buckets.at(-1)!.labels.le).toBe('+Inf')
        const count = samples.find(
          (sample) => sample.name === `${name}_count` && JSON.stringify(sample.labels) === rest,
        )
        expect(values.at(-1)).toBe(count!.value)
      }
    }
  })

  describe('labels are bounded', () => {
    test('endpoints are patterns, whatever is asked for', async () => {
      for (let i = 0; i < 20; i++) {
        const id = `secret-${i}`
        await on.http.get(sessionPath(id))
        await on.http.get(sessionPath(id, '/tasks'))
        await on.http.get(`${BASE}/tasks/${id}`)
        await on.http.get(`/nothing/${id}`)
        await on.http.put(sessionPath(id))
        await rawRequest(on.url, { method: 'PROPFIND', target: `/x/${id}` })
      }
      const { samples } = await metrics()
      const endpoints = new Set(samples.flatMap(({ labels }) => labels.endpoint ?? []))
      for (const endpoint of endpoints) expect(endpoint).not.toContain('secret')
      expect(endpoints).toContain(`${BASE}/sessions/{session_id}`)
      expect(endpoints).toContain(`${BASE}/sessions/{session_id}/tasks`)
      expect(endpoints).toContain(`${BASE}/tasks/{task_id}`)
      const methods = new Set(samples.flatMap(({ labels }) => labels.method ?? []))
      for (const method of methods) expect(method).not.toBe('PROPFIND')
    })
  })

  describe('follow what happens', () => {
    const tasksEndpoint = { endpoint: `${BASE}/tasks/batch`, method: 'POST' }

    test('requests are counted by endpoint and method, and timed', async () => {
      const post = () => api.postTasks(taskItems(freshId(), 1))
      expect(await added('persistence_api_requests_total', tasksEndpoint, post)).toBe(1)
      expect(await added('persistence_api_duration_seconds_count', tasksEndpoint, post)).toBe(1)
      expect(await added('persistence_api_requests_total', { method: 'GET' }, post)).toBe(1) // the scrape itself
    })

    test('errors are counted by their code', async () => {
      const bad = () => api.sessions({ page: 0 })
      expect(await added('persistence_api_errors_total', { error_code: 'VALIDATION_FAILED' }, bad)).toBe(1)
      const none = () => on.http.get('/nothing')
      expect(await added('persistence_api_errors_total', { error_code: 'NOT_FOUND' }, none)).toBe(1)
    })

    test('the buffer’s size is what is buffered', async () => {
      await api.flush()
      const id = freshId()
      await api.postSessions([sessionItem(id), sessionItem(freshId())])
      await api.postTasks(taskItems(id, 7))
      const held = await metrics()
      expect(sum(held, 'persistence_buffer_size', { type: 'session' })).toBe(2)
      expect(sum(held, 'persistence_buffer_size', { type: 'task' })).toBe(7)
      expect(sum(held, 'persistence_buffer_usage_ratio')).toBeCloseTo(9 / 200_000, 9)
      await api.flush()
      expect(sum(await metrics(), 'persistence_buffer_size')).toBe(0)
    })

    test('flushes, rows and statuses are counted', async () => {
      await api.flush()
      const items = [...taskItems(freshId(), 3, { status: 'completed' }), ...taskItems(freshId(), 2)]
      const write = async () => {
        await api.postTasks(items)
        await api.flush()
      }
      const collection = 'translation_tasks'
      expect(await added('persistence_flush_total', {}, write)).toBe(1)
      expect(await added('persistence_flush_duration_seconds_count', {}, write)).toBe(1)
      expect(await added('persistence_tasks_total', { status: 'completed' }, write)).toBe(3)
      expect(await added('persistence_rows_total', { collection, outcome: 'accepted' }, write)).toBe(5)
      expect(await added('persistence_rows_total', { collection, outcome: 'stored' }, write)).toBe(5)
      expect(await added('persistence_data_loss_total', {}, write)).toBe(0)
    })

    test('operations of the backend are counted by what they are', async () => {
      const backend = on.store.kind
      await api.postTasks(taskItems(freshId(), 1))
      expect(
        await added('persistence_storage_operations_total', { backend, operation: 'write' }, api.flush),
      ).toBe(1)
      const read = () => api.task('task_0')
      expect(
        await added('persistence_storage_operations_total', { backend, operation: 'query' }, read),
      ).toBeGreaterThan(0)
      const list = () => api.sessions()
      expect(
        await added('persistence_queries_total', { type: 'query', collection: 'translation_sessions' }, list),
      ).toBe(1)
    })

    test('restores are counted by their result', async () => {
      const id = freshId()
      await api.store([sessionItem(id)])
      expect(await added('persistence_restores_total', { result: 'ok' }, () => api.restore(id))).toBe(1)
      expect(await added('persistence_restores_total', { result: 'ok' }, () => api.restore('nobody'))).toBe(0)
    })

    test('the backend is up, and its storage has a size', async () => {
      expect(sum(await metrics(), 'persistence_backend_up', { backend: on.store.kind })).toBe(1)
      await until(
        async () => sum(await metrics(), 'persistence_storage_bytes', { backend: on.store.kind }) > 0,
        {
          message: 'the size of the storage',
        },
      )
    })
  })
})
