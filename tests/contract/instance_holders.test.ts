import { beforeEach, expect, test } from 'bun:test'
import type { Coordination, InstanceHolder } from '../../src/backends/coordination.ts'
import { onEachBackend } from '../support/contract_backends.ts'
import { until } from '../support/waiting.ts'

const LONG_MS = 60_000

onEachBackend('who speaks for an instance', 'coordination', (store) => {
  let instanceId: string
  beforeEach(() => {
    instanceId = `instance-${crypto.randomUUID()}`
  })
  const coordination = (): Coordination => store().backend.coordination!
  const holder = (token: string, volume = `volume of ${token}`): InstanceHolder => ({
    instanceId,
    volume,
    token,
  })
  const start = (one: InstanceHolder, ttlMs = LONG_MS) =>
    coordination().holdInstance(one, { ttlMs, hasStarted: true })
  const renew = (one: InstanceHolder, ttlMs = LONG_MS) =>
    coordination().holdInstance(one, { ttlMs, hasStarted: false })

  test('is the first that comes, for as long as it renews it, and no other', async () => {
    expect(await start(holder('a'))).toBe(true)
    expect(await start(holder('b'))).toBe(false)
    expect(await renew(holder('a'))).toBe(true)
    expect(await start(holder('b'))).toBe(false)
  })

  test('is another once its time has run out; the one before is told so at its next sign', async () => {
    await start(holder('a'), 50)
    expect(await until(() => renew(holder('b')), { message: 'the time runs out' })).toBe(true)
    expect(await renew(holder('a'))).toBe(false)
    expect(await renew(holder('b'))).toBe(true)
  })

  test('goes on when its own time has run out and nobody came', async () => {
    await start(holder('a'), 1)
    const expired = (await coordination().now()) + 5
    await until(async () => (await coordination().now()) > expired, { message: 'it ran out' })
    expect(await renew(holder('a'))).toBe(true)
    expect(await start(holder('b'))).toBe(false)
  })

  test('is, at once, whoever starts on the same volume; whoever was there before does not take it back', async () => {
    await start(holder('a', 'v'))
    expect(await start(holder('b', 'v'))).toBe(true)
    expect(await renew(holder('a', 'v'))).toBe(false)
    expect(await renew(holder('b', 'v'))).toBe(true)
    expect(await start(holder('c', 'V'))).toBe(false)
  })

  test('is nobody after a release by the one that did; the release of another changes nothing', async () => {
    await start(holder('a'))
    await coordination().releaseInstance(holder('b'))
    expect(await start(holder('b'))).toBe(false)
    await coordination().releaseInstance(holder('a'))
    expect(await start(holder('b'))).toBe(true)
  })

  test('is told for each instance apart', async () => {
    await start(holder('a'))
    expect(await start({ ...holder('b'), instanceId: `${instanceId}-2` })).toBe(true)
  })

  test('is exactly one of many that start at once on volumes of their own', async () => {
    const others = await Promise.all(
      Array.from({ length: 6 }, (_, n) => store().openAnother({ owner: `other-${n}` })),
    )
    const won = await Promise.all(
      others.map(({ coordination: own }, n) =>
        own!.holdInstance(holder(`p${n}`), { ttlMs: LONG_MS, hasStarted: true }),
      ),
    )
    expect(won.filter(Boolean).length).toBe(1)
  })
})
