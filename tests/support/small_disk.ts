/** A disk so small that it gets full: a tmpfs, which takes root to mount. */
import { mkdir } from 'node:fs/promises'

export interface SmallDisk {
  resize(mebibytes: number): void
  unmount(): void
}

function mounted(args: readonly string[]): boolean {
  return Bun.spawnSync(['mount', ...args], { stdout: 'ignore', stderr: 'ignore' }).success
}

/** Makes a folder that holds so much; null where this may not be done. */
export async function smallDisk(folder: string, mebibytes: number): Promise<SmallDisk | null> {
  await mkdir(folder, { recursive: true })
  if (process.getuid?.() !== 0 || Bun.which('mount') === null) return null
  if (!mounted(['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', folder])) return null
  return {
    resize: (size) => void mounted(['-o', `remount,size=${size}m`, folder]),
    unmount: () => void Bun.spawnSync(['umount', '-l', folder]),
  }
}
