/** JSON lines with the fields of the architecture document: timestamp, level, service, instance, message, … */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** `meta` holds what has no field of its own; the others are those of a request. */
export interface LogFields {
  endpoint?: string
  method?: string
  request_id?: string
  user_id?: string
  session_id?: string
  meta?: Record<string, unknown>
}

export interface Logger {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

interface LoggerOptions {
  level: LogLevel
  instance: string
  /** Takes one line without its newline. */
  write(line: string): void
}

const ORDER: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 }

export function createLogger(options: LoggerOptions): Logger {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (ORDER[level] < ORDER[options.level]) return
    options.write(
      JSON.stringify({
        timestamp: new Date().toISOString(),
        level: level.toUpperCase(),
        service: 'persistence-service',
        instance: options.instance,
        ...fields,
        message,
      }),
    )
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
