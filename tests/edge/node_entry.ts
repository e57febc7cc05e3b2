/** The service as another runtime runs it: the same `compose`, node:http in the place of Bun.serve. */
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { readKeyFile } from '../../src/auth/key_file.ts'
import { COLLECTIONS } from '../../src/collections/catalog.ts'
import { compose } from '../../src/compose.ts'
import { loadConfig } from '../../src/config/mod.ts'
import { createLogger } from '../../src/lib/log.ts'

const config = loadConfig({
  env: process.env,
  readFile: (path) => readFileSync(path, 'utf8'),
  readKeyFile,
  collections: [...COLLECTIONS],
})
const instanceId = config.service.instance_id ?? 'edge'
const log = createLogger({
  level: config.service.log_level,
  instance: instanceId,
  write: (line) => process.stdout.write(`${line}\n`),
})
const service = await compose({ config, instanceId, version: '0.0.0-edge', log })

function headersOf({ headers }: IncomingMessage): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((one): [string, string] => [name, one]),
  )
}

async function answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const hasBody = incoming.method !== 'GET' && incoming.method !== 'HEAD'
  const request = new Request(`http://${incoming.headers.host}${incoming.url}`, {
    method: incoming.method ?? 'GET',
    headers: headersOf(incoming),
    ...(hasBody && { body: Readable.toWeb(incoming) as ReadableStream, duplex: 'half' }),
  })
  const response = await service.fetch(request, {
    peerAddress: () => incoming.socket.remoteAddress ?? null,
  })
  outgoing.writeHead(response.status, [...response.headers].flat())
  for await (const part of response.body ?? []) outgoing.write(part)
  outgoing.end()
}

const server = createServer((incoming, outgoing) => {
  answer(incoming, outgoing).catch((error) => {
    log.error('no answer', { meta: { error: String(error) } })
    outgoing.destroy()
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  log.info('listening', { meta: { port: typeof address === 'object' ? address?.port : null } })
})
service.start()

process.once('SIGTERM', async () => {
  const { rowsLeft } = await service.shutdown()
  server.closeAllConnections()
  log.info('stopped', { meta: { rows_left: rowsLeft } })
  process.exit(rowsLeft === 0 ? 0 : 75)
})
