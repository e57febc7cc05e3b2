/** What one test sets up: databases, proxies, folders and services, all gone when its scope ends. */
import { type FreshDatabase, freshDatabase, freshFolder, type SqlServer } from './backends.ts'
import { type DatabaseProxy, openProxy } from './proxy.ts'
import { type Service, startService } from './service.ts'

/** A place to set things up in; `await using` takes them down in reverse. */
export interface Scene extends AsyncDisposable {
  /** An empty database of its own. */
  database(server: SqlServer): Promise<FreshDatabase>
  /** A proxy before a database; `open: false` refuses until it is told to pass. */
  proxy(database: FreshDatabase, options?: { open: boolean }): Promise<DatabaseProxy>
  /** An empty folder. */
  folder(): Promise<string>
  /**
   * Starts the service with these settings, in a folder of its own unless DATA_DIR says another, and kills
   * it at the end if it still runs. A flush by the timer is an hour away unless FLUSH_INTERVAL says less.
   */
  start(env: Record<string, string>, waitFor?: 'ready' | 'listening'): Promise<Service>
  /** Does something at the end. */
  defer(undo: () => unknown): void
}

/** Opens an empty scene. */
export function createScene(): Scene {
  const stack = new AsyncDisposableStack()
  const folder = async () => {
    const made = await freshFolder()
    stack.defer(made.drop)
    return made.env.DATA_DIR!
  }
  return {
    async database(server) {
      const made = await freshDatabase(server)
      stack.defer(() => made.drop())
      return made
    },
    async proxy(database, options) {
      const made = await openProxy({ to: database.url, ...options })
      stack.defer(() => made.close())
      return made
    },
    folder,
    async start(env, waitFor = 'ready') {
      const own = env.DATA_DIR === undefined ? { DATA_DIR: await folder() } : {}
      const service = await startService({ env: { FLUSH_INTERVAL: '3600', ...own, ...env }, waitFor })
      stack.defer(async () => void (await service.kill()))
      return service
    },
    defer: (undo) => stack.defer(async () => void (await undo())),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}
