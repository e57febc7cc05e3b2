-- Translation sessions and tasks. Columns other than the key are nullable: rows may arrive in halves, and
-- NULL in a required column means "not there yet". DATETIME(3) in UTC, because a TIMESTAMP ends in 2038.
CREATE TABLE IF NOT EXISTS translation_sessions (
  session_id       VARCHAR(36)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  filename         VARCHAR(255),
  file_path        VARCHAR(512),
  status           VARCHAR(20),
  game_info        JSON,
  llm_provider     VARCHAR(50),
  metadata         JSON,
  total_tasks      INT,
  completed_tasks  INT,
  failed_tasks     INT,
  processing_tasks INT,
  deleted_at       DATETIME(3),
  created_at       DATETIME(3)  NOT NULL,
  updated_at       DATETIME(3)  NOT NULL,
  stamps           VARBINARY(512) NOT NULL,
  PRIMARY KEY (session_id),
  KEY idx_status_created (status, created_at),
  KEY idx_created_at (created_at),
  KEY idx_updated_at (updated_at),
  KEY idx_deleted_at (deleted_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The clustered key makes a session's tasks one range. No foreign key: its locks deadlock parallel flushes,
-- and a task may arrive before its session.
CREATE TABLE IF NOT EXISTS translation_tasks (
  session_id    VARCHAR(36)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  task_id       VARCHAR(64)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  batch_id      VARCHAR(64),
  sheet_name    VARCHAR(255),
  row_index     INT,
  column_name   VARCHAR(255),
  source_text   TEXT,
  target_text   TEXT,
  context       TEXT,
  status        VARCHAR(20),
  confidence    DECIMAL(5,4),
  error_message TEXT,
  retry_count   INT,
  start_time    DATETIME(3),
  end_time      DATETIME(3),
  duration_ms   INT,
  created_at    DATETIME(3)  NOT NULL,
  updated_at    DATETIME(3)  NOT NULL,
  stamps        VARBINARY(512) NOT NULL,
  PRIMARY KEY (session_id, task_id),
  KEY idx_task_id (task_id, updated_at),
  KEY idx_batch_id (batch_id),
  KEY idx_status_created (status, created_at),
  KEY idx_created_at (created_at),
  KEY idx_updated_at (updated_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
