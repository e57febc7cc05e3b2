/** This instance's place among the others: its number, and its sign of life. */
import type { Coordination } from '../backends/backend.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'

const SIGN_EVERY_MS = 1000

export interface InstanceRegistry {
  /** Leases the number; to be called at first contact with the database. */
  register(): Promise<void>
  /** The leased number; throws before `register`. */
  number(): number
  registered(): boolean
  start(): void
  setState(state: 'live' | 'draining'): void
  /** Nothing is left here: others need not wait for this instance. */
  signOff(): Promise<void>
  stop(): void
}

interface RegistryOptions {
  coordination: Coordination
  instanceId: string
  version: string
  bufferedRows(): number
  log: Logger
}

export function createInstanceRegistry(options: RegistryOptions): InstanceRegistry {
  const { coordination, instanceId, version, log } = options
  let number: number | null = null
  let state: 'live' | 'draining' = 'live'
  let timer: ReturnType<typeof setInterval> | null = null
  let lost = false

  const sign = () => ({ instanceId, version, state, bufferedRows: options.bufferedRows() })

  /** Cut off for so long that its number may be another's: it needs a new one before its next stamp. */
  async function reregister(): Promise<void> {
    number = await coordination.registerInstance(sign())
    log.warn('registered anew: this instance had been forgotten', { meta: { number } })
  }

  async function touch(): Promise<void> {
    try {
      if (!(await coordination.touchInstance(sign()))) await reregister()
      lost = false
    } catch (error) {
      if (!lost) log.warn('sign of life not written', { meta: { error: messageOf(error) } })
      lost = true // once an outage, not once a second
    }
  }

  return {
    async register() {
      number = await coordination.registerInstance(sign())
    },
    number() {
      if (number === null) throw new TypeError('the instance has no number yet')
      return number
    },
    registered: () => number !== null,
    start() {
      timer ??= setInterval(() => number !== null && touch(), SIGN_EVERY_MS)
    },
    setState(next) {
      state = next
    },
    async signOff() {
      if (number !== null) await coordination.signOffInstance(instanceId)
    },
    stop() {
      if (timer) clearInterval(timer)
      timer = null
    },
  }
}
