/** The entry: config → compose → serve → signals. The only place with Bun.serve and process. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import packageJson from '../package.json' with { type: 'json' }
import { COLLECTIONS } from './collections/catalog.ts'
import { compose } from './compose.ts'
import { type Config, ConfigError, loadConfig } from './config/mod.ts'
import { messageOf } from './lib/errors.ts'
import { uuidv7 } from './lib/ids.ts'
import { createLogger } from './lib/log.ts'

/** The configuration, or the database's schema, is not what this version can work with (EX_CONFIG). */
const EXIT_CONFIG = 78
/** Rows are left that were not stored (EX_TEMPFAIL). */
const EXIT_ROWS_LEFT = 75

/** Variables of later versions: whoever sets one should not believe that it is heeded. */
const NOT_YET = [
  'API_KEYS',
  'JWT_SECRET',
  'JWT_JWKS_URL',
  'RATE_LIMIT',
  'REDIS_URL',
  'S3_BUCKET',
  'ELASTICSEARCH_URL',
]

function readConfig(): Config {
  try {
    return loadConfig({
      env: process.env,
      readFile: (path) => readFileSync(path, 'utf8'),
      collections: [...COLLECTIONS],
    })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(error.message)
    process.exit(EXIT_CONFIG)
  }
}

/** Made once, and kept beside the data: a restarted instance is the same one. */
function instanceIdOf({ service }: Config): string {
  if (service.instance_id !== null) return service.instance_id
  const path = join(service.data_dir, 'instance_id')
  mkdirSync(service.data_dir, { recursive: true })
  if (!existsSync(path)) {
    // Whole or not at all: a crash in between leaves no empty id.
    const draft = `${path}.new`
    writeFileSync(draft, `instance-${uuidv7()}\n`)
    renameSync(draft, path)
  }
  const id = readFileSync(path, 'utf8').trim()
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(id)) throw new TypeError(`${path} holds no instance id`)
  return id
}

function readInstanceId(config: Config): string {
  try {
    return instanceIdOf(config)
  } catch (error) {
    console.error(`DATA_DIR (${config.service.data_dir}) can't hold the instance's id: ${messageOf(error)}`)
    process.exit(EXIT_CONFIG)
  }
}

const config = readConfig()
const instanceId = readInstanceId(config)
/** Lines of one turn of the event loop are written together: a write a request costs more than the request's log. */
const lines: string[] = []
function writeLines(): void {
  if (lines.length > 0) process.stdout.write(`${lines.splice(0).join('\n')}\n`)
}
process.on('exit', writeLines)

const log = createLogger({
  level: config.service.log_level,
  instance: instanceId,
  write(line) {
    if (lines.push(line) === 1) setImmediate(writeLines)
  },
})
const migrateOnly = process.argv[2] === 'migrate'
if (migrateOnly) config.migrations.on_start = true
const role = migrateOnly ? 'migrate' : 'serve'
const service = await compose({ config, instanceId, version: packageJson.version, log, role })

service.failed.catch((error) => {
  log.error('cannot go on', { meta: { error: messageOf(error) } })
  process.exit(EXIT_CONFIG)
})

/** Requests under way are answered; a client that holds its connection open for nothing is not waited for. */
async function closeServer(server: Bun.Server<undefined>, withinMs: number): Promise<void> {
  const closed = server.stop()
  const until = Date.now() + withinMs
  while (server.pendingRequests > 0 && Date.now() < until) await Bun.sleep(10)
  await Promise.race([closed, server.stop(true)])
}

async function stop(server: Bun.Server<undefined> | null, why: string): Promise<never> {
  log.info('shutting down', { meta: { why } })
  const { complete, rowsLeft, rowsStored } = await service.shutdown(async (withinMs) => {
    if (server) await closeServer(server, withinMs)
  })
  log.info('stopped', { meta: { rows_stored: rowsStored, rows_left: rowsLeft } })
  process.exit(complete ? 0 : EXIT_ROWS_LEFT)
}

if (migrateOnly) {
  service.start()
  await service.prepared
  await stop(null, 'migrated')
}

function serve() {
  try {
    return Bun.serve({
      hostname: config.service.host,
      port: config.service.port,
      // The app's own limit answers 413 with a reason, and reads nothing beyond it.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      // The longest that Bun has: a large cleanup answers when it is done.
      idleTimeout: 255,
      fetch: service.fetch,
    })
  } catch (error) {
    console.error(
      `SERVICE_HOST and SERVICE_PORT (${config.service.host}:${config.service.port}): ${messageOf(error)}`,
    )
    process.exit(EXIT_CONFIG)
  }
}

const server = serve()
log.info('listening', {
  meta: {
    host: server.hostname,
    port: server.port,
    url: `http://${server.hostname}:${server.port}`,
    version: packageJson.version,
    routes: config.storage.routes,
  },
})
for (const name of NOT_YET) {
  if (process.env[name]) log.warn('this variable has no effect in this version', { meta: { name } })
}
service.start()

let stopping = false
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (stopping) {
      log.warn('second signal, ending at once')
      process.exit(EXIT_ROWS_LEFT)
    }
    stopping = true
    stop(server, signal)
  })
}
