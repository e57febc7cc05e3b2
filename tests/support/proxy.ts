/** A TCP proxy between the service and its database: the faults that networks have. */
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net'
import { freePort } from './processes.ts'

/** What becomes of the statement that a test waits for. */
export type Interception =
  /** It never reaches the server, and its connection goes silent. */
  | 'hold'
  /** The server executes it; the connection is cut before the answer goes back. */
  | 'lose the answer'

/** A proxy that forwards until it is told otherwise. */
export interface DatabaseProxy {
  /** The target's URL, by way of this proxy. */
  url: string
  /** Forwards, at full speed; takes up connections that were hanging. */
  pass(): Promise<void>
  /** Nobody listens any more, and every connection is cut. */
  refuse(): Promise<void>
  /** Every connection is cut, new ones pass. */
  cut(): void
  /** A black hole: connections are taken and stay open, nothing moves on them. */
  hang(): void
  /** Every answer takes so much longer. */
  slow(delayMs: number): void
  /** Treats the nth statement (1 unless told) that contains a text; resolves when that has happened. */
  intercept(text: string, treatment: Interception, nth?: number): Promise<void>
  /** Waits for a statement that contains a text and keeps it back: what it was, and what sends it on. */
  holdBack(text: string): Promise<{ statement: string; sendOn(): void }>
  /**
   * From now on every nth OK that answers a statement with this text is swallowed, and its connection cut: the
   * server has done it, and nobody is told. `lost` counts them; `stop` ends it.
   */
  loseCommits(text: string, nth?: number): { lost(): number; stop(): void }
  /** Connections to the target at this moment. */
  connections(): number
  close(): Promise<void>
}

interface Rule {
  text: string
  treatment: Interception
  left: number
  done(): void
}

/** Who waits for a statement. */
interface Keeper {
  text: string
  take(kept: { statement: string; sendOn(): void }): void
}

/** Which answers are swallowed. */
interface Swallowing {
  text: string
  nth: number
  seen: number
  lost: number
}

/** After a packet's length and number: what an answer without rows begins with, where it isn't an error. */
const OK_PACKET = 0
const PACKET_HEADER_BYTES = 4

interface Link {
  client: Socket
  target: Socket
  /** Nothing goes through any more, whatever the mode. */
  silent: boolean
  /** Cut at the next answer. */
  losing: Rule | null
  /** Its next answer is to a statement of which answers are swallowed. */
  committing: boolean
}

interface ProxyOptions {
  /** A URL with host and port. */
  to: string
  /** False: nobody listens until `pass()`. */
  open?: boolean
}

/** Makes a proxy on a free port of loopback, which it keeps while it refuses. */
export async function openProxy({ to, open = true }: ProxyOptions): Promise<DatabaseProxy> {
  const target = new URL(to)
  const port = await freePort()
  const links = new Set<Link>()
  const rules: Rule[] = []
  const keepers: Keeper[] = []
  let swallowing: Swallowing | null = null
  let server: Server | null = null
  let hanging = false
  let delayMs = 0

  function link(client: Socket): void {
    const made: Link = {
      client,
      target: tcpConnect({ host: target.hostname, port: Number(target.port) }),
      silent: false,
      losing: null,
      committing: false,
    }
    links.add(made)
    if (hanging) pause(made)
    client.on('data', (chunk: Buffer) => fromClient(made, chunk))
    made.target.on('data', (chunk: Buffer) => fromTarget(made, chunk))
    for (const socket of [client, made.target]) {
      socket.on('error', () => end(made)) // a cut connection is what this proxy is for
      socket.on('close', () => end(made))
    }
  }

  function fromClient(on: Link, chunk: Buffer): void {
    if (on.silent) return
    const rule = rules.find(({ text }) => chunk.includes(text))
    if (rule && --rule.left === 0) {
      rules.splice(rules.indexOf(rule), 1)
      if (rule.treatment === 'hold') {
        on.silent = true
        rule.done()
        return
      }
      on.losing = rule
    }
    if (swallowing && chunk.includes(swallowing.text)) on.committing = true
    const keeper = keepers.find(({ text }) => chunk.includes(text))
    if (!keeper) return void on.target.write(chunk)
    keepers.splice(keepers.indexOf(keeper), 1)
    on.client.pause()
    keeper.take({
      statement: chunk.toString(),
      sendOn() {
        on.target.write(chunk)
        on.client.resume()
      },
    })
  }

  function fromTarget(on: Link, chunk: Buffer): void {
    if (on.silent) return
    const { committing } = on
    on.committing = false
    if (on.losing) {
      on.losing.done()
      end(on)
    } else if (committing && swallows(chunk)) end(on)
    else if (delayMs > 0) setTimeout(() => on.client.write(chunk), delayMs)
    else on.client.write(chunk)
  }

  function swallows(answer: Buffer): boolean {
    if (!swallowing || answer[PACKET_HEADER_BYTES] !== OK_PACKET) return false
    const due = ++swallowing.seen % swallowing.nth === 0
    if (due) swallowing.lost++
    return due
  }

  function pause({ client, target: far }: Link): void {
    client.pause()
    far.pause()
  }

  function end(gone: Link): void {
    links.delete(gone)
    gone.client.destroy()
    gone.target.destroy()
  }

  function cut(): void {
    for (const each of [...links]) end(each)
  }

  async function listen(): Promise<void> {
    if (server) return
    const opened = createServer(link)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    opened.once('error', reject)
    opened.listen(port, '127.0.0.1', resolve)
    await promise
    server = opened
  }

  async function refuse(): Promise<void> {
    const closing = server
    server = null
    const closed = new Promise<void>((resolve) => (closing ? closing.close(() => resolve()) : resolve()))
    cut()
    await closed
  }

  const through = new URL(to)
  through.host = `127.0.0.1:${port}`
  if (open) await listen()
  return {
    url: through.href,
    async pass() {
      hanging = false
      delayMs = 0
      for (const { client, target: far } of links) {
        client.resume()
        far.resume()
      }
      await listen()
    },
    refuse,
    cut,
    hang() {
      hanging = true
      for (const each of links) pause(each)
    },
    slow(ms) {
      delayMs = ms
    },
    intercept(text, treatment, nth = 1) {
      return new Promise((done) => rules.push({ text, treatment, left: nth, done }))
    },
    holdBack: (text) => new Promise((take) => keepers.push({ text, take })),
    loseCommits(text, nth = 1) {
      const begun: Swallowing = { text, nth, seen: 0, lost: 0 }
      swallowing = begun
      return {
        lost: () => begun.lost,
        stop() {
          if (swallowing === begun) swallowing = null
        },
      }
    },
    connections: () => links.size,
    close: refuse,
  }
}
