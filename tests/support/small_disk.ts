/** A disk so small that it gets full: a tmpfs, which takes root to mount. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface SmallDisk {
  resize(mebibytes: number): void
  /** Also while a failed test has a file of it open. */
  unmount(): void
}

function isMounted(args: readonly string[]): boolean {
  return Bun.spawnSync(['mount', ...args], { stdout: 'ignore', stderr: 'ignore' }).success
}

/** Makes a folder that holds so much. Throws where this user may not mount: ask `smallDisksMissing` before. */
export function smallDisk(folder: string, mebibytes: number): SmallDisk {
  mkdirSync(folder, { recursive: true })
  const mount = (options: string) => {
    if (!isMounted(['-t', 'tmpfs', '-o', options, 'tmpfs', folder])) throw new Error(`${folder}: not mounted`)
  }
  mount(`size=${mebibytes}m`)
  return {
    resize: (size) => mount(`remount,size=${size}m`),
    unmount: () => void Bun.spawnSync(['umount', '-l', folder]),
  }
}

/** Why there can be no small disk here, for the titles of tests that are left out; null where there can. */
export const smallDisksMissing: string | null = (() => {
  if (process.getuid?.() !== 0 || Bun.which('mount') === null) return 'only root can make a small disk'
  const folder = mkdtempSync(join(tmpdir(), 'persistence-disk-'))
  try {
    smallDisk(folder, 1).unmount()
    return null
  } catch {
    return 'nothing may be mounted here'
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})()
