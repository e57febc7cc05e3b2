/** The closed table of errors that the service answers with: code → HTTP status, title, whether a retry may help. */
export const ERROR_CODES = {
  MALFORMED_REQUEST: { status: 400, title: 'Malformed request', retryable: false },
  UNAUTHENTICATED: { status: 401, title: 'Authentication required', retryable: false },
  FORBIDDEN: { status: 403, title: 'Not allowed', retryable: false },
  NOT_FOUND: { status: 404, title: 'Not found', retryable: false },
  SESSION_NOT_FOUND: { status: 404, title: 'Session not found', retryable: false },
  TASK_NOT_FOUND: { status: 404, title: 'Task not found', retryable: false },
  METHOD_NOT_ALLOWED: { status: 405, title: 'Method not allowed', retryable: false },
  REQUEST_TIMEOUT: { status: 408, title: 'Request not received in time', retryable: true },
  SESSION_NOT_DELETED: { status: 409, title: 'Session is not deleted', retryable: false },
  INSTANCE_LIVE: { status: 409, title: 'Instance is live', retryable: false },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'Payload too large', retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'Unsupported media type', retryable: false },
  VALIDATION_FAILED: { status: 422, title: 'Validation failed', retryable: false },
  RATE_LIMITED: { status: 429, title: 'Too many requests', retryable: true },
  INTERNAL_ERROR: { status: 500, title: 'Internal error', retryable: true },
  BACKEND_UNAVAILABLE: { status: 503, title: 'Storage backend unavailable', retryable: true },
  AUTH_UNAVAILABLE: { status: 503, title: 'Credentials can not be checked', retryable: true },
  BUSY: { status: 503, title: 'Too many requests at once', retryable: true },
  BUFFER_FULL: { status: 503, title: 'Write buffer full', retryable: true },
  JOURNAL_UNAVAILABLE: { status: 503, title: 'Journal not available', retryable: true },
  DEAD_LETTERS_FULL: { status: 503, title: 'Too many dead letters', retryable: true },
  NOT_READY: { status: 503, title: 'Service not ready', retryable: true },
  SHUTTING_DOWN: { status: 503, title: 'Service shutting down', retryable: true },
  WRITE_PENDING: { status: 504, title: 'Accepted, not stored yet', retryable: true },
  FLUSH_TIMEOUT: { status: 504, title: 'Flush not finished in time', retryable: true },
} as const satisfies Record<string, { status: number; title: string; retryable: boolean }>

export type ErrorCode = keyof typeof ERROR_CODES

/** One fault of the input: `field` is a path such as `tasks[3].row_index`. */
export interface FieldFault {
  field: string
  message: string
}

interface AppErrorOptions {
  /** What went wrong, for the caller. Never a cause of a 5xx: that goes to the log. */
  detail?: string
  errors?: FieldFault[]
  /** Further members of the problem document, such as `session_id`. */
  members?: Record<string, unknown>
  headers?: Record<string, string>
  /** Seconds for `Retry-After`. */
  retryAfterSeconds?: number
  cause?: unknown
}

/** An error that has an answer: thrown anywhere, rendered once in `http/problem.ts`. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly detail: string
  readonly errors: FieldFault[] | undefined
  readonly members: Record<string, unknown>
  readonly headers: Record<string, string>

  constructor(code: ErrorCode, options: AppErrorOptions = {}) {
    const detail = options.detail ?? ERROR_CODES[code].title
    super(detail, { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.detail = detail
    this.errors = options.errors
    this.members = options.members ?? {}
    this.headers = { ...options.headers }
    if (options.retryAfterSeconds !== undefined) {
      this.headers['Retry-After'] = String(Math.max(1, Math.ceil(options.retryAfterSeconds)))
    }
  }
}

/** The message of anything that was thrown, for a log: who could not parse something quotes it, and gives his name alone. */
export function messageOf(error: unknown): string {
  if (error instanceof SyntaxError) return error.name
  return error instanceof Error ? error.message : String(error)
}
