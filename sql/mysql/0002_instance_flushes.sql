-- What the others ask of an instance: to store everything that it holds. Only adds.
CREATE TABLE IF NOT EXISTS instance_flushes (
  instance_id VARCHAR(64)   NOT NULL,
  wanted      BIGINT        NOT NULL,
  done        BIGINT        NOT NULL,
  report      VARCHAR(1024) NOT NULL,
  PRIMARY KEY (instance_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
