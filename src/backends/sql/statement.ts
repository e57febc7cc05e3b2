/** Statements whose text is fixed: `.sql` files with `?` for each parameter. */
import { type SQL, sql } from 'drizzle-orm'

/** Binds the parameters of a statement in order. Comments are stripped: a `?` in one is no parameter. */
export function statement(text: string): (...params: unknown[]) => SQL {
  const parts = text
    .replace(/^\s*--.*$/gm, '')
    .trim()
    .replace(/;$/, '')
    .split('?')
  return (...params) => {
    if (params.length !== parts.length - 1) {
      throw new TypeError(
        `statement takes ${parts.length - 1} parameters, ${params.length} given: ${parts[0]}`,
      )
    }
    return sql.join(
      parts.flatMap((part, i) => (i === 0 ? [sql.raw(part)] : [sql`${params[i - 1]}`, sql.raw(part)])),
    )
  }
}

export type Statements<Texts> = { [name in keyof Texts]: ReturnType<typeof statement> }

/** The same for many texts, by their names. */
export function statements<Texts extends Record<string, string>>(texts: Texts): Statements<Texts> {
  const bound = Object.entries(texts).map(([name, text]) => [name, statement(text)])
  return Object.fromEntries(bound) as Statements<Texts>
}
