/** What every request carries. */
import type { Context } from 'hono'
import type { Scheme } from '../auth/authenticator.ts'
import type { Principal, Scope } from '../auth/principal.ts'
import type { FieldFault } from '../lib/errors.ts'
import type { LogFields } from '../lib/log.ts'
import type { BodyReader } from './body.ts'

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

/** What the runtime knows of a request. */
export interface RequestBindings {
  /** The address of the connection's other end. */
  peerAddress?(): string | null
  /** Ends the connection, whatever is still to be sent on it. */
  hangUp?(): void
}

/** What a route asks of its callers. */
export interface Access {
  /** `open` = everybody, whether or not authentication is on. */
  scope: Scope | 'open'
  /**
   * What its requests are counted by: `caller` = the key, the subject, or else the address; `session` = also
   * the translation session that they ask for; `none` = they are not.
   */
  limit: 'caller' | 'session' | 'none'
}

/** Who may come in; `createDoor` makes it. */
export interface Door {
  /** How callers may say who they are; none = they need not. */
  schemes(): readonly Scheme[]
  /** Sets the request's principal. @throws AppError 400, 401, 403, 429, 503. */
  admit(c: Context<RequestEnv>, access: Access): Promise<void> | void
}

export interface RequestEnv {
  Bindings: RequestBindings
  Variables: {
    requestId: string
    /** The client's address; null where the runtime does not tell. */
    address: string | null
    door: Door
    /** Who asks. Set before a route's handler runs. */
    principal: Principal
    /** Reads bodies within the service's limits. */
    bodies: BodyReader
    /** Time in which a client must make progress. */
    clientTimeoutMs: number
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
