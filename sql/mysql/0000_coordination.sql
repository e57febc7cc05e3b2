-- What several instances agree on. Times are milliseconds of the database's clock.
CREATE TABLE IF NOT EXISTS leases (
  name       VARCHAR(64) NOT NULL,
  owner      VARCHAR(64) NOT NULL,
  fence      BIGINT      NOT NULL,
  expires_at BIGINT      NOT NULL,
  PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- `number` is the instance's part of every stamp: unique, so no two instances make the same stamp.
CREATE TABLE IF NOT EXISTS instances (
  instance_id   VARCHAR(64) NOT NULL,
  number        INT         NOT NULL,
  state         VARCHAR(16) NOT NULL,
  version       VARCHAR(32) NOT NULL,
  buffered_rows BIGINT      NOT NULL DEFAULT 0,
  started_at    BIGINT      NOT NULL,
  seen_at       BIGINT      NOT NULL,
  PRIMARY KEY (instance_id),
  UNIQUE KEY uq_number (number)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- A delete of everything of a group up to a stamp; unfinished while its rows are still being removed.
CREATE TABLE IF NOT EXISTS tombstones (
  collection VARCHAR(64) NOT NULL,
  group_key  VARCHAR(64) NOT NULL,
  stamp      BINARY(8)   NOT NULL,
  finished   TINYINT     NOT NULL DEFAULT 0,
  created_at BIGINT      NOT NULL,
  PRIMARY KEY (collection, group_key),
  KEY idx_finished (finished, created_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Rows that the database refused for what they are, as JSON, with their stamps.
CREATE TABLE IF NOT EXISTS dead_letters (
  collection  VARCHAR(64)  NOT NULL,
  record_key  VARCHAR(255) NOT NULL,
  stamp       BINARY(8)    NOT NULL,
  id          CHAR(36)     NOT NULL,
  group_key   VARCHAR(64)  NOT NULL,
  reason      VARCHAR(1024) NOT NULL,
  error_code  VARCHAR(64)  NOT NULL,
  record      LONGTEXT     NOT NULL,
  stamps      VARBINARY(512) NOT NULL,
  accepted_at BIGINT       NOT NULL,
  failed_at   BIGINT       NOT NULL,
  attempts    INT          NOT NULL DEFAULT 1,
  PRIMARY KEY (collection, record_key, stamp),
  UNIQUE KEY uq_id (id),
  KEY idx_group (group_key),
  KEY idx_failed_at (failed_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Small facts shared by all instances, such as the last statistics.
CREATE TABLE IF NOT EXISTS facts (
  name       VARCHAR(64) NOT NULL,
  json       LONGTEXT    NOT NULL,
  updated_at BIGINT      NOT NULL,
  PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Restores that clients asked for.
CREATE TABLE IF NOT EXISTS restores (
  id          CHAR(36)    NOT NULL,
  session_id  VARCHAR(36) NOT NULL,
  tasks_count INT         NOT NULL,
  instance_id VARCHAR(64) NOT NULL,
  restored_at BIGINT      NOT NULL,
  ok          TINYINT     NOT NULL,
  PRIMARY KEY (id),
  KEY idx_restored_at (restored_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
