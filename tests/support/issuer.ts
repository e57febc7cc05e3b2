/** A token issuer of a test's own: it publishes keys on loopback, and counts who asks. */
import type { TestKey } from './tokens.ts'

export interface Issuer extends AsyncDisposable {
  /** Where its keys are. */
  url: string
  /** What it publishes. */
  keys: TestKey[]
  /** What it answers instead; null = its keys. */
  answer: (() => Response | Promise<Response>) | null
  /** How often it was asked, for anything. */
  asked: number
  /** Takes no more connections, and cuts those there are. */
  goDown(): Promise<void>
  /** At the same address again. */
  comeUp(): void
}

/** Starts one on a free port. */
export function openIssuer(...keys: TestKey[]): Issuer {
  const listen = (port: number) =>
    Bun.serve({
      hostname: '127.0.0.1',
      port,
      idleTimeout: 60,
      fetch() {
        issuer.asked++
        return issuer.answer?.() ?? Response.json({ keys: issuer.keys.map(({ jwk }) => jwk) })
      },
    })
  let server = listen(0)
  const port = server.port!
  const issuer: Issuer = {
    url: `http://127.0.0.1:${port}/keys`,
    keys,
    answer: null,
    asked: 0,
    goDown: () => server.stop(true),
    comeUp() {
      server = listen(port)
    },
    [Symbol.asyncDispose]: () => server.stop(true),
  }
  return issuer
}

/** Never comes, not even its headers. */
export const hangs = () => new Promise<Response>(() => undefined)

/** Begins, and never ends. */
export const hangsHalfWay = () =>
  new Response(new ReadableStream({ start: (body) => body.enqueue(Buffer.from('{"keys":')) }))
