/** The one place where errors become answers: `application/problem+json` (RFC 9457) with API.md's members. */
import { z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { AppError, ERROR_CODES, type ErrorCode, type FieldFault } from '../lib/errors.ts'
import type { RequestEnv } from './context.ts'

const fieldFault = z
  .object({
    field: z.string().meta({ description: 'Path of the field.', example: 'tasks[3].row_index' }),
    message: z.string().meta({ example: 'row_index is required' }),
  })
  .meta({ id: 'FieldFault', description: 'What is wrong with a field.' })

/** An item of a batch that was not accepted. */
export const rejectedItem = z
  .object({
    index: z.int().meta({ description: 'Position, from 0.', example: 3 }),
    errors: z.array(fieldFault),
  })
  .meta({ id: 'RejectedItem', description: 'An item that was not accepted, and why.' })

export const problemSchema = z
  .looseObject({
    type: z.string().meta({
      description: 'What kind of problem this is.',
      example: 'urn:persistence:error:validation_failed',
    }),
    title: z.string().meta({ example: 'Validation failed' }),
    status: z.int().meta({ description: 'The HTTP status.', example: 422 }),
    detail: z
      .string()
      .meta({ description: 'What went wrong, for a person.', example: '1 field is not valid.' }),
    error_code: z
      .enum(Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]])
      .meta({ id: 'ErrorCode', example: 'VALIDATION_FAILED' }),
    errors: z.array(fieldFault).optional().meta({ description: 'Each fault of the input.' }),
    request_id: z.string().meta({ example: '01999999-0000-7000-8000-000000000000' }),
  })
  .meta({ id: 'Problem', description: 'An error, as RFC 9457 has it.' })

export function renderProblem(c: Context<RequestEnv>, error: AppError): Response {
  const { status, title } = ERROR_CODES[error.code]
  c.set('errorCode', error.code)
  if (status >= 500) c.set('failure', error.cause ?? error)
  for (const [name, value] of Object.entries(error.headers)) c.header(name, value)
  c.header('Content-Type', 'application/problem+json')
  return c.body(
    JSON.stringify({
      type: `urn:persistence:error:${error.code.toLowerCase()}`,
      title,
      status,
      detail: error.detail,
      error_code: error.code,
      ...(error.errors && { errors: error.errors }),
      request_id: c.get('requestId'),
      ...error.members,
    }),
    status as 500,
  )
}

/** What was thrown, as an error that has an answer. `translate` knows the errors of other rooms. */
export function toAppError(error: unknown, translate: (error: unknown) => AppError | null): AppError {
  if (error instanceof AppError) return error
  return (
    translate(error) ??
    new AppError('INTERNAL_ERROR', {
      detail: 'The request failed; the log has the cause under this request id.',
      cause: error,
    })
  )
}

interface Issue {
  path: PropertyKey[]
  message: string
  code?: string | undefined
  /** Of what is no known key. */
  keys?: string[]
}

const WORD = /^[\w.-]{1,64}$/

/** Validation issues as faults; `input` tells what is missing from what is wrong. `prefix` is a path before theirs. */
export function faultsOf(issues: readonly Issue[], input: unknown, prefix = ''): FieldFault[] {
  return issues.map((issue) => {
    const field = pathText(prefix, issue.path)
    const name = String(issue.path.at(-1) ?? (field || 'body'))
    const missing =
      (issue.code === 'invalid_type' || issue.code === 'invalid_value') &&
      valueAt(input, issue.path) === undefined
    return { field: field || 'body', message: missing ? `${name} is required` : messageOf(issue) }
  })
}

/** A key that is no plain word may be a text that slid into its place: not repeated. */
function messageOf({ keys, message }: Issue): string {
  return keys?.every((key) => WORD.test(key)) === false ? 'Unrecognized key' : message
}

function pathText(prefix: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text ? `${text}.${String(part)}` : String(part),
    prefix,
  )
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) => (value as Record<PropertyKey, unknown> | null | undefined)?.[part],
    input,
  )
}

export function validationError(faults: FieldFault[], members: Record<string, unknown> = {}): AppError {
  return new AppError('VALIDATION_FAILED', {
    detail:
      faults.length === 1
        ? `${faults[0]!.field}: ${faults[0]!.message}`
        : `${faults.length} fields are not valid.`,
    errors: faults,
    members,
  })
}
