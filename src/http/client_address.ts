/** Whose request it is, behind proxies that are trusted to say so. */
import type { Context } from 'hono'
import ipaddr from 'ipaddr.js'
import type { RequestEnv } from './context.ts'

/** The client's address, null where the runtime does not tell. */
export type AddressOf = (c: Context<RequestEnv>) => string | null

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Network = readonly [address: Address, bits: number]

/** More proxies in a row than anybody has. */
const MAX_HOPS = 32
/** The longest address, with a zone, brackets and a port. */
const MAX_ENTRY_LENGTH = 80
const IN_BRACKETS = /^\[([^\]]*)\](?::\d{1,5})?$/
const WITH_PORT = /^([\d.]+):\d{1,5}$/
const BITS_BEFORE_MAPPED = 96

/** `trustedProxies` are addresses and networks: whose `X-Forwarded-For` is believed. */
export function createAddressOf(trustedProxies: readonly string[]): AddressOf {
  const networks = trustedProxies.map(parseNetwork)
  const isTrusted = (address: Address) =>
    networks.some(([network, bits]) => network.kind() === address.kind() && address.match([network, bits]))

  /** From the nearest proxy outwards: the first that is not trusted is the client. */
  function walk(peer: Address, forwardedFor: string): Address {
    let client = peer
    let end = forwardedFor.length
    for (let hop = 0; hop < MAX_HOPS && end > 0 && isTrusted(client); hop++) {
      const comma = forwardedFor.lastIndexOf(',', end - 1)
      const entry = forwardedFor.slice(comma + 1, end).trim()
      end = comma
      if (entry === '') continue
      const address = parseEntry(entry)
      // What a proxy could not name is not guessed: the proxy itself counts.
      if (!address) break
      client = address
    }
    return client
  }

  return (c) => {
    const text = c.env?.peerAddress?.() ?? null
    if (text === null || (networks.length === 0 && !text.includes(':'))) return text
    const peer = parseAddress(text)
    if (!peer) return text
    return walk(peer, (networks.length > 0 && c.req.header('x-forwarded-for')) || '').toString()
  }
}

/** What addresses are counted by: an IPv6 client has all of its /64 to choose from. */
export function networkOf(address: string): string {
  const parsed = address.includes(':') ? parseAddress(address) : null
  if (!(parsed instanceof ipaddr.IPv6)) return parsed?.toString() ?? address
  const half = parsed.parts.slice(0, 4).map((part) => part.toString(16))
  return `${half.join(':')}::/64`
}

/** Of IPv4 only four decimal numbers, as proxies write it: `ipaddr` also reads octal ones. */
function parseAddress(text: string): Address | null {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text)
  if (!ipaddr.IPv6.isValid(text)) return null
  // Anew, without its zone: that means something only where it was written.
  const address = new ipaddr.IPv6(ipaddr.IPv6.parse(text).parts)
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address
}

function parseEntry(entry: string): Address | null {
  if (entry.length > MAX_ENTRY_LENGTH) return null
  return parseAddress(IN_BRACKETS.exec(entry)?.[1] ?? WITH_PORT.exec(entry)?.[1] ?? entry)
}

/** The configuration was checked: this is an address or a network. */
function parseNetwork(text: string): Network {
  const [address, bits] = ipaddr.isValidCIDR(text) ? ipaddr.parseCIDR(text) : [ipaddr.parse(text), null]
  if (address instanceof ipaddr.IPv4) return [address, bits ?? 32]
  const width = bits ?? 128
  if (!address.isIPv4MappedAddress() || width < BITS_BEFORE_MAPPED) return [address, width]
  return [address.toIPv4Address(), width - BITS_BEFORE_MAPPED]
}
