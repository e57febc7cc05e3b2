/** What every request carries. */
import type { LogFields } from '../lib/log.ts'
import type { Sorted } from './partial.ts'

export interface RequestEnv {
  Variables: {
    requestId: string
    /** What the request's one log line will say besides the common fields. */
    logFields: LogFields
    /** With `?partial=true`: what became of the items of the batch. */
    sorted?: Sorted
    /** The code of the problem that was answered, if one was. */
    errorCode?: string
    /** The failure behind a 5xx. */
    failure?: unknown
  }
}
