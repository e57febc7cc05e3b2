/** Tables as API.md §8.1 prints them, and rows as the service of before may have left them there. */
import type { FreshDatabase } from './backends.ts'
import { openConnection } from './connection.ts'

/** The printed DDL. */
export const LEGACY_SESSIONS = `CREATE TABLE translation_sessions (
    session_id VARCHAR(36) PRIMARY KEY COMMENT '会话ID',
    filename VARCHAR(255) NOT NULL COMMENT '文件名',
    file_path VARCHAR(512) NOT NULL COMMENT '文件路径',
    status VARCHAR(20) NOT NULL DEFAULT 'pending' COMMENT '状态',
    game_info JSON COMMENT '游戏信息',
    llm_provider VARCHAR(50) NOT NULL COMMENT 'LLM提供商',
    metadata JSON COMMENT '元数据',
    total_tasks INT DEFAULT 0 COMMENT '总任务数',
    completed_tasks INT DEFAULT 0 COMMENT '完成任务数',
    failed_tasks INT DEFAULT 0 COMMENT '失败任务数',
    processing_tasks INT DEFAULT 0 COMMENT '处理中任务数',
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP COMMENT '创建时间',
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP COMMENT '更新时间',

    INDEX idx_status (status),
    INDEX idx_created_at (created_at),
    INDEX idx_updated_at (updated_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;`

/** The printed DDL, with its foreign key. */
export const LEGACY_TASKS = `CREATE TABLE translation_tasks (
    task_id VARCHAR(64) PRIMARY KEY COMMENT '任务ID',
    session_id VARCHAR(36) NOT NULL COMMENT '会话ID',
    batch_id VARCHAR(64) NOT NULL COMMENT '批次ID',
    sheet_name VARCHAR(255) NOT NULL COMMENT '工作表名',
    row_index INT NOT NULL COMMENT '行索引',
    column_name VARCHAR(255) NOT NULL COMMENT '列名',
    source_text TEXT NOT NULL COMMENT '源文本',
    target_text TEXT COMMENT '翻译结果',
    context TEXT COMMENT '上下文',
    status VARCHAR(20) NOT NULL DEFAULT 'pending' COMMENT '状态',
    confidence DECIMAL(5,4) COMMENT '置信度',
    error_message TEXT COMMENT '错误信息',
    retry_count INT DEFAULT 0 COMMENT '重试次数',
    start_time TIMESTAMP NULL COMMENT '开始时间',
    end_time TIMESTAMP NULL COMMENT '结束时间',
    duration_ms INT COMMENT '耗时（毫秒）',
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP COMMENT '创建时间',
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP COMMENT '更新时间',

    FOREIGN KEY (session_id) REFERENCES translation_sessions(session_id) ON DELETE CASCADE,
    INDEX idx_session_id (session_id),
    INDEX idx_batch_id (batch_id),
    INDEX idx_status (status),
    INDEX idx_session_status (session_id, status)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;`

/** A row, by column; times as `YYYY-MM-DD hh:mm:ss` in UTC, JSON as text. */
export type LegacyRow = Record<string, string | number | null>

const SESSION_STATUSES = ['pending', 'processing', 'completed', 'failed', 'cancelled']
const TASK_STATUSES = ['pending', 'processing', 'completed', 'failed']
/** Texts that a store may damage. */
const TEXTS = [
  '',
  ' ',
  'Hello, adventurer!',
  '你好，冒险者！',
  'مرحبا بالمغامر',
  '🐉 and 👩‍👩‍👧‍👦',
  'it\'s "quoted" \\ backslashed \\n %s ? :name $1 `tick`',
  'line one\nline two\r\n\ttabbed\u0000with a NUL\u001a',
  '  white space at both ends\t ',
  'e\u0301 is not é',
  '漢'.repeat(21_845),
]
/** Identifiers that were possible all along; one of each in a session of many plain ones. */
const ODD_IDS = ['UPPER and lower', 'a/b%2Fc', '100 % 完成', '🐉', 'x'.repeat(64), "o'clock\\", 'é', '-']

