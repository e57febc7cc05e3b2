/** What a text must be to be stored byte for byte. Each check answers what is wrong, or null. */

const CONTROL = /\p{Cc}/u

/** Characters are code points, as SQL counts them. */
function hasMoreCharacters(text: string, max: number): boolean {
  if (text.length <= max) return false
  if (text.length > max * 2) return true
  let count = 0
  for (const _ of text) if (++count > max) return true
  return false
}

/** A text of at most `max` characters; a lone surrogate has no UTF-8. */
export function textFault(text: string, max: number): string | null {
  if (!text.isWellFormed()) return 'contains a lone surrogate, which has no UTF-8'
  return hasMoreCharacters(text, max) ? `is longer than ${max} characters` : null
}

/** A text of at most `max` bytes of UTF-8. */
export function bytesFault(text: string, max: number): string | null {
  if (!text.isWellFormed()) return 'contains a lone surrogate, which has no UTF-8'
  // A UTF-16 unit is at most three bytes: most texts need no counting.
  if (text.length * 3 <= max) return null
  return text.length > max || utf8Bytes(text) > max ? `is longer than ${max} bytes of UTF-8` : null
}

const encoder = new TextEncoder()

export function utf8Bytes(text: string): number {
  return encoder.encode(text).byteLength
}

/** The paths' own words, and what a client's URL library would resolve away. */
const RESERVED = new Set(['.', '..', 'batch', 'cleanup'])

/** An identifier: 1 to `max` characters, none a control character, no white space at either end. */
export function identifierFault(text: string, max: number): string | null {
  if (text.length === 0) return 'must not be empty'
  const fault = textFault(text, max)
  if (fault) return fault
  if (CONTROL.test(text)) return 'contains a control character'
  if (text.trim() !== text) return 'has white space at an end'
  return RESERVED.has(text) ? `must not be '${text}', which is a word of the paths` : null
}

/** JSON nested deeper than this is refused: databases differ in what they take. */
export const MAX_JSON_DEPTH = 30

/** What MySQL holds of the name of a member. */
const MAX_JSON_NAME_BYTES = 65_535

/** Whether every text of a JSON value is well-formed, every number finite, and the nesting bounded. */
export function jsonFault(value: unknown, depth = 0): string | null {
  if (typeof value === 'string')
    return value.isWellFormed() ? null : 'contains a lone surrogate, which has no UTF-8'
  if (typeof value === 'number') return Number.isFinite(value) ? null : 'contains a number out of range'
  if (typeof value !== 'object' || value === null) return null
  if (depth >= MAX_JSON_DEPTH) return `is nested deeper than ${MAX_JSON_DEPTH} levels`
  if (Array.isArray(value)) {
    for (const item of value) {
      const fault = jsonFault(item, depth + 1)
      if (fault) return fault
    }
    return null
  }
  for (const [name, item] of Object.entries(value)) {
    const fault = bytesFault(name, MAX_JSON_NAME_BYTES) ?? jsonFault(item, depth + 1)
    if (fault) return fault
  }
  return null
}
