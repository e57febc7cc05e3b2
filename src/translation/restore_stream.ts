/** A restore as a stream: pulled by its client, and ended where that stops. */
import { AppError } from '../lib/errors.ts'
import type { Restore } from './recovery.ts'

/** The two forms of a restore: what goes before, between and after the tasks. */
export interface Form {
  head(sessionId: string, session: unknown): string
  task(task: unknown, first: boolean): string
  tail(count: number, missing: readonly string[], restoredAt: string): string
}

export const JSON_FORM: Form = {
  head: (sessionId, session) => {
    const text = JSON.stringify(session)
    return `{"session_id":${JSON.stringify(sessionId)},"session":${text},"restored_session":${text},"tasks":[`
  },
  task: (task, first) => `${first ? '' : ','}${JSON.stringify(task)}`,
  tail: (count, missing, restoredAt) =>
    `],"tasks_count":${count},"restored_tasks_count":${count},"missing_instances":${JSON.stringify(missing)},"restored_at":"${restoredAt}"}`,
}

export const NDJSON: Form = {
  head: (sessionId, session) => `${JSON.stringify({ session_id: sessionId, session })}\n`,
  task: (task) => `${JSON.stringify({ task })}\n`,
  tail: (count, missing, restoredAt) =>
    `${JSON.stringify({ tasks_count: count, restored_tasks_count: count, missing_instances: missing, restored_at: restoredAt })}\n`,
}

/** A page of long texts is megabytes: its client shows that it goes on reading with each part of it. */
const PART_BYTES = 128 * 1024

interface RestoreStreamOptions {
  sessionId: string
  form: Form
  /** Time in which the client must take something. */
  clientTimeoutMs: number
  onFailure(error: unknown): void
  /** The client has stopped reading. */
  onLate(): void
}

/**
 * Pulled by the client, a part at a time, so memory stays flat whatever the session's size. A failure on
 * the way breaks the connection: half an answer must not look like a whole one. The time that a page takes
 * is the database's; the time until the next one is asked for is the client's, who holds the snapshot by it.
 */
export function restoreStream(restore: Restore, options: RestoreStreamOptions): ReadableStream<Uint8Array> {
  const { sessionId, form, clientTimeoutMs, onFailure, onLate } = options
  let count = 0
  let ended = false
  let patience: ReturnType<typeof setTimeout> | undefined
  const parts = partsOf()

  async function* partsOf(): AsyncGenerator<Uint8Array> {
    const encoder = new TextEncoder()
    yield encoder.encode(form.head(sessionId, restore.session))
    for await (const page of restore.tasks) {
      let text = ''
      for (const task of page) text += form.task(task, count++ === 0)
      const bytes = encoder.encode(text)
      for (let at = 0; at < bytes.length; at += PART_BYTES) yield bytes.subarray(at, at + PART_BYTES)
    }
    const restoredAt = await restore.finish(count, true)
    yield encoder.encode(form.tail(count, restore.missing, restoredAt))
  }

  /** Before its end: frees what it holds. */
  async function breakOff(): Promise<void> {
    ended = true
    clearTimeout(patience)
    await parts.return(undefined)
    await restore.finish(count, false)
  }

  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(patience)
        try {
          const part = await parts.next()
          if (ended) return
          if (part.done) {
            ended = true
            controller.close()
            return
          }
          controller.enqueue(part.value)
        } catch (error) {
          if (ended) return
          onFailure(error)
          await breakOff()
          controller.error(error)
          return
        }
        patience = setTimeout(() => {
          controller.error(new AppError('REQUEST_TIMEOUT'))
          onLate()
          breakOff().catch(onFailure)
        }, clientTimeoutMs)
      },
      cancel: breakOff,
    },
    { highWaterMark: 1 },
  )
}
