/** What is refused before anything is made of a request: one that two programs may read in two ways. */
import type { Context, MiddlewareHandler } from 'hono'
import { AppError } from '../lib/errors.ts'
import { admitStray } from './access.ts'
import type { RequestEnv } from './context.ts'

/** More than any route here takes; a parser that makes objects of thousands is work that nobody has asked for. */
const MAX_PARAMETERS = 100
/** No comma: that is how two Host headers look once they are joined. */
const HOST = /^(?:\[[\da-f:.]+\]|[\da-z._~!$&'()*+;=%-]+)(?::\d{0,5})?$/i
const LENGTH = /^\d+$/
/** What people call a key that they put into a URL, where the log of every proxy keeps it; without - and _. */
const KEY_NAMES = new Set(
  'apikey xapikey key accesstoken authtoken idtoken token jwt bearer authorization secret password'.split(
    ' ',
  ),
)

export function checkForm(): MiddlewareHandler<RequestEnv> {
  return (c, next) => {
    const fault = formFault(c.req.raw)
    return fault === null ? next() : refuse(c, fault)
  }
}

async function refuse(c: Context<RequestEnv>, fault: AppError): Promise<never> {
  await admitStray(c)
  throw fault
}

function formFault({ headers, url }: Request): AppError | null {
  const framing = framingFault(headers, url)
  // Whatever else comes on this connection can't be trusted either.
  if (framing) return malformed(framing, { Connection: 'close' })
  if (hasMoreParameters(url, MAX_PARAMETERS)) {
    return malformed(`The query string has more than ${MAX_PARAMETERS} parameters.`)
  }
  if (!hasKey(url)) return null
  return malformed(
    'Credentials are not taken from the query string: send X-API-Key or Authorization. Replace the one that was sent: URLs are written to logs.',
  )
}

function hasKey(url: string): boolean {
  const at = url.indexOf('?')
  if (at < 0) return false
  const names = url.slice(at + 1).split('&')
  return names.some((pair) => KEY_NAMES.has(nameOf(pair)))
}

/** The bare name of a parameter, however it is written: `+Api-Key[]=…` is `apikey`. */
function nameOf(pair: string): string {
  const name = pair.slice(0, Math.max(0, `${pair}=`.indexOf('=')))
  return unescaped(name)
    .replaceAll(/[^a-z]/gi, '')
    .toLowerCase()
}

function unescaped(name: string): string {
  return name.replaceAll(/%([2-7][0-9a-f])/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

function malformed(detail: string, headers: Record<string, string> = {}): AppError {
  return new AppError('MALFORMED_REQUEST', { detail, headers })
}

function framingFault(headers: Headers, url: string): string | null {
  const host = headers.get('host')
  // Without a usable host the URL is a path alone, which would be read as a host and another path.
  if ((host !== null && !HOST.test(host)) || url.startsWith('/')) {
    return 'One Host header is needed, with a host and nothing else.'
  }
  const length = headers.get('content-length')
  return length !== null && !LENGTH.test(length) ? 'Content-Length is not one number.' : null
}

function hasMoreParameters(url: string, max: number): boolean {
  let at = url.indexOf('?')
  for (let count = 0; at >= 0; count++) {
    if (count === max) return true
    at = url.indexOf('&', at + 1)
  }
  return false
}
