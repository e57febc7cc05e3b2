/** A relay before a MySQL server that reads along: how many statements of a kind went by. */
import { createServer, type Socket, connect as tcpConnect } from 'node:net'

/** Passes everything on as it is. */
export interface StatementRelay {
  /** The target's URL, by way of this relay. */
  url: string
  /** Statements sent so far that have a text in their first hundred bytes: before it a server may have wanted attributes. */
  count(text: string): number
  close(): Promise<void>
}

const HEADER_BYTES = 4
/** Of a statement, its command's byte included. */
const HEAD_BYTES = 101
const QUERY_COMMAND = 3

/** Listens on a free port of loopback. */
export async function openStatementRelay({ to }: { to: string }): Promise<StatementRelay> {
  const target = new URL(to)
  const sockets = new Set<Socket>()
  const heads: string[] = []

  const server = createServer((client) => {
    const far = tcpConnect({ host: target.hostname, port: Number(target.port) })
    const read = statementReader((head) => heads.push(head))
    for (const [from, into] of [
      [client, far],
      [far, client],
    ] as const) {
      sockets.add(from)
      from.on('data', (chunk: Buffer) => {
        if (from === client) read(chunk)
        into.write(chunk)
      })
      from.on('error', () => into.destroy()) // either side may be killed; then the other one goes too
      from.on('close', () => {
        sockets.delete(from)
        into.destroy()
      })
    }
  })
  const listening = Promise.withResolvers<void>()
  server.once('error', listening.reject)
  server.listen(0, '127.0.0.1', listening.resolve)
  await listening.promise
  const address = server.address()
  const through = new URL(to)
  through.host = `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`

  return {
    url: through.href,
    count: (text) => heads.filter((head) => head.includes(text)).length,
    close() {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** Cuts a client's bytes into packets, and answers the beginning of each statement among them. */
function statementReader(take: (head: string) => void): (chunk: Buffer) => void {
  let held: Buffer = Buffer.alloc(0)
  /** Bytes of a packet whose beginning is enough. */
  let skipping = 0
  return (chunk) => {
    const skipped = Math.min(skipping, chunk.length)
    skipping -= skipped
    held = Buffer.concat([held, chunk.subarray(skipped)])
    while (held.length >= HEADER_BYTES) {
      const length = held.readUIntLE(0, 3)
      const end = HEADER_BYTES + Math.min(length, HEAD_BYTES)
      if (held.length < end) return
      // A command begins a conversation, so its packet has number 0.
      if (held[3] === 0 && held[HEADER_BYTES] === QUERY_COMMAND)
        take(held.subarray(HEADER_BYTES + 1, end).toString())
      skipping = Math.max(0, HEADER_BYTES + length - held.length)
      held = held.subarray(HEADER_BYTES + length)
    }
  }
}
