/** A text that can't be printed by mistake: only who asks for it by name gets it. */

const HIDDEN = '***'
const secrets = new WeakSet<object>()
/** How Node, Bun and Deno print a value, by agreement. */
const inspect = Symbol.for('nodejs.util.inspect.custom')

export interface Secret {
  /** The text itself: for the one call that needs it, never for a message. */
  reveal(): string
  toString(): string
  toJSON(): string
}

/** Hides a text: printed, logged, inspected, put into JSON or into a template it reads `***`. */
export function secret(text: string): Secret {
  const shown = () => HIDDEN
  const hidden: Secret = Object.freeze({
    reveal: () => text,
    toString: shown,
    toJSON: shown,
    [Symbol.toPrimitive]: shown,
    [inspect]: shown,
  })
  secrets.add(hidden)
  return hidden
}

/** True for what {@link secret} has made. */
export function isSecret(value: unknown): value is Secret {
  return typeof value === 'object' && value !== null && secrets.has(value)
}
