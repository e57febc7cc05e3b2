/** What root does in a folder of somebody else: no more than that user may. */
import { lstatSync, readlinkSync, type Stats, statSync } from 'node:fs'
import { dirname, isAbsolute } from 'node:path'
import { KeysError } from './failure.ts'

/** As the system does. */
const MAX_LINKS = 40

/**
 * Does `work` with the file that a path leads to, link by link. Root does it as the user who could have laid
 * one of these links, or can change their folders meanwhile: what is planted there then reaches no further
 * than who planted it.
 */
export function asOwner<T>(path: string, work: (target: string) => T): T {
  const { target, owner } = follow(path)
  if (!isRoot() || owner.uid === 0) return work(target)
  const before = { group: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] }
  process.setgroups?.([owner.gid])
  process.setegid?.(groupOfFile(target, owner.uid) ?? owner.gid)
  process.seteuid?.(owner.uid)
  try {
    return work(target)
  } finally {
    process.seteuid?.(0)
    process.setegid?.(before.group)
    process.setgroups?.(before.groups)
  }
}

/** Whether what is done now is done as root. */
export function isRoot(): boolean {
  return process.geteuid?.() === 0
}

/**
 * `owner` is the first on the way who is not root, or that of the last folder. Link by link, as `realpath` of
 * Bun finds nothing where a file is replaced meanwhile.
 */
function follow(path: string): { target: string; owner: Stats } {
  let target = path
  let owner: Stats | null = null
  for (let links = 0; links < MAX_LINKS; links++) {
    const folder = statSync(dirname(target))
    const found = lstatSync(target, { throwIfNoEntry: false })
    const isLink = found?.isSymbolicLink()
    owner ??= [folder, ...(isLink ? [found!] : [])].find(({ uid }) => uid !== 0) ?? null
    if (!isLink) return { target, owner: owner ?? folder }
    const to = readlinkSync(target)
    target = isAbsolute(to) ? to : `${dirname(target)}/${to}`
  }
  throw new KeysError(`${path} is a link that leads through too many others`)
}

/** The group of a file of this user, which is to keep it; null for anything else. */
function groupOfFile(path: string, uid: number): number | null {
  const found = lstatSync(path, { throwIfNoEntry: false })
  return found?.isFile() && found.uid === uid ? found.gid : null
}