const at = <T>(list: readonly T[], index: number): T => list[index % list.length]!
const time = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')
const FIRST_SECOND = 1
/** Before the tests are run, by some years. */
const LAST_SECOND = 1_700_000_000

/** Sessions of all kinds. */
export function legacySessions(count: number): LegacyRow[] {
  return Array.from({ length: count }, (_, i) => ({
    session_id: i === 1 ? '会话 1/%' : `550e8400-e29b-41d4-a716-${String(i).padStart(12, '0')}`,
    filename: `game ${i} 游戏.xlsx`,
    file_path: i === 2 ? '路'.repeat(512) : `/uploads/${i}.xlsx`,
    status: at(SESSION_STATUSES, i),
    game_info:
      i % 3 === 0 ? null : JSON.stringify({ game_name: at(TEXTS, i % 10), deep: { list: [i, null, 1.5] } }),
    llm_provider: at(['openai', 'qwen'], i),
    metadata: i % 2 === 0 ? '{}' : JSON.stringify({ user_id: `user_${i}` }),
    total_tasks: i % 4 === 0 ? null : i * 1000,
    completed_tasks: i % 5 === 0 ? null : i,
    failed_tasks: 0,
    processing_tasks: i === 3 ? null : 2,
    created_at: i === 4 ? null : time(FIRST_SECOND + i * 20_000_000),
    updated_at: i === 5 ? null : time(Math.min(LAST_SECOND, FIRST_SECOND + i * 20_000_000 + 3601)),
  }))
}

/** Tasks of all kinds, dealt to the sessions. */
export function legacyTasks(count: number, sessions: readonly LegacyRow[]): LegacyRow[] {
  return Array.from({ length: count }, (_, i) => ({
    task_id: i < ODD_IDS.length ? ODD_IDS[i]! : `task_${i}`,
    session_id: at(sessions, i * 7).session_id!,
    batch_id: `batch_${i % 50}`,
    sheet_name: at(['Dialogue', '对话', 'Sheet 1'], i),
    row_index: i === 0 ? -1 : i,
    column_name: 'Text',
    // The longest ones only a few times.
    source_text: i < 40 ? at(TEXTS, i) : `source ${i}: ${at(TEXTS, i % 10)}`,
    target_text: i % 3 === 0 ? null : `target ${i}: ${at(TEXTS, i % 10)}`,
    context: i % 4 === 0 ? null : at(TEXTS, (i + 3) % 10),
    status: at(TASK_STATUSES, i),
    confidence: at([null, '0.0000', '1.0000', '0.1234', '0.9500'], i),
    error_message: i % 11 === 0 ? 'API rate limit exceeded' : null,
    retry_count: i % 6 === 0 ? null : i % 5,
    start_time: i % 2 === 0 ? null : time(FIRST_SECOND + i * 90_000),
    end_time: i % 5 === 0 ? time(2 ** 31 - 1) : null,
    duration_ms: i % 2 === 0 ? null : i,
    created_at: i === 20 ? null : time(FIRST_SECOND + i * 100_000),
    updated_at: i === 21 ? null : time(Math.min(LAST_SECOND, FIRST_SECOND + i * 100_000 + 59)),
  }))
}

const ROWS_A_STATEMENT = 500

/** Makes the tables and fills them. */
export async function makeLegacy(
  database: Pick<FreshDatabase, 'url'>,
  rows: { sessions: readonly LegacyRow[]; tasks: readonly LegacyRow[] | null },
): Promise<void> {
  await using connection = await openConnection(database)
  await connection.query(LEGACY_SESSIONS)
  if (rows.tasks) await connection.query(LEGACY_TASKS)
  for (const [table, all] of [
    ['translation_sessions', rows.sessions],
    ['translation_tasks', rows.tasks ?? []],
  ] as const) {
    for (let from = 0; from < all.length; from += ROWS_A_STATEMENT) {
      const part = all.slice(from, from + ROWS_A_STATEMENT)
      const columns = Object.keys(part[0]!)
      await connection.query('INSERT INTO ?? (??) VALUES ?', [
        table,
        columns,
        part.map((row) => columns.map((column) => row[column])),
      ])
    }
  }
}
