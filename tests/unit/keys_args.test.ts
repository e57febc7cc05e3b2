import { describe, expect, test } from 'bun:test'
import { type Command, parseKeysArgs } from '../../tools/keys/args.ts'
import { EXIT, KeysError } from '../../tools/keys/failure.ts'

const NOW = Date.UTC(2030, 0, 1)
const DAY_MS = 86_400_000
const parse = (args: string) => parseKeysArgs(args.split(' ').filter(Boolean), NOW)

test.each<[string, Command]>([
  [
    'create web --scopes audit:read,*:write',
    { verb: 'create', name: 'web', scopes: ['audit:read', '*:write'], expiresAtMs: null, print: false },
  ],
  [
    'create --print --expires=90d --scopes=system:admin web',
    {
      verb: 'create',
      name: 'web',
      scopes: ['system:admin'],
      expiresAtMs: NOW + 90 * DAY_MS,
      print: true,
    },
  ],
  ['list', { verb: 'list', json: false }],
  ['list --json', { verb: 'list', json: true }],
  ['revoke 0123456789ab', { verb: 'revoke', which: '0123456789ab' }],
  ['rotate web', { verb: 'rotate', name: 'web', graceMs: DAY_MS, expiresAtMs: null }],
  [
    'rotate web --grace 30m --expires 2030-02-01',
    { verb: 'rotate', name: 'web', graceMs: 1_800_000, expiresAtMs: Date.UTC(2030, 1, 1) },
  ],
  ['rotate web --grace 0', { verb: 'rotate', name: 'web', graceMs: 0, expiresAtMs: null }],
  ['create -h', { verb: 'help' }],
  ['--help', { verb: 'help' }],
])('%s', (args, command) => {
  expect(parse(args)).toEqual(command)
})

describe('a wrong command line is refused by what was expected', () => {
  test.each([
    ['', 'expected one of create, list, revoke, rotate'],
    ['make web', 'expected one of create, list, revoke, rotate'],
    ['constructor web', 'expected one of create, list, revoke, rotate'],
    ['create --scopes *:read', 'create takes a name of 1 to 64'],
    ['create a/b --scopes *:read', 'create takes a name of 1 to 64'],
    ['create a b --scopes *:read', 'create takes a name of 1 to 64'],
    ['create web', '--scopes: expected scopes separated by commas'],
    ['create web --scopes read', '--scopes: expected scopes separated by commas'],
    ['create web --scopes *:read,users:wirte', '--scopes: expected scopes separated by commas'],
    ['create web --scopes *:read --expires 2029-12-31', '--expires: expected a time to come'],
    ['create web --scopes *:read --expires 90', '--expires: expected a time to come'],
    ['create web --scopes *:read --expires 9999-12-31T23:59:59-01:00', '--expires: expected a time to come'],
    ['create web --scopes *:read --grace 1h', 'create takes no --grace'],
    ['list web', 'list takes no name'],
    ['revoke', 'revoke takes a name of 1 to 64 characters of A-Z a-z 0-9 . _ -, or an id'],
    ['revoke web --json', 'revoke takes no --json'],
    ['rotate web --grace soon', '--grace: expected a time such as 24h, 30m or 0'],
    ['rotate web --forever', 'an option that is not known'],
  ])('%s', (args, message) => {
    try {
      parse(args)
    } catch (error) {
      expect(error).toBeInstanceOf(KeysError)
      expect((error as KeysError).exitCode).toBe(EXIT.usage)
      expect((error as KeysError).message).toContain(message)
      return
    }
    expect.unreachable()
  })

  test.each([
    'psk_s3cr3t',
    'revoke psk_s3cr3t/s3cr3t',
    'create web psk_s3cr3t --scopes *:read',
    'create web --scopes psk_s3cr3t',
    'create web --scopes *:read,psk_s3cr3t',
    'create web --scopes *:read --expires psk_s3cr3t',
    'rotate web --grace psk_s3cr3t',
    'rotate web --psk_s3cr3t',
    'create web --print=psk_s3cr3t',
  ])('and no key that stands in a wrong place is repeated: %s', (args) => {
    expect(() => parse(args)).toThrow(KeysError)
    expect(() => parse(args)).not.toThrow('s3cr3t')
  })
})
