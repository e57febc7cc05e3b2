-- Translation sessions and tasks. Columns other than the key are nullable: rows may arrive in halves, and
-- NULL in a required column means "not there yet". Times are milliseconds since the epoch.
CREATE TABLE IF NOT EXISTS translation_sessions (
  session_id TEXT NOT NULL,
  filename TEXT,
  file_path TEXT,
  status TEXT,
  game_info TEXT,
  llm_provider TEXT,
  metadata TEXT,
  total_tasks INTEGER,
  completed_tasks INTEGER,
  failed_tasks INTEGER,
  processing_tasks INTEGER,
  deleted_at INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  stamps BLOB NOT NULL,
  PRIMARY KEY (session_id)
);
-- An index that a list is ordered by ends in the key, its tie-break; InnoDB adds it by itself.
CREATE INDEX IF NOT EXISTS translation_sessions_idx_status_created ON translation_sessions (status, created_at, session_id);
CREATE INDEX IF NOT EXISTS translation_sessions_idx_created_at ON translation_sessions (created_at, session_id);
CREATE INDEX IF NOT EXISTS translation_sessions_idx_updated_at ON translation_sessions (updated_at, session_id);
CREATE INDEX IF NOT EXISTS translation_sessions_idx_deleted_at ON translation_sessions (deleted_at);

-- The primary key makes a session's tasks one range. No foreign key: its locks deadlock parallel flushes,
-- and a task may arrive before its session.
CREATE TABLE IF NOT EXISTS translation_tasks (
  session_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  batch_id TEXT,
  sheet_name TEXT,
  row_index INTEGER,
  column_name TEXT,
  source_text TEXT,
  target_text TEXT,
  context TEXT,
  status TEXT,
  confidence REAL,
  error_message TEXT,
  retry_count INTEGER,
  start_time INTEGER,
  end_time INTEGER,
  duration_ms INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  stamps BLOB NOT NULL,
  PRIMARY KEY (session_id, task_id)
);
CREATE INDEX IF NOT EXISTS translation_tasks_idx_task_id ON translation_tasks (task_id, updated_at);
CREATE INDEX IF NOT EXISTS translation_tasks_idx_batch_id ON translation_tasks (batch_id);
CREATE INDEX IF NOT EXISTS translation_tasks_idx_status_created ON translation_tasks (status, created_at, session_id, task_id);
CREATE INDEX IF NOT EXISTS translation_tasks_idx_created_at ON translation_tasks (created_at, session_id, task_id);
CREATE INDEX IF NOT EXISTS translation_tasks_idx_updated_at ON translation_tasks (updated_at, session_id, task_id);
