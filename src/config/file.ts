import { isScalar, LineCounter, parseDocument, visit, type Document as YamlDocument } from 'yaml'
import { type Document, dotted, isMap } from './document.ts'
import { type Fault, fault, kindOf } from './faults.ts'

/** Reads a text file whole; throws where it can't. */
export type ReadFile = (path: string) => string

/** Reads the YAML file at `path` (core schema, one document). Undefined = it had faults, which were reported. */
export function readConfigFile(
  path: string,
  { readFile, report }: { readFile: ReadFile; report: (fault: Fault) => void },
): Document | undefined {
  let source: string
  try {
    source = readFile(path)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    report(fault('CONFIG_FILE', 'a file that can be read', `${JSON.stringify(path)} (${reason})`))
    return undefined
  }
  const lines = new LineCounter()
  const document = parseDocument(source, {
    version: '1.2',
    schema: 'core',
    lineCounter: lines,
    prettyErrors: false,
  })
  const problems = [...document.errors, ...document.warnings]
  for (const problem of problems) {
    const { line, col } = lines.linePos(problem.pos[0])
    const at = `line ${line}, column ${col}`
    // The parser's own words quote the source, which may be a password; its code does not.
    if (problem.code === 'DUPLICATE_KEY')
      report(fault(keyAt(document, problem.pos[0]), 'a key given once', `it again at ${at}`))
    else
      report(
        fault('CONFIG_FILE', 'valid YAML', `${problem.code.toLowerCase().replaceAll('_', ' ')} at ${at}`),
      )
  }
  if (problems.length > 0) return undefined
  const content = contentOf(document)
  if (content === null) return {}
  if (isMap(content)) return content
  report(
    fault(
      'CONFIG_FILE',
      'a map of sections',
      content === undefined ? 'an alias that leads nowhere or too far' : kindOf(content),
    ),
  )
  return undefined
}

/** undefined = an alias without its anchor, or aliases that multiply without end. */
function contentOf(document: YamlDocument): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    if (error instanceof ReferenceError) return undefined
    throw error
  }
}

/** The path of the key that starts at this offset. */
function keyAt(document: YamlDocument, offset: number): string {
  let found = 'CONFIG_FILE'
  visit(document, {
    Pair(_, pair, ancestors) {
      if (!isScalar(pair.key) || pair.key.range?.[0] !== offset) return undefined
      const keys = [...ancestors, pair].flatMap((node) =>
        'key' in node && isScalar(node.key) ? [String(node.key.value)] : [],
      )
      found = dotted(keys)
      return visit.BREAK
    },
  })
  return found
}
