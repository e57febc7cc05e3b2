/** A keep-alive HTTP connection that costs the load generator next to nothing: the request is ready-made bytes. */

export interface RawAnswer {
  status: number
  /** Bytes of the body. */
  bytes: number
  text(): string
}

export interface RawConnection {
  /** One request at a time. Rejects when the connection breaks. */
  send(request: Uint8Array): Promise<RawAnswer>
  close(): void
}

const HEAD_END = '\r\n\r\n'

/** Connects to `http://host:port`; answers must have a Content-Length. */
export async function connectRaw(url: string): Promise<RawConnection> {
  const { hostname, port } = new URL(url)
  let waiting: PromiseWithResolvers<RawAnswer> | null = null
  let unsent: Uint8Array | null = null
  let received: Buffer | null = null

  function fail(error: Error): void {
    const failed = waiting
    waiting = null
    failed?.reject(error)
  }

  function push(): void {
    if (!unsent) return
    const written = socket.write(unsent)
    unsent = written < unsent.byteLength ? unsent.subarray(written) : null
  }

  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data(_, chunk) {
        received = received ? Buffer.concat([received, chunk]) : chunk
        const headEnd = received.indexOf(HEAD_END)
        if (headEnd === -1) return
        const head = received.toString('latin1', 0, headEnd)
        const length = /^content-length: *(\d+)/im.exec(head)?.[1]
        if (length === undefined) return fail(new Error(`an answer without a length: ${head}`))
        const from = headEnd + HEAD_END.length
        if (received.byteLength < from + Number(length)) return
        const body = received.subarray(from, from + Number(length))
        received = null
        const answered = waiting
        waiting = null
        answered?.resolve({
          status: Number(head.slice(9, 12)),
          bytes: body.byteLength,
          text: () => body.toString(),
        })
      },
      drain: push,
      close: () => fail(new Error('the connection was closed')),
      error: (_, error) => fail(error),
    },
  })

  return {
    send(request) {
      waiting = Promise.withResolvers()
      unsent = request
      push()
      return waiting.promise
    },
    close: () => socket.end(),
  }
}

/** The lines of a request's head but the first. */
export function headerText(headers: Record<string, string | number>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
}

/** The bytes of a GET. */
export function getRequest(url: string, path: string, headers: Record<string, string> = {}): Uint8Array {
  return Buffer.from(`GET ${path} HTTP/1.1\r\n${headerText({ Host: new URL(url).host, ...headers })}\r\n`)
}
