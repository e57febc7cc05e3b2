/** API.md §10: the printed Python client, run as printed through its printed examples. */
import { expect, test } from 'bun:test'
import { fileURLToPath } from 'node:url'
import { recordBackends } from '../support/backends.ts'
import { instance } from '../support/instance.ts'
import { run } from '../support/processes.ts'
import { findPython } from '../support/python_client.ts'
import { createScene } from '../support/scene.ts'
import type { Item } from '../support/translation_items.ts'

const DRIVER = fileURLToPath(new URL('fixtures/run_api_md_client.py', import.meta.url))
const CLIENT_TIMEOUT_MS = 60_000
const SESSION_ID = '550e8400-e29b-41d4-a716-446655440000'

const python = await findPython()
const missing = 'missing' in python ? python.missing : undefined

interface Answers {
  incomplete: Item[]
  restored: Item & { tasks: Item[] }
  queried: Item
  flushed_again: Item
  complaints: string[]
  missing: null
  complaint_about_missing: string[]
}

for (const backend of recordBackends) {
  test.skipIf(missing !== undefined && process.env.CI !== 'true')(
    `API.md's Python client runs as printed on ${backend.name}${missing ? ` (left out: ${missing})` : ''}`,
    async () => {
      if ('missing' in python) throw new Error(python.missing)
      await using scene = createScene()
      const { env, drop } = await backend.freshEnv()
      scene.defer(drop)
      const service = await scene.start(env)
      const printed = await run([python.path, DRIVER, service.url], CLIENT_TIMEOUT_MS)
      const answers = JSON.parse(printed) as Answers

      expect(answers.complaints).toEqual([])
      expect(answers.incomplete).toMatchObject([
        {
          session_id: SESSION_ID,
          filename: 'game.xlsx',
          status: 'processing',
          total_tasks: 1000,
          completed_tasks: 0,
          failed_tasks: 0,
        },
      ])
      expect(answers.restored).toMatchObject({
        session_id: SESSION_ID,
        session: { session_id: SESSION_ID, file_path: '/uploads/game.xlsx', llm_provider: 'openai' },
        tasks_count: 100,
        restored_tasks_count: 100,
      })
      expect(
        answers.restored.tasks
          .map(({ task_id, row_index, source_text, status }) => [task_id, row_index, source_text, status])
          .sort((a, b) => Number(a[1]) - Number(b[1])),
      ).toEqual(Array.from({ length: 100 }, (_, i) => [`task_${i}`, i, `Text ${i}`, 'pending']))
      expect(answers.queried).toMatchObject({ session_id: SESSION_ID, pending_tasks: 1000, progress: 0 })
      expect(answers.flushed_again).toMatchObject({
        status: 'flushed',
        sessions_written: 0,
        tasks_written: 0,
      })
      expect(answers.missing).toBeNull()
      expect(answers.complaint_about_missing.join()).toContain('404')

      // Its flush_all has stored all of it: nothing waits for a timer.
      expect(await instance(service).balance()).toMatchObject({ accepted: 100, stored: 100, buffered: 0 })
    },
  )
}
