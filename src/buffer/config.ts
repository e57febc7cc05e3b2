/** What of the buffer is configured. */
export interface BufferConfig {
  /** Live rows of a collection that start a flush. */
  max_buffer_size: number
  /** Seconds. */
  flush_interval: number
  /** Hard limits of all collections together. */
  max_rows: number
  max_bytes: number
  /** Bytes of a collection that start a flush. */
  flush_bytes: number
  min_batch_rows: number
  max_batch_rows: number
  batch_step_rows: number
  slow_flush_ms: number
  fast_flush_ms: number
  flush_connections: number
  /** Days; fields that waited longer are dead-lettered. */
  expire_days: number
  /** Dead letters of one session, and of all: what is beyond stays buffered. */
  dead_letters_per_session: number
  max_dead_letters: number
}
