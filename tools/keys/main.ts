/** `bun run keys`: makes, lists, revokes and replaces API keys. Only what a script needs goes to stdout. */
import { readFileSync } from 'node:fs'
import { formatKeyLine, idOf, parseInlineKeys } from '../../src/auth/key_line.ts'
import { COLLECTIONS } from '../../src/collections/catalog.ts'
import { apiKeysFile, type Config, ConfigError, loadConfig } from '../../src/config/mod.ts'
import { formatTime } from '../../src/lib/time.ts'
import { type Command, HELP, parseKeysArgs } from './args.ts'
import { EXIT, KeysError } from './failure.ts'
import { listText, toJson } from './key_list.ts'
import { type MadeKey, makeKey, readKeys, revoke, rotate, withChanged, withKey } from './key_ring.ts'
import { changeText, readText } from './key_store.ts'

const nowMs = Date.now()
const out = (text: string) => void process.stdout.write(`${text}\n`)
const tell = (text: string) => void process.stderr.write(`${text}\n`)

/** The service's own. What is wrong with the file of keys is told by whoever reads it here. */
function readConfig(): Config {
  return loadConfig({
    env: process.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    collections: [...COLLECTIONS],
  })
}

function tellOf({ entry }: MadeKey, where: string): void {
  const end = entry.expiresAtMs === null ? 'never expires' : `expires ${formatTime(entry.expiresAtMs)}`
  tell(`Key ${entry.name}, id ${idOf(entry)}, ${where}: ${entry.scopes.join(',')}, ${end}.`)
}

const HOW_TO_USE = `It is shown this once. Send it with every request:
  curl -H "X-API-Key: $KEY" http://localhost:8001/api/v1/translation/sessions`

function create(command: Extract<Command, { verb: 'create' }>): void {
  const made = makeKey(command, nowMs)
  if (command.print) {
    tellOf(made, 'to be set in API_KEYS (below: the key, and its entry; entries are separated by ;)')
    out(`${made.key}\n${formatKeyLine(made.entry)}`)
    tell(HOW_TO_USE)
    return
  }
  const { path } = apiKeysFile(readConfig())
  const isFirst = changeText(path, (text) => {
    const isFirst = readKeys(text ?? '', path).length === 0
    return { text: withKey(text, made.entry), result: isFirst }
  })
  tellOf(made, `in ${path}`)
  if (isFirst) tell('It is the first one in there: from now on the service asks every caller for a key.')
  out(made.key)
  tell(HOW_TO_USE)
}

function list(json: boolean): void {
  const { auth, service } = readConfig()
  const { path } = apiKeysFile({ auth, service })
  const keys = readKeys(readText(path) ?? '', path).map(({ entry }) => entry)
  out(json ? toJson(keys, nowMs) : listText(keys, nowMs))
  const inline = auth.api_keys ? parseInlineKeys(auth.api_keys.reveal()).keys.length : 0
  if (inline > 0) tell(`API_KEYS holds more of them, which are not listed: ${inline}.`)
}

function end(which: string): void {
  const { path } = apiKeysFile(readConfig())
  const revoked = changeText(path, (text) => {
    const result = revoke(readKeys(text ?? '', path), { which, nowMs })
    return { text: withChanged(text ?? '', result), result }
  })
  tell(`Revoked ${revoked.length === 1 ? 'one key' : `${revoked.length} keys`} in ${path}:`)
  for (const { entry } of revoked) tell(`  ${idOf(entry)}  ${entry.name}`)
}

function replaceKey(command: Extract<Command, { verb: 'rotate' }>): void {
  const { path } = apiKeysFile(readConfig())
  const { made, old } = changeText(path, (text) => {
    const result = rotate(readKeys(text ?? '', path), { ...command, nowMs })
    return { text: withKey(withChanged(text ?? '', result.old), result.made.entry), result }
  })
  tellOf(made, `in ${path}`)
  for (const { entry } of old)
    tell(`Before: id ${idOf(entry)}, valid until ${formatTime(entry.expiresAtMs!)}.`)
  out(made.key)
  tell(HOW_TO_USE)
}

function run(args: readonly string[]): void {
  const command = parseKeysArgs(args, nowMs)
  if (command.verb === 'help') process.stdout.write(HELP)
  else if (command.verb === 'create') create(command)
  else if (command.verb === 'list') list(command.json)
  else if (command.verb === 'revoke') end(command.which)
  else replaceKey(command)
}

try {
  run(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof KeysError || error instanceof ConfigError)) throw error
  tell(`keys: ${error.message}`)
  process.exitCode = error instanceof KeysError ? error.exitCode : EXIT.config
  if (process.exitCode === EXIT.usage) tell('bun run keys --help says how.')
}
