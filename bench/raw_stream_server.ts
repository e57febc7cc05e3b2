/**
 * The least that could hand out a session's tasks: the driver's stream of rows, encoded and sent as it comes.
 * Usage: bun bench/raw_stream_server.ts PORT STORE   (mysql://…/database, or a file), then GET /SESSION_ID
 */
import { Database } from 'bun:sqlite'
import { selected } from '../src/backends/sql/select.ts'
import { translationTasks as tasks } from '../src/collections/translation.ts'

const SEND_CHARS = 64 * 1024

const [, , port, store] = process.argv
const statement = `SELECT ${selected(tasks).join(', ')} FROM ${tasks.name} WHERE session_id = ? AND status IN ('pending', 'processing') ORDER BY session_id, task_id`

async function* rowsOf(sessionId: string): AsyncGenerator<unknown> {
  if (!store!.startsWith('mysql:')) {
    const database = new Database(store!, { readonly: true })
    yield* database.query(statement).iterate(sessionId)
    database.close()
    return
  }
  const { createConnection } = await import('mysql2')
  const connection = createConnection({ uri: store!, charset: 'utf8mb4', dateStrings: true })
  yield* connection.query(statement, [sessionId]).stream({ highWaterMark: 1000 })
  connection.end()
}

function body(sessionId: string): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const rows = rowsOf(sessionId)
  return new ReadableStream(
    {
      async pull(controller) {
        let text = ''
        while (text.length < SEND_CHARS) {
          const { done, value } = await rows.next()
          if (done) {
            controller.enqueue(encoder.encode(text))
            controller.close()
            return
          }
          text += `${JSON.stringify(value)}\n`
        }
        controller.enqueue(encoder.encode(text))
      },
    },
    { highWaterMark: 1 },
  )
}

Bun.serve({
  hostname: '127.0.0.1',
  port: Number(port),
  idleTimeout: 60,
  fetch(request) {
    const name = new URL(request.url).pathname.slice(1)
    return new Response(name === 'health' ? '{}' : body(name))
  },
})
