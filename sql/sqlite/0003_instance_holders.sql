-- The process that speaks for an instance: two under one INSTANCE_ID would give the same stamps. Only adds.
CREATE TABLE IF NOT EXISTS instance_holders (
  instance_id TEXT NOT NULL,
  volume TEXT NOT NULL,
  token TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (instance_id)
) WITHOUT ROWID;
