/** Whose request it is: what a proxy says counts where the proxy is trusted, and nowhere else. */
import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { Hono } from 'hono'
import { createAddressOf, networkOf } from '../../src/http/client_address.ts'
import type { RequestEnv } from '../../src/http/context.ts'

interface Asked {
  trusted?: readonly string[]
  peer?: string | null | undefined
  forwardedFor?: string | readonly string[]
}

/** The address that a request of `peer` is taken for; `none` = it is not known. */
async function addressOf({ trusted = ['10.0.0.0/8', 'fd00::/8'], peer, forwardedFor = [] }: Asked) {
  const ofRequest = createAddressOf(trusted)
  const app = new Hono<RequestEnv>().get('/', (c) => c.text(ofRequest(c) ?? 'none'))
  const headers = new Headers()
  for (const value of [forwardedFor].flat()) headers.append('x-forwarded-for', value)
  const answer = await app.request('/', { headers }, peer === undefined ? {} : { peerAddress: () => peer })
  return answer.text()
}

describe('the address of a client', () => {
  test('is the other end of the connection where no proxy is trusted, whatever a header says', async () => {
    const peer = '10.0.0.1'
    expect(await addressOf({ trusted: [], peer, forwardedFor: '203.0.113.9' })).toBe(peer)
    expect(await addressOf({ trusted: ['10.0.0.2'], peer, forwardedFor: '203.0.113.9' })).toBe(peer)
    expect(await addressOf({ peer: '198.51.100.1', forwardedFor: '203.0.113.9' })).toBe('198.51.100.1')
  })

  test('is what a trusted proxy says', async () => {
    const forwardedFor = '203.0.113.9'
    for (const peer of ['10.0.0.1', '10.255.255.255', 'fd00::1', '::ffff:10.0.0.1', '::ffff:a00:1']) {
      expect(await addressOf({ peer, forwardedFor })).toBe(forwardedFor)
    }
    expect(await addressOf({ trusted: ['10.0.0.1'], peer: '10.0.0.1', forwardedFor })).toBe(forwardedFor)
    expect(await addressOf({ trusted: ['::ffff:10.0.0.0/104'], peer: '10.9.9.9', forwardedFor })).toBe(
      forwardedFor,
    )
    expect(await addressOf({ trusted: ['::ffff:10.0.0.1'], peer: '10.0.0.1', forwardedFor })).toBe(
      forwardedFor,
    )
    expect(await addressOf({ trusted: ['::/0'], peer: '10.0.0.1', forwardedFor })).toBe('10.0.0.1')
  })

  test('is the proxy itself where it says nothing', async () => {
    expect(await addressOf({ peer: '10.0.0.1' })).toBe('10.0.0.1')
    expect(await addressOf({ peer: '10.0.0.1', forwardedFor: '' })).toBe('10.0.0.1')
    expect(await addressOf({ peer: '10.0.0.1', forwardedFor: ' , ,' })).toBe('10.0.0.1')
  })

  test('is the first from the right that is not trusted: what a client wrote before does not count', async () => {
    const peer = '10.0.0.1'
    expect(await addressOf({ peer, forwardedFor: '1.1.1.1, 203.0.113.9' })).toBe('203.0.113.9')
    expect(await addressOf({ peer, forwardedFor: '1.1.1.1,203.0.113.9 , 10.0.0.3,\tfd00::7' })).toBe(
      '203.0.113.9',
    )
    expect(await addressOf({ peer, forwardedFor: ['1.1.1.1', '203.0.113.9, 10.0.0.3', '10.0.0.4'] })).toBe(
      '203.0.113.9',
    )
    expect(await addressOf({ peer, forwardedFor: '203.0.113.9,, ,10.0.0.3,' })).toBe('203.0.113.9')
  })

  test('is the farthest one where all are trusted', async () => {
    expect(await addressOf({ peer: '10.0.0.1', forwardedFor: '10.0.0.9, 10.0.0.3' })).toBe('10.0.0.9')
  })

  test('is the last good one before an entry that is no address', async () => {
    const wrong =
      'unknown _hidden 1.2.3 1.2.3.4.5 256.1.1.1 010.0.0.1 0x7f.0.0.1 1.2.3.4/8 1.2.3.4: 1.2.3.4:123456 ' +
      '::1::2 [::1 ::1]:80 ::1% [1.2.3.4]x é.2.3.4'
    for (const entry of [...wrong.split(' '), 'a'.repeat(70_000)]) {
      const forwardedFor = `203.0.113.9, ${entry}, 10.0.0.3`
      expect([entry, await addressOf({ peer: '10.0.0.1', forwardedFor })]).toEqual([entry, '10.0.0.3'])
    }
  })

  test('has neither port nor brackets, and one spelling', async () => {
    const spellings: Record<string, string> = {
      '203.0.113.9:5678': '203.0.113.9',
      '[2001:db8::1]:80': '2001:db8::1',
      '[2001:db8::1]': '2001:db8::1',
      '2001:DB8:0:0:0:0:0:1': '2001:db8::1',
      'fe80::1%eth0': 'fe80::1',
      '::ffff:203.0.113.9': '203.0.113.9',
      '[::ffff:203.0.113.9]:1': '203.0.113.9',
    }
    for (const [given, spelling] of Object.entries(spellings)) {
      expect(await addressOf({ peer: '10.0.0.1', forwardedFor: given })).toBe(spelling)
    }
    expect(await addressOf({ trusted: [], peer: '::ffff:203.0.113.9' })).toBe('203.0.113.9')
    expect(await addressOf({ trusted: [], peer: '2001:0DB8::1' })).toBe('2001:db8::1')
  })

  test('is not known where the runtime does not tell, and no header tells instead', async () => {
    for (const peer of [null, undefined]) {
      expect(await addressOf({ peer, forwardedFor: '203.0.113.9' })).toBe('none')
    }
  })

  test('is looked for behind 32 proxies, and no more', async () => {
    const behind = (proxies: number) => `203.0.113.9${', 10.0.0.2'.repeat(proxies)}`
    expect(await addressOf({ peer: '10.0.0.1', forwardedFor: behind(31) })).toBe('203.0.113.9')
    expect(await addressOf({ peer: '10.0.0.1', forwardedFor: behind(32) })).toBe('10.0.0.2')
  })

  test('costs little to find, however long the header', async () => {
    const long = `${'10.0.0.2,'.repeat(100_000)}10.0.0.3`
    const start = performance.now()
    for (const forwardedFor of [long, ','.repeat(1_000_000), 'x'.repeat(1_000_000), ' '.repeat(1_000_000)]) {
      expect(await addressOf({ peer: '10.0.0.1', forwardedFor })).toMatch(/^10\.0\.0\.[12]$/)
    }
    expect(performance.now() - start).toBeLessThan(1000)
  })

  test('is never what somebody untrusted wrote, for any header', async () => {
    const trusted = fc.ipV4().map((address) => address.replace(/^\d+/, '10'))
    const untrusted = fc.ipV4().map((address) => address.replace(/^\d+/, '203'))
    await fc.assert(
      fc.asyncProperty(
        fc.string(),
        untrusted,
        fc.array(trusted, { maxLength: 8 }),
        async (made, client, proxies) => {
          const forwardedFor = [encodeURI(made.toWellFormed()), client, ...proxies].join(', ')
          expect(await addressOf({ peer: '10.0.0.1', forwardedFor })).toBe(client)
        },
      ),
    )
  })
})

describe('what addresses are counted by', () => {
  test('an IPv4 address is itself', () => {
    expect(networkOf('203.0.113.9')).toBe('203.0.113.9')
    expect(networkOf('::ffff:203.0.113.9')).toBe('203.0.113.9')
  })

  test('IPv6 addresses are one by their first 64 bits, and different beyond', () => {
    const one = networkOf('2001:db8:1:2::1')
    expect(networkOf('2001:db8:1:2:ffff:ffff:ffff:ffff')).toBe(one)
    expect(networkOf('2001:db8:1:2::1%eth0')).toBe(one)
    expect(networkOf('2001:db8:1:3::1')).not.toBe(one)
    expect(networkOf('2001:db8:1:12::1')).not.toBe(networkOf('2001:db8:11:2::1'))
  })

  test('what is no address stays as it is', () => {
    expect(networkOf('a:b')).toBe('a:b')
    expect(networkOf('somewhere')).toBe('somewhere')
  })
})
