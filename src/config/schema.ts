import { z } from 'zod'
import { type BackendConfig, backendEntry } from './backends.ts'
import { choice, flag, host, path, seconds, section, text, whole } from './values.ts'

const maxBytes = 2 ** 40
const maxRows = 100_000_000
const days = (fallback: number) => whole({ from: 1, to: 36_500, fallback })

const service = section({
  host: host('0.0.0.0'),
  /** 0 = any free port. */
  port: whole({ from: 0, to: 65_535, fallback: 8001 }),
  data_dir: path().default('./data'),
  /** null = made once and kept in `data_dir`. */
  instance_id: text(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 characters of A-Z a-z 0-9 . _ -')
    .nullable()
    .default(null),
  log_level: choice(['debug', 'info', 'warn', 'error']).default('info'),
  /** Seconds for which a stopping instance goes on accepting. */
  drain_grace: seconds({ from: 0, to: 3600, fallback: 0 }),
  /** Unpacked. */
  max_body_bytes: whole({ from: 1024, to: 2 ** 30, fallback: 64 * 2 ** 20 }),
  /** Deadline of the drain. */
  shutdown_timeout: seconds({ to: 3600, fallback: 25 }),
})

const buffer = section({
  /** Rows of one collection that start a flush. */
  max_buffer_size: whole({ from: 1, to: maxRows, fallback: 1000 }),
  flush_interval: seconds({ fallback: 30 }),
  /** Hard limit in rows: past it, 503. */
  max_rows: whole({ from: 1, to: maxRows, fallback: 200_000 }),
  /** Hard limit in bytes: past it, 503. */
  max_bytes: whole({ from: 1, to: maxBytes, fallback: 256 * 2 ** 20 }),
  /** Bytes of one collection that start a flush. */
  flush_bytes: whole({ from: 1, to: maxBytes, fallback: 16 * 2 ** 20 }),
  min_batch_rows: whole({ from: 1, to: 100_000, fallback: 500 }),
  max_batch_rows: whole({ from: 1, to: 100_000, fallback: 5000 }),
  batch_step_rows: whole({ from: 1, to: 100_000, fallback: 100 }),
  /** A flush slower than this makes batches smaller. */
  slow_flush_ms: whole({ from: 1, to: 3_600_000, fallback: 2000 }),
  /** A flush faster than this makes batches larger. */
  fast_flush_ms: whole({ from: 1, to: 3_600_000, fallback: 500 }),
  flush_connections: whole({ from: 1, to: 64, fallback: 2 }),
  /** The longest that a flush on request may take. */
  flush_timeout: seconds({ to: 3600, fallback: 8 }),
  /** What a 202 survives: a power cut, a kill, nothing. */
  journal: choice(['full', 'normal', 'off']).default('full'),
  /** Fields that waited longer are dead-lettered: as long as a delete is remembered. */
  expire_days: days(30),
  /** Dead letters of one session, and of all; what is refused beyond them stays buffered. */
  dead_letters_per_session: whole({ from: 1, to: maxRows, fallback: 10_000 }),
  max_dead_letters: whole({ from: 1, to: maxRows, fallback: 100_000 }),
})

const translation = section({
  delete_mode: choice(['hard', 'soft']).default('hard'),
  /** A delete is applied once more after this: a statement of an instance that died may commit late. */
  repeat_deletes_after: seconds({ from: 1, to: 86_400, fallback: 600 }),
  read_timeout: seconds({ to: 3600, fallback: 5 }),
  restore_timeout: seconds({ to: 3600, fallback: 10 }),
  /** Rows up to which a list's total is exact. */
  count_exact_limit: whole({ from: 0, to: maxRows, fallback: 100_000 }),
  /** Seconds for which a list's total is kept. */
  count_cache: seconds({ from: 0, to: 3600, fallback: 10 }),
})

const retention = section({
  enabled: flag(true),
  interval: seconds({ from: 1, to: 604_800, fallback: 3600 }),
  completed_days: days(90),
  failed_days: days(30),
  deleted_days: days(7),
  incomplete_days: days(30),
})

/** The one schema: what a file may hold, and what the environment is turned into. */
export const settings = section({
  service,
  buffer,
  translation,
  retention,
  migrations: section({ on_start: flag(true) }),
  storage: section({
    backends: z.preprocess(
      (value) => value ?? {},
      z.record(z.string(), backendEntry, { error: 'a map of backends' }),
    ),
  }),
})

/** The whole configuration. Times are in seconds where the name has no unit. */
export interface Config extends Omit<z.output<typeof settings>, 'storage'> {
  storage: {
    /** The backends that are switched on, by name; `sqlite` is always among them. */
    backends: Record<string, BackendConfig>
    /** Which backend holds which collection: every collection has its line. */
    routes: Record<string, string>
  }
}
