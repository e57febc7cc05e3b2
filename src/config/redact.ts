import type { Config } from './schema.ts'

/** A copy fit for JSON and for anybody's eyes: each secret, and what of a URL stands before its @ or in its query, reads `***`. */
export function redactConfig(config: Config): Record<string, unknown> {
  // A secret turns itself into `***` on its way through JSON.
  const masked = (_: string, value: unknown) =>
    typeof value === 'string'
      ? value.replace(/:\/\/\S*@/g, '://***@').replace(/(:\/\/[^\s?]*\?)\S+/g, '$1***')
      : value
  return JSON.parse(JSON.stringify(config, masked))
}
