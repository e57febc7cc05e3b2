/** This instance's place among the others: its number, its sign of life, and what the others ask of it. */
import type { Coordination } from '../backends/coordination.ts'
import { messageOf } from '../lib/errors.ts'
import type { Logger } from '../lib/log.ts'
import { createBackoff } from '../lib/retry.ts'
import { DEAD_AFTER_MS } from './liveness.ts'

const SIGN_EVERY_MS = 1000
/** A sign may hang on a connection that is gone: the next one tries another. */
const SIGNS_AT_ONCE = 2
/** How often an instance looks whether the others wait for its rows. */
const LOOK_EVERY_MS = 200
const RETRY_MAX_MS = 2000
const TAKEN =
  'ANOTHER LIVE PROCESS HAS THIS INSTANCE_ID, on another DATA_DIR or a copy: this one accepts nothing until that one has ended'

/** What a flush that others asked for has written, by collection; `ok` = nothing of before it is left. */
export interface AskedFlush {
  written: Record<string, number>
  ok: boolean
}

export interface InstanceRegistry {
  /** Takes the number that the journal knows, so that writes are accepted before the first contact. */
  assume(number: number): void
  /** Leases the number, where no other process has it; to be called at first contact with the database. */
  register(): Promise<void>
  /** The leased or assumed number; throws before there is one. */
  number(): number
  /** Whether there is a number. */
  registered(): boolean
  /** Whether another live process speaks for this INSTANCE_ID: this one must accept nothing then. */
  isTaken(): boolean
  /** Begins with signs of life, and to answer what the others ask: what the journal held must be buffered by then. */
  start(): void
  setState(state: 'live' | 'draining'): void
  /** Nothing is left here: others need not wait for this instance. */
  signOff(): Promise<void>
  stop(): void
}

export interface RegistryOptions {
  coordination: Coordination
  instanceId: string
  /** Names the DATA_DIR: a process that starts on it is this instance again. */
  volume: string
  version: string
  bufferedRows(): number
  /** Stores everything that is held. */
  flush?(): Promise<AskedFlush>
  /** Whether the database is not known to be down; there is nothing to look at then. */
  isUp?(): boolean
  log: Logger
}

export function createInstanceRegistry(options: RegistryOptions): InstanceRegistry {
  const { coordination, instanceId, version, log, flush, isUp = () => true } = options
  let number: number | null = null
  /** Only an instance that has reached the database gives signs: an assumed number may be another's by now. */
  let inTable = false
  const holder = { instanceId, volume: options.volume, token: crypto.randomUUID() }
  /** Whether this process has spoken for the instance before. */
  let held = false
  let taken = false
  let state: 'live' | 'draining' = 'live'
  let timers: ReturnType<typeof setInterval>[] = []
  const signs = new Set<Promise<void>>()
  let stopped = false
  let lost = false
  let looking = false
  /** Number of the request that was answered last; null = none since the start, when whatever is there is looked at. */
  let answered: number | null = null
  /** What was written for requests since the start: whoever asked subtracts what it had read before. */
  const written: Record<string, number> = {}
  const backoff = createBackoff({ baseMs: 2 * LOOK_EVERY_MS, maxMs: RETRY_MAX_MS })
  let pausedUntilMs = 0

  const sign = () => ({ instanceId, version, state, bufferedRows: options.bufferedRows() })

  /** Cut off for so long that its number may be another's: it needs a new one before its next stamp. */
  async function reregister(): Promise<void> {
    number = await coordination.registerInstance(sign())
    log.warn('registered anew: this instance had been forgotten', { meta: { number } })
  }

  /** Two processes of one number would give the same stamps: one of them waits until the other is dead. */
  async function hold(): Promise<boolean> {
    const mine = await coordination.holdInstance(holder, { ttlMs: DEAD_AFTER_MS, hasStarted: !held })
    held ||= mine
    if (!mine) inTable = false
    if (!mine && !taken) log.error(TAKEN)
    if (mine && taken) log.info('the other process under this INSTANCE_ID is gone')
    taken = !mine
    return mine
  }

  async function register(): Promise<void> {
    if (!(await hold())) return
    number = await coordination.registerInstance(sign())
    inTable = true
  }

  async function touch(): Promise<void> {
    if (stopped || signs.size >= SIGNS_AT_ONCE) return
    const writing = writeSign()
    signs.add(writing)
    await writing
    signs.delete(writing)
  }

  async function writeSign(): Promise<void> {
    try {
      if (!inTable) {
        if (isUp()) await register()
        return
      }
      if (!(await hold())) return
      const known = await coordination.touchInstance(sign())
      if (!known && !stopped) await reregister()
      lost = false
    } catch (error) {
      if (!lost) log.warn('sign of life not written', { meta: { error: messageOf(error) } })
      lost = true // once an outage, not once a second
    }
  }

  /** The request's number is read before the flush begins: what was held then is stored when it is reported. */
  async function answer(ask: () => Promise<AskedFlush>): Promise<void> {
    const wanted = await coordination.flushWanted(instanceId)
    // Not "is it greater": numbers begin anew where the table was made anew.
    if (wanted === 0 || wanted === answered) return
    const flushed = await ask()
    for (const [collection, rows] of Object.entries(flushed.written))
      written[collection] = (written[collection] ?? 0) + rows
    if (!flushed.ok) {
      pausedUntilMs = performance.now() + backoff.nextMs()
      return
    }
    await coordination.reportFlush(instanceId, wanted, written)
    answered = wanted
    backoff.reset()
  }

  async function look(): Promise<void> {
    if (!flush || !inTable || looking || !isUp() || performance.now() < pausedUntilMs) return
    looking = true
    try {
      await answer(flush)
    } catch (error) {
      // Whoever waits names this instance missing meanwhile.
      pausedUntilMs = performance.now() + backoff.nextMs()
      log.debug('request to flush not answered yet', { meta: { error: messageOf(error) } })
    } finally {
      looking = false
    }
  }

  return {
    assume(known) {
      number ??= known
    },
    register,
    number() {
      if (number === null) throw new TypeError('the instance has no number yet')
      return number
    },
    registered: () => number !== null,
    isTaken: () => taken,
    start() {
      if (timers.length > 0) return
      timers = [setInterval(touch, SIGN_EVERY_MS), setInterval(look, LOOK_EVERY_MS)]
      touch()
    },
    setState(next) {
      state = next
    },
    async signOff() {
      stopped = true
      // One that is under way would take the sign-off back.
      await Promise.all(signs)
      if (!inTable) return
      await coordination.signOffInstance(instanceId)
      await coordination.releaseInstance(holder)
    },
    stop() {
      stopped = true
      for (const timer of timers) clearInterval(timer)
      timers = []
    },
  }
}
