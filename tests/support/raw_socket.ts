/** A client that speaks TCP: byte for byte, as slowly as it likes, and for as long as it is let. */
import { connect } from 'node:net'

/** What a connection brought. */
export interface Heard {
  text: string
  /** The status of each answer. */
  statuses: number[]
  /** Whether the service ended the connection. */
  closed: boolean
  afterMs: number
}

interface Saying {
  /** A text goes out as Latin-1, a character a byte. */
  first: string | Uint8Array
  /** What follows, now and then: the same piece until the end, or one after the other. */
  later?: { pieces: string | readonly string[]; everyMs: number }
  /** What is said at the very end; null hangs up. */
  last?: Promise<string | null>
  /** Ends it when the text that came says so; else the service does, or `forMs`. */
  until?: (text: string) => boolean
  /** Default: 5 s. */
  forMs?: number
}

/** Says what it is told, and listens until the service hangs up, or it has heard enough. */
export function converse(url: string, { first, later, last, until, forMs = 5000 }: Saying): Promise<Heard> {
  const { hostname, port } = new URL(url)
  const started = performance.now()
  const { promise, resolve } = Promise.withResolvers<Heard>()
  const socket = connect({ host: hostname, port: Number(port) })
  let text = ''
  let timer: ReturnType<typeof setInterval> | undefined
  const end = (closed: boolean) => {
    clearTimeout(enough)
    clearInterval(timer)
    socket.destroy()
    const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status))
    resolve({ text, statuses, closed, afterMs: performance.now() - started })
  }
  const enough = setTimeout(end, forMs, false)
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
    if (until?.(text)) end(false)
  })
  socket.on('close', () => end(true))
  // A service that hangs up in the middle of what it is told resets the connection: `close` follows.
  socket.on('error', () => undefined)
  socket.write(typeof first === 'string' ? Buffer.from(first, 'latin1') : first)
  if (later) {
    const { pieces, everyMs } = later
    const rest = typeof pieces === 'string' ? null : [...pieces]
    timer = setInterval(() => {
      const piece = rest ? rest.shift() : (pieces as string)
      if (piece === undefined) clearInterval(timer)
      else socket.write(Buffer.from(piece, 'latin1'))
    }, everyMs)
  }
  last?.then((text) => (text === null ? end(false) : socket.write(text)))
  return promise
}
