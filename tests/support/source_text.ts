/** Reads TypeScript as far as the architecture rules need it: what is code, and what it imports. */

/** A source with its comments, and the insides of its texts, blanked; every offset and line stays. */
export interface SourceText {
  /** Without comments. */
  code: string
  /** Without comments and without what stands in strings, templates and regular expressions. */
  bare: string
}

/** One import or re-export. */
export interface ImportedModule {
  specifier: string
  line: number
  /** `import type` and `export type`: gone when the program runs. */
  typeOnly: boolean
  /** `import()`: happens when it is called, not when the file is loaded. */
  dynamic: boolean
}

/** After these a slash begins a regular expression, not a division. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%<>~\n]|\b(?:return|typeof|case|in|of|await|throw))\s*$/

/** Blanks comments and texts; what stands in a template's `${}` is code. */
export function sourceText(text: string): SourceText {
  const code = text.split('')
  const bare = text.split('')
  const blank = (chars: string[], from: number, to: number) => {
    for (let at = from; at < to; at++) if (chars[at] !== '\n') chars[at] = ' '
  }
  /** Braces open in each `${}` that we are in. */
  const holes: number[] = []
  const endOfTemplateText = (start: number) => {
    const match = /(?:[^\\`$]|\\[\s\S]|\$(?!\{))*/y
    match.lastIndex = start
    match.test(text)
    const end = match.lastIndex
    blank(bare, start, end)
    if (text[end] === '$') holes.push(0)
    return end + (text[end] === '$' ? 2 : 1)
  }
  let at = 0
  while (at < text.length) {
    const char = text[at]!
    const open = holes.length - 1
    const end = endOf(text, at)
    if (char === '`' || (char === '}' && holes[open] === 0)) {
      if (char === '}') holes.pop()
      at = endOfTemplateText(at + 1)
      continue
    }
    if (open >= 0 && char === '{') holes[open]! += 1
    if (open >= 0 && char === '}') holes[open]! -= 1
    if (/^\/[/*]/.test(text.slice(at, at + 2))) {
      blank(code, at, end)
      blank(bare, at, end)
    } else if (end > at + 1) {
      blank(bare, at + 1, end - 1)
    }
    at = end
  }
  return { code: code.join(''), bare: bare.join('') }
}

/** Where the comment, string or regular expression that begins here ends; one further where none does. */
function endOf(text: string, start: number): number {
  const ends = (pattern: RegExp) => {
    pattern.lastIndex = start
    return pattern.test(text) ? pattern.lastIndex : start + 1
  }
  const char = text[start]
  if (char === "'") return ends(/'(?:[^'\\\n]|\\[\s\S])*'/y)
  if (char === '"') return ends(/"(?:[^"\\\n]|\\[\s\S])*"/y)
  if (char !== '/') return start + 1
  if (text[start + 1] === '/') return ends(/\/\/.*/y)
  if (text[start + 1] === '*') return ends(/\/\*[\s\S]*?\*\//y)
  if (!BEFORE_REGEX.test(text.slice(Math.max(0, start - 40), start))) return start + 1
  return ends(/\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\//y)
}

const STATIC = /^[ \t]*(?:import|export)\b((?:(?!\b(?:import|export)\b)[\w\s{},*$])*?)\bfrom\s*(['"])/gm
const SIDE_EFFECT = /^[ \t]*import\s*(['"])/gm
const DYNAMIC = /\b(?:import|require)\s*\(\s*(['"`])/g

/** Every module that a file names, in the order of their lines. */
export function importsOf({ code, bare }: SourceText): ImportedModule[] {
  const found: ImportedModule[] = []
  const add = (match: RegExpExecArray, typeOnly: boolean, dynamic: boolean) => {
    const quote = match.index + match[0].length
    const end = bare.indexOf(bare[quote - 1]!, quote)
    found.push({ specifier: code.slice(quote, end), line: lineAt(bare, quote), typeOnly, dynamic })
  }
  for (const match of bare.matchAll(STATIC)) add(match, /^\s+type\b(?!\s+from\b|\s*,)/.test(match[1]!), false)
  for (const match of bare.matchAll(SIDE_EFFECT)) add(match, false, false)
  for (const match of bare.matchAll(DYNAMIC)) add(match, false, true)
  return found.sort((a, b) => a.line - b.line)
}

/** The line, from 1, that an offset is on. */
export function lineAt(text: string, offset: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) line += 1
  return line
}
