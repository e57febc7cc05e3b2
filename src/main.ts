/** The entry: config → compose → serve → signals. The only place with Bun.serve and process. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import packageJson from '../package.json' with { type: 'json' }
import { KeyFileError, readKeyFile } from './auth/key_file.ts'
import { COLLECTIONS } from './collections/catalog.ts'
import { isLoopback, serverOptions } from './compose/server_options.ts'
import { readTls } from './compose/tls.ts'
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
const NOT_YET = ['REDIS_URL', 'S3_BUCKET', 'ELASTICSEARCH_URL']

const readFile = (path: string) => readFileSync(path, 'utf8')

/** What is read, or the end where its reader can't tell what is meant. */
function readOrExit<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    return exitIfFaulty(error)
  }
}

function exitIfFaulty(error: unknown): never {
  if (!(error instanceof ConfigError || error instanceof KeyFileError)) throw error
  console.error(error.message)
  process.exit(EXIT_CONFIG)
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

const config = readOrExit(() =>
  loadConfig({ env: process.env, readFile, readKeyFile, collections: [...COLLECTIONS] }),
)
const migrateOnly = process.argv[2] === 'migrate'
const tls = migrateOnly ? null : readOrExit(() => readTls(config, readFile))
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
if (migrateOnly) config.migrations.on_start = true
const role = migrateOnly ? 'migrate' : 'serve'
const service = await compose({ config, instanceId, version: packageJson.version, log, role }).catch(
  exitIfFaulty,
)

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
    return Bun.serve(serverOptions({ service: config.service, tls, fetch: service.fetch, log }))
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
    url: `${tls ? 'https' : 'http'}://${server.hostname}:${server.port}`,
    version: packageJson.version,
    routes: config.storage.routes,
  },
})
for (const name of NOT_YET) {
  if (process.env[name]) log.warn('this variable has no effect in this version', { meta: { name } })
}
for (const name of ['API_KEYS', 'API_KEYS_FILE', 'JWT_SECRET', 'JWT_JWKS_URL']) {
  if (process.env[name] === '')
    log.warn('this variable is empty, which is as if it were not set', { meta: { name } })
}
service.start()
if (!service.closed() && !isLoopback(config.service.host)) {
  log.warn('anybody who reaches this address may do everything: no authentication is configured', {
    meta: { host: config.service.host },
  })
}

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
