import { z } from 'zod'
import { type Secret, secret } from '../lib/secret.ts'

// Each kind of value says in one phrase all that it expects, so that a fault reads the same whichever
// part of it was broken.

/** A whole number of rows, bytes, days, milliseconds … */
export function whole({ from, to, fallback }: { from: number; to: number; fallback: number }) {
  const error = `a whole number from ${from} to ${to}`
  return z.number({ error }).int({ error }).min(from, { error }).max(to, { error }).default(fallback)
}

/** A number of seconds, fractions allowed. `to` keeps a timer below the 24.8 days that it can wait. */
export function seconds({
  from = 0.001,
  to = 86_400,
  fallback,
}: {
  from?: number
  to?: number
  fallback: number
}) {
  const error = `a number of seconds from ${from} to ${to}`
  return z.number({ error }).min(from, { error }).max(to, { error }).default(fallback)
}

/** true or false. */
export function flag(fallback: boolean) {
  return z.boolean({ error: 'true or false' }).default(fallback)
}

/** One of a few words. */
export function choice<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words, { error: `one of ${words.join(', ')}` })
}

/** Text of a form that `expected` puts in words. */
export function text(form: RegExp, expected: string) {
  return z.string({ error: expected }).regex(form, { error: expected })
}

/** A host name or an address, without scheme, user or port. */
export function host(fallback: string) {
  return text(
    /^(?!\[)(?![^:]*:\d+$)[^\s/@]{1,255}$/,
    'a host name or address alone, without scheme, user and port',
  ).default(fallback)
}

/** A path of a file or a directory. */
export function path() {
  return z
    .string({ error: 'a path' })
    .min(1, { error: 'a path' })
    .refine((value) => !value.includes('\0'), { error: 'a path' })
}

/** A map with these keys and no others; one left empty in YAML counts as `{}`. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const known = Object.keys(shape).join(', ')
  const error: z.core.$ZodErrorMap = ({ code }) =>
    code === 'unrecognized_keys' ? `a known key (${known})` : 'a map'
  return z.preprocess((value) => value ?? {}, z.strictObject(shape, { error }))
}

/** A text that is hidden from then on: whoever needs it asks it to `reveal()` itself. */
export function hidden(form: RegExp, expected: string) {
  return text(form, expected).transform((value): Secret => secret(value))
}

/** A list; in the environment its items are separated by commas. */
export function list<Item extends z.ZodType>(item: Item, expected: string) {
  return z.preprocess((value) => value ?? [], z.array(item, { error: expected }))
}
