/** Schemas of single fields that every slice shares. What they output is what is stored. */
import { z } from '@hono/zod-openapi'
import { bytesFault, identifierFault, jsonFault, textFault, utf8Bytes } from '../lib/text.ts'
import { endOf, parseTime } from '../lib/time.ts'

type Fault = (text: string) => string | null

/** `meta` describes what JSON Schema can say of it; `fault` says the rest. */
function checkedText(fault: Fault, meta: Record<string, unknown>) {
  return z
    .string()
    .check((ctx) => {
      const message = fault(ctx.value)
      if (message) ctx.issues.push({ code: 'custom', message, input: ctx.value })
    })
    .openapi(meta)
}

/** An identifier of at most `max` characters. */
export function identifier(max: number, meta: { description: string; example: string }) {
  return checkedText((text) => identifierFault(text, max), {
    minLength: 1,
    maxLength: max,
    pattern:
      '^(?!(?:\\.|\\.\\.|batch|cleanup)$)[^\\s\\u0000-\\u001f\\u007f-\\u009f](?:[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f])?$',
    ...meta,
  })
}

/** A text of at most `max` characters. */
export function shortText(max: number, meta: { description: string; example: string }) {
  return checkedText((text) => textFault(text, max), { maxLength: max, ...meta })
}

export const MAX_TEXT_BYTES = 65_535

/** A text of at most 65,535 bytes of UTF-8. */
export function longText(meta: { description: string; example: string }) {
  return checkedText((text) => bytesFault(text, MAX_TEXT_BYTES), {
    maxLength: MAX_TEXT_BYTES,
    ...meta,
    description: `${meta.description} At most ${MAX_TEXT_BYTES} bytes of UTF-8.`,
  })
}

const MAX_INT = 2_147_483_647

/** A whole number from 0 to 2,147,483,647. */
export function count(meta: { description: string; example: number }) {
  return z.int().min(0).max(MAX_INT).openapi(meta)
}

/** A time, as milliseconds since the epoch; may be absent, or null. */
export function time(meta: { description: string; example: string }) {
  return z
    .string()
    .transform((text, ctx) => {
      const parsed = parseTime(text)
      if (parsed) return parsed.ms
      ctx.addIssue({ code: 'custom', message: 'is no ISO 8601 time between the years 1 and 9999' })
      return z.NEVER
    })
    .nullish()
    .openapi({ type: ['string', 'null'], format: 'date-time', ...meta })
}

/** One end of a range of dates: `to` ends with the whole day where only a date is given. */
export function dateBound(end: 'from' | 'to', meta: { description: string; example: string }) {
  return z
    .string()
    .transform((text, ctx) => {
      const parsed = parseTime(text)
      if (parsed) return end === 'to' ? endOf(parsed) : parsed.ms
      ctx.addIssue({ code: 'custom', message: 'is no ISO 8601 date or time between the years 1 and 9999' })
      return z.NEVER
    })
    .openapi({ type: 'string', ...meta })
}

const MAX_JSON_BYTES = 1024 * 1024

/** A JSON object, as its text; may be absent, or null. */
export function jsonObject(meta: { description: string; example: Record<string, unknown> }) {
  return z
    .custom<Record<string, unknown>>()
    .transform((value, ctx) => {
      const fault = objectFault(value)
      if (fault !== null) {
        ctx.addIssue({ code: 'custom', message: fault })
        return z.NEVER
      }
      const text = JSON.stringify(value)
      if (utf8Bytes(text) <= MAX_JSON_BYTES) return text
      ctx.addIssue({ code: 'custom', message: `is longer than ${MAX_JSON_BYTES} bytes` })
      return z.NEVER
    })
    .nullish()
    .openapi({ type: ['object', 'null'], additionalProperties: true, ...meta })
}

function objectFault(value: unknown): string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'must be an object'
  return jsonFault(value)
}

/** `true`, `false`, or absent. */
export function flag(meta: { description: string }) {
  return z
    .enum(['true', 'false'])
    .optional()
    .transform((text) => text === 'true')
    .openapi({ type: 'boolean', default: false, ...meta })
}

/** A whole number in a query string. */
export function queryInt(
  range: { min: number; max: number; default: number },
  meta: { description: string; example: number },
) {
  return z
    .string()
    .optional()
    .transform((text, ctx) => {
      if (text === undefined) return range.default
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
      if (value >= range.min && value <= range.max) return value
      ctx.addIssue({ code: 'custom', message: `must be a whole number from ${range.min} to ${range.max}` })
      return z.NEVER
    })
    .openapi({ type: 'integer', minimum: range.min, maximum: range.max, default: range.default, ...meta })
}
