/**
 * Opaque position in a list: the sort it belongs to, then the last row's sort value and key.
 * base64url of JSON; a cursor that doesn't decode, or was made for another sort, reads as null.
 */
export interface Cursor {
  sort: string
  values: (string | number | null)[]
}

export function encodeCursor(cursor: Cursor): string {
  const bytes = new TextEncoder().encode(JSON.stringify([cursor.sort, ...cursor.values]))
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}

export function decodeCursor(text: string, sort: string, length: number): Cursor | null {
  let parsed: unknown
  try {
    const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
    parsed = JSON.parse(
      new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(binary, (c) => c.charCodeAt(0))),
    )
  } catch {
    return null // whatever was wrong with it, the answer is the same: not a cursor of ours
  }
  if (!Array.isArray(parsed) || parsed[0] !== sort || parsed.length !== length + 1) return null
  const values: unknown[] = parsed.slice(1)
  const ok = values.every((v) => typeof v === 'string' || (typeof v === 'number' && Number.isFinite(v)))
  return ok ? { sort, values: values as Cursor['values'] } : null
}
