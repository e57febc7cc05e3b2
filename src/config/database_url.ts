const form = 'mysql://user:password@host:port/database, with special characters percent-encoded'

/**
 * The parts of a DATABASE_URL as the DB_* variables that would say the same; what it leaves out is left
 * out. Faulty → what was expected, in words that repeat nothing of the URL: it holds a password.
 */
export function databaseUrlParts(text: string): Record<string, string> | string {
  const url = URL.parse(text)
  if (url?.protocol !== 'mysql:' || url.hostname === '' || url.hash !== '') return form
  const unknown = [...url.searchParams.keys()].some((key) => key !== 'ssl')
  if (unknown) return `${form}, and no parameter but ssl`
  const encoded = {
    DB_HOST: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    DB_PORT: url.port,
    DB_USER: url.username,
    DB_PASSWORD: url.password,
    DB_DATABASE: url.pathname.slice(1),
  }
  // An @ this late belongs to a password with a raw / in it.
  if (/[/@]/.test(encoded.DB_DATABASE)) return form
  const parts: [string, string][] = []
  for (const [name, part] of Object.entries(encoded)) {
    const decoded = decode(part)
    if (decoded === undefined) return form
    parts.push([name, decoded])
  }
  parts.push(['DB_SSL', url.searchParams.get('ssl') ?? ''])
  return Object.fromEntries(parts.filter(([, part]) => part !== ''))
}

function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part)
  } catch {
    // URIError, its only error: a % that starts no escape.
    return undefined
  }
}
