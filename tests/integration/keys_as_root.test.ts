/** `bun run keys` as root, in a folder of a user who lays traps for it. */
import { describe, expect, test } from 'bun:test'
import { chmod, chown, lchown, link, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hashOf } from '../../src/auth/key_line.ts'
import { runKeys } from '../support/keys_command.ts'
import { createScene, type Scene } from '../support/scene.ts'

const isRoot = process.getuid?.() === 0
/** Whose folder it is, and who is neither that one nor root. */
const OWNER = 12_345
const OTHER = 23_456
const CREATE = 'create web --scopes *:read'
const VICTIM = `victim sha256:${hashOf('victim')} *:read\n`

/** A folder that all users may enter, with one of OWNER and one of root in it. */
async function places(scene: Scene) {
  const all = await scene.folder()
  await chmod(all, 0o755)
  const theirs = join(all, 'theirs')
  const ours = join(all, 'ours')
  for (const folder of [theirs, ours]) await mkdir(folder)
  await chown(theirs, OWNER, OWNER + 1)
  return { theirs, ours }
}

async function plantLink(to: string, at: string): Promise<void> {
  await symlink(to, at)
  await lchown(at, OWNER, OWNER)
}

async function plantVictim(path: string, owner: number): Promise<void> {
  await writeFile(path, VICTIM)
  await chown(path, owner, owner)
}

async function expectUntouched(path: string, owner: number): Promise<void> {
  const { uid, gid } = await stat(path)
  expect([uid, gid, await readFile(path, 'utf8')]).toEqual([owner, owner, VICTIM])
  expect(await Bun.file(`${path}.lock`).exists()).toBe(false)
}

async function expectRefused(DATA_DIR: string, message: string): Promise<void> {
  const { code, stdout, stderr } = await runKeys(CREATE, { DATA_DIR })
  expect([code, stdout, stderr]).toEqual([1, '', expect.stringContaining(message)])
}

describe.skipIf(!isRoot)(`root${isRoot ? '' : ' (needs root)'}`, () => {
  test('makes the file for the owner of its folder, and leaves its group as it was', async () => {
    await using scene = createScene()
    const { theirs } = await places(scene)
    for (let i = 0; i < 2; i++) expect((await runKeys(CREATE, { DATA_DIR: theirs })).code).toBe(0)
    for (const name of ['api_keys', 'api_keys.lock']) {
      const { uid, gid } = await stat(join(theirs, name))
      expect([name, uid, gid]).toEqual([name, OWNER, OWNER + 1])
    }
    await chown(join(theirs, 'api_keys'), OWNER, OTHER)
    expect((await runKeys(CREATE, { DATA_DIR: theirs })).code).toBe(0)
    expect(await stat(join(theirs, 'api_keys'))).toMatchObject({ uid: OWNER, gid: OTHER })
  })

  test('leaves a file in its own folder to the service that owns it', async () => {
    await using scene = createScene()
    const { ours } = await places(scene)
    await plantVictim(join(ours, 'api_keys'), OWNER)
    expect((await runKeys(CREATE, { DATA_DIR: ours })).code).toBe(0)
    expect(await stat(join(ours, 'api_keys'))).toMatchObject({ uid: OWNER, gid: OWNER })
  })

  test('does nothing in a folder that its owner may not do there', async () => {
    await using scene = createScene()
    const { theirs } = await places(scene)
    await chmod(theirs, 0o500)
    await expectRefused(theirs, "can't be written (EACCES)")
  })

  test.each(['theirs', 'ours'] as const)('follows no link in the place of the lock, in %s', async (where) => {
    await using scene = createScene()
    const folders = await places(scene)
    const victim = join(folders.ours, 'victim')
    await plantVictim(victim, OTHER)
    await chmod(folders.ours, 0o777)
    await plantLink(victim, join(folders[where], 'api_keys.lock'))
    await expectRefused(folders[where], "can't be written (ELOOP)")
    await expectUntouched(victim, OTHER)
  })

  test('gives away no file that has another name too, and waits for no pipe', async () => {
    await using scene = createScene()
    const { theirs, ours } = await places(scene)
    const victim = join(ours, 'victim')
    await plantVictim(victim, OTHER)
    await link(victim, join(ours, 'api_keys.lock'))
    await expectRefused(ours, 'is not a file of its own')
    await expectUntouched(victim, OTHER)
    await Bun.$`mkfifo -m 666 ${join(theirs, 'api_keys.lock')}`
    await expectRefused(theirs, 'is not a file of its own')
  })

  test.each([
    ['root', 0],
    ['a third user', OTHER],
  ])("changes no file of %s through somebody's link in the place of the keys", async (_, owner) => {
    await using scene = createScene()
    const { theirs, ours } = await places(scene)
    const victim = join(ours, 'victim')
    await plantVictim(victim, owner)
    await plantLink(victim, join(theirs, 'api_keys'))
    await expectRefused(theirs, 'belongs to another user')
    await expectUntouched(victim, owner)
    // Its own link leads through one of theirs.
    await symlink(join(theirs, 'api_keys'), join(ours, 'api_keys'))
    await expectRefused(ours, 'belongs to another user')
    await expectUntouched(victim, owner)
  })

  test('takes a link in a folder where all may write for that of who laid it', async () => {
    await using scene = createScene()
    const { ours } = await places(scene)
    const inner = join(ours, 'inner')
    await mkdir(inner)
    const victim = join(inner, 'victim')
    await plantVictim(victim, OTHER)
    await chmod(ours, 0o777)
    await plantLink(victim, join(ours, 'api_keys'))
    await expectRefused(ours, 'belongs to another user')
    await expectUntouched(victim, OTHER)
  })
})
