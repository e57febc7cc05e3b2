/** How many values a JSON text holds, without parsing it. */

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_BRACKET = 0x5b
const OPEN_BRACE = 0x7b

/**
 * Whether a JSON text in UTF-8 holds more than `max` values and containers. What is no JSON gets an answer too:
 * the parser is asked only about what is small enough.
 */
export function holdsMoreValues(bytes: Uint8Array, max: number): boolean {
  // A value takes a byte at least.
  if (bytes.length <= max) return false
  let count = 0
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === QUOTE) at = endOfText(bytes, at)
    else if (byte === COMMA || byte === OPEN_BRACKET || byte === OPEN_BRACE) {
      if (++count > max) return true
    }
  }
  return false
}

/** The quote that closes the text which begins at `start`; the end of all where none does. */
function endOfText(bytes: Uint8Array, start: number): number {
  for (let at = bytes.indexOf(QUOTE, start + 1); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let escapes = 0
    while (bytes[at - 1 - escapes] === BACKSLASH) escapes++
    if (escapes % 2 === 0) return at
  }
  return bytes.length
}
