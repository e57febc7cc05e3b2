/** `bun run replay` against a live service, with the sample that comes with the project. */
import { expect, test } from 'bun:test'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { ReplayReport } from '../../tools/replay/report.ts'
import { recordBackends, sqlServers } from '../support/backends.ts'
import { instance } from '../support/instance.ts'
import { createScene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SAMPLE = 'tools/replay/sample.jsonl'
const REPLAY_TIMEOUT_MS = 40_000

const sample = (await readFile(`${ROOT}${SAMPLE}`, 'utf8')).trim().split('\n')

for (const backend of recordBackends) {
  test(`replay of the sample on ${backend.name} ends with 0: every string is stored byte for byte`, async () => {
    await using scene = createScene()
    const { env, drop } = await backend.freshEnv()
    scene.defer(drop)
    const service = await scene.start({ ...env, FLUSH_INTERVAL: '1' })
    const { code, report, errors } = await replay(service, [])
    expect({ code, first: report.first_differences, errors: code === 0 ? '' : errors }).toEqual({
      code: 0,
      first: [],
      errors: '',
    })
    expect(report).toMatchObject({
      differences: 0,
      rows_sent: sample.length,
      rows_skipped: 0,
      tasks_compared: sample.length,
    })
    expect(report.strings_compared).toBeGreaterThan(sample.length * 2)
    expect(await instance(service).balance()).toMatchObject({
      accepted: 3 * sample.length,
      dead_lettered: 0,
      buffered: 0,
    })

    // Again, dealt to more sessions than there are sheets, in many small requests.
    const dealt = await replay(service, ['--sessions', '9', '--batch', '7', '--connections', '3'])
    expect(dealt.code).toBe(0)
    expect(dealt.report).toMatchObject({ sessions: 9, differences: 0, tasks_compared: sample.length })
  })
}

for (const server of sqlServers) {
  test(`replay is not blind: what ${server} damages on the way in makes it end with 1, and is named`, async () => {
    await using scene = createScene()
    const database = await scene.database(server)
    const service = await scene.start({ DATABASE_URL: database.url })
    await database.query(
      `CREATE TRIGGER damage BEFORE INSERT ON translation_tasks FOR EACH ROW
         SET NEW.target_text = IF(NEW.row_index % 2 = 0, CONCAT(NEW.target_text, ' '), NEW.target_text)`,
    )
    const { code, report } = await replay(service, [])
    expect(code).toBe(1)
    expect(report.differences).toBeGreaterThan(0)
    expect(report.first_differences.every(({ field }) => field === 'target_text')).toBe(true)
  })
}

async function replay(
  service: Service,
  args: string[],
): Promise<{ code: number; report: ReplayReport; errors: string }> {
  const child = Bun.spawn(
    [process.execPath, 'run', '--silent', 'replay', SAMPLE, '--url', service.url, '--json', ...args],
    { cwd: ROOT, stdin: 'ignore', stdout: 'pipe', stderr: 'pipe', timeout: REPLAY_TIMEOUT_MS },
  )
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  if (out === '') throw new Error(`replay ended with ${code} and without a report\n${errors}`)
  return { code, report: JSON.parse(out), errors }
}
