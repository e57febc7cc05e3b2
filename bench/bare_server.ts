/**
 * The least that could accept a batch: Hono, the service's own schema, 202. With `keep` it also holds what it
 * accepted, as parsed objects, which is what a buffer without any thought would do.
 * Usage: bun bench/bare_server.ts PORT [keep]
 */
import { Hono } from 'hono'
import { taskBatch } from '../src/translation/schema.ts'

const [, , port, mode] = process.argv
const kept = new Map<string, unknown>()
const app = new Hono()
app.get('/health', (c) => c.json({ status: 'healthy' }))
app.post('/api/v1/translation/tasks/batch', async (c) => {
  const parsed = taskBatch.safeParse(await c.req.json())
  if (!parsed.success) return c.json({ errors: parsed.error.issues }, 422)
  const { tasks } = parsed.data
  if (mode === 'keep') for (const task of tasks) kept.set(`${task.session_id} ${task.task_id}`, task)
  return c.json({ status: 'accepted', count: tasks.length, timestamp: new Date().toISOString() }, 202)
})
Bun.serve({ hostname: '127.0.0.1', port: Number(port), fetch: app.fetch })
