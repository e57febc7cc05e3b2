/** What a front end does: generates types from the spec, compiles a program with them strictly, and runs it. */
import { existsSync } from 'node:fs'
import { copyFile, mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { cacheFolder, inherit, install, inTurn, type Subject } from './tool.ts'

const GENERATOR = 'openapi-typescript@7.13.0'
/** The generator, the client that uses what it makes, and the newest compiler that the generator works with. */
const PACKAGES = [GENERATOR, 'openapi-fetch@0.17.0', 'typescript@5.9.3']
const SOURCES = new URL('clients/typescript/', import.meta.url)

export async function runTypescript({ url, specUrl, key }: Subject): Promise<number> {
  const folder = cacheFolder(GENERATOR.replace('@', '-'))
  await mkdir(folder, { recursive: true })
  // npm writes this file when all is there.
  if (!existsSync(`${folder}/node_modules/.package-lock.json`)) {
    await install(['npm', 'install', '--silent', '--no-save', '--prefix', folder, ...PACKAGES])
  }
  for (const name of ['story.ts', 'shapes.ts', 'tsconfig.json']) {
    await copyFile(fileURLToPath(new URL(name, SOURCES)), `${folder}/${name}`)
  }
  const programs = `${folder}/node_modules/.bin`
  return inTurn([
    () => inherit([`${programs}/openapi-typescript`, specUrl, '--output', `${folder}/openapi.d.ts`]),
    () => inherit([`${programs}/tsc`, '--project', folder]),
    // The project's own compiler is the next one that front ends will have.
    () => inherit(['node_modules/.bin/tsc', '--project', folder]),
    () => inherit([process.execPath, 'story.ts'], { folder, env: { SERVICE_URL: url, API_KEY: key } }),
  ])
}
