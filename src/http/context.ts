/** What every request carries. */
import type { FieldFault } from '../lib/errors.ts'
import type { LogFields } from '../lib/log.ts'

/** An item of a batch that was not accepted. */
export interface RejectedItem {
  index: number
  errors: FieldFault[]
}

export interface SortedBatch {
  /** The body with its good items alone, validated. */
  accepted: Record<string, unknown[]>
  rejected: RejectedItem[]
  /** The positions that the accepted items had. */
  positions: number[]
}

export interface RequestEnv {
  Variables: {
    requestId: string
    /** Largest JSON body, unpacked. */
    maxBodyBytes: number
    /** What the request's one log line will say besides the common fields. */
    logFields: LogFields
    /** With `?partial=true`: what became of the items of the batch. */
    sorted?: SortedBatch
    /** The code of the problem that was answered, if one was. */
    errorCode?: string
    /** The failure behind a 5xx. */
    failure?: unknown
  }
}
