/** What a back end in Python does: generates a client from the spec, checks a program with it, and runs it. */
import { existsSync } from 'node:fs'
import { copyFile, mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { cacheFolder, inherit, installPython, inTurn, type Subject } from './tool.ts'

const VERSION = '0.29.1'
const CHECKER = 'mypy==2.4.1'
const STORY = fileURLToPath(new URL('clients/python/story.py', import.meta.url))
const PACKAGE = 'persistence_client'

export async function runPython({ url, specUrl, key }: Subject): Promise<number> {
  const folder = cacheFolder(`openapi-python-client-${VERSION}`)
  const programs = `${folder}/bin`
  if (!existsSync(`${programs}/mypy`)) {
    await installPython(folder, [`openapi-python-client==${VERSION}`, CHECKER])
  }
  const work = `${folder}/work`
  await mkdir(work, { recursive: true })
  await copyFile(STORY, `${work}/story.py`)
  const run = (command: readonly string[]) =>
    inherit(command, {
      folder: work,
      // The generator formats what it makes with the ruff that it finds there.
      env: { PATH: `${programs}:${process.env.PATH ?? ''}`, SERVICE_URL: url, API_KEY: key },
    })
  // biome-ignore format: options in pairs
  return inTurn([
    () => run([
      `${programs}/openapi-python-client`, 'generate', '--url', specUrl, '--output-path', PACKAGE,
      '--meta', 'none', '--overwrite', '--fail-on-warning',
    ]),
    // Faults of the generator's own client.py are not ours.
    () => run([
      `${programs}/mypy`, '--strict', '--follow-imports=silent', '--no-error-summary',
      '-m', 'story', '-p', `${PACKAGE}.api`, '-p', `${PACKAGE}.models`,
    ]),
    () => run([`${programs}/python`, 'story.py']),
  ])
}
