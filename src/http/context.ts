/** What every request carries. */
import type { FieldFault } from '../lib/errors.ts'
import type { LogFields } from '../lib/log.ts'

/** An item of a batch that was not accepted. */
export interface RejectedItem {
  index: number
  errors: FieldFault[]
}

export interface RequestEnv {
  Variables: {
    requestId: string
    /** What the request's one log line will say besides the common fields. */
    logFields: LogFields
    /** With `?partial=true`: what became of the items of the batch. */
    sorted?: {
      rejected: RejectedItem[] /** The positions that the accepted items had. */
      positions: number[]
    }
    /** The code of the problem that was answered, if one was. */
    errorCode?: string
    /** The failure behind a 5xx. */
    failure?: unknown
  }
}
