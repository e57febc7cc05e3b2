/** A start without authentication on an address that others can reach is allowed, and warned of. */
import { expect, test } from 'bun:test'
import { createScene } from '../support/scene.ts'
import type { Service } from '../support/service.ts'

const WARNING = 'anybody who reaches this address may do everything: no authentication is configured'

const warnings = ({ logs }: Service) => logs.filter(({ message }) => message === WARNING)

test('on every address, without authentication, it warns, and says which address', async () => {
  await using scene = createScene()
  const service = await scene.start({ SERVICE_HOST: '0.0.0.0' })
  expect(warnings(service)).toMatchObject([{ level: 'WARN', meta: { host: '0.0.0.0' } }])
})

test('on loopback it does not; nor with a key, or a secret', async () => {
  await using scene = createScene()
  for (const env of [
    { SERVICE_HOST: 'localhost' },
    { SERVICE_HOST: '0.0.0.0', API_KEYS: 'k'.repeat(43) },
    { SERVICE_HOST: '0.0.0.0', JWT_SECRET: 's'.repeat(32) },
  ]) {
    expect(warnings(await scene.start(env))).toEqual([])
  }
})
