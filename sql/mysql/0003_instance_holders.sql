-- The process that speaks for an instance: two under one INSTANCE_ID would give the same stamps. Only adds.
CREATE TABLE IF NOT EXISTS instance_holders (
  instance_id VARCHAR(64) NOT NULL,
  volume      VARCHAR(64) NOT NULL,
  token       VARCHAR(64) NOT NULL,
  expires_at  BIGINT      NOT NULL,
  PRIMARY KEY (instance_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
