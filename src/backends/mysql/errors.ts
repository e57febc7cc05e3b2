/** What a failure of MySQL, MariaDB or TiDB is, by its number. Message texts are never read, and shown only where they are known. */
import { BackendError, type FailureKind } from '../backend.ts'

const CONFLICTS = [
  1020, // record has changed since last read (MariaDB snapshot isolation, Galera)
  1205, // lock wait timeout
  1213, // deadlock, or Galera certification failure
  8022, // TiDB: commit failed, retry
  9007, // TiDB: write conflict
]

const OUTAGES = [
  1021, 1030, 1037, 1038, 1040, 1041, 1042, 1043, 1044, 1045, 1047, 1049, 1053, 1078, 1080, 1105, 1114, 1129,
  1130, 1135, 1142, 1143, 1146, 1152, 1156, 1157, 1158, 1159, 1160, 1161, 1180, 1184, 1194, 1195, 1196, 1202,
  1203, 1223, 1226, 1227, 1290, 1317, 1429, 1637, 1696, 1698, 1792, 1836, 1927, 1969, 2002, 2003, 2006, 2013,
  3024, 3032, 3098, 3100, 3101, 3168, 3572, 3579, 3580, 3989, 4031, 9001, 9002, 9003, 9004, 9005,
]

const REFUSALS = [
  1048, // column cannot be null
  1062, // duplicate entry of another unique key
  1118, // row size too large
  1138,
  1171, // null in a NOT NULL column
  1216,
  1217,
  1451,
  1452, // foreign key
  1264, // out of range
  1265,
  1292,
  1366,
  1367,
  1411, // wrong or truncated value
  1364, // no default
  1369, // view's check option
  1406, // data too long
  1644, // SIGNAL of a trigger
  1690, // out of range in an expression
  1643,
  1642,
  3140,
  3141,
  3143,
  3144,
  3146,
  3147,
  3150,
  3156,
  3157,
  3158, // JSON
  3819, // check constraint (MySQL)
  3988, // impossible conversion between character sets
  4025, // check constraint (MariaDB)
  4078,
  4079,
]

const TOO_LARGE = [
  1153, // packet larger than max_allowed_packet
  1197, // transaction larger than max_binlog_cache_size
  1301, // result larger than max_allowed_packet
  1390, // too many placeholders
  1436, // thread stack
  8004, // TiDB: transaction too large
]

/** Any text: TiDB uses it for whatever has no number. */
const UNKNOWN_ERROR = 1105

/** Numbers whose message names at most a table, a column or an account. The others may quote a row or a statement. */
const PLAIN = new Set([
  ...OUTAGES.filter((number) => number !== UNKNOWN_ERROR),
  ...TOO_LARGE,
  1020,
  1205,
  1213,
  1048,
  1118,
  1264,
  1265,
  1364,
  1406,
  3819,
  4025,
  1050, // what a migration may meet
  1051,
  1054,
  1060,
  1061,
  1071,
  1091,
])

const KINDS = new Map<number, FailureKind>([
  ...OUTAGES.map((number) => [number, 'outage'] as const),
  ...CONFLICTS.map((number) => [number, 'conflict'] as const),
  ...REFUSALS.map((number) => [number, 'refused'] as const),
  ...TOO_LARGE.map((number) => [number, 'too_large'] as const),
])

interface DriverError {
  errno?: number
  code?: string
  sqlState?: string
}

/** A driver's error as the contract's. One without a server's number never reached a server that answered. */
export function toBackendError(error: unknown): BackendError {
  if (error instanceof BackendError) return error
  const { errno, code, sqlState } = error as DriverError
  const message = error instanceof Error ? error.message : String(error)
  if (sqlState === undefined || errno === undefined)
    return new BackendError('outage', code ?? 'CONNECTION', message)
  const shown = PLAIN.has(errno) ? message : `error ${errno} of the server`
  return new BackendError(KINDS.get(errno) ?? 'unknown', String(errno), shown, { words: message })
}
