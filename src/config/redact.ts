import { isMap } from './document.ts'
import { isSecretKey } from './faults.ts'
import type { Config } from './schema.ts'

const hidden = '***'

/** A copy fit for JSON and for anybody's eyes: every secret, and whatever stands before the @ of a URL, reads `***`. */
export function redactConfig(config: Config): Record<string, unknown> {
  return redactMap({ ...config })
}

function redactMap(map: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(map).map(([key, value]) => [
      key,
      isSecretKey(key) && !isMap(value) ? hidden : redactValue(value),
    ]),
  )
}

function redactValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redactValue)
  if (isMap(value)) return redactMap(value)
  return typeof value === 'string' ? value.replace(/:\/\/\S*@/g, `://${hidden}@`) : value
}
