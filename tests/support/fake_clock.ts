/** Processes whose machine's clock is wrong: libfaketime, where it is installed. */
import { existsSync, globSync } from 'node:fs'

const PATHS = [
  '/usr/lib/*/faketime/libfaketimeMT.so.1',
  '/usr/lib64/faketime/libfaketimeMT.so.1',
  '/usr/lib/faketime/libfaketimeMT.so.1',
  '/usr/local/lib/faketime/libfaketimeMT.so.1',
]
const PROBE_SECONDS = 1000
/** A process that starts takes some time. */
const TOLERANCE_SECONDS = 100

/** The environment of a process whose clock is so many seconds ahead (or behind); its monotonic clock is right. */
export type FakeClock = (aheadSeconds: number) => Record<string, string>

/** A clock to set, or why there is none. */
export type FoundFakeClock =
  | { fakeClock: FakeClock; missing?: never }
  | { fakeClock?: never; missing: string }

/** Finds the library and sees whether it works on this runtime. */
export function findFakeClock(): FoundFakeClock {
  const library = PATHS.flatMap((pattern) => globSync(pattern)).find((path) => existsSync(path))
  if (!library) return { missing: 'libfaketime is not installed' }
  const fakeClock: FakeClock = (aheadSeconds) => ({
    LD_PRELOAD: library,
    FAKETIME: `${aheadSeconds < 0 ? '' : '+'}${aheadSeconds}s`,
    DONT_FAKE_MONOTONIC: '1',
  })
  const probe = Bun.spawnSync([process.execPath, '-e', 'console.log(Date.now())'], {
    env: { PATH: process.env.PATH ?? '', ...fakeClock(PROBE_SECONDS) },
  })
  const aheadSeconds = (Number(probe.stdout.toString()) - Date.now()) / 1000
  if (Math.abs(aheadSeconds - PROBE_SECONDS) < TOLERANCE_SECONDS) return { fakeClock }
  return { missing: `${library} does not change this runtime's clock` }
}
