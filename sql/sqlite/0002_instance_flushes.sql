-- What the others ask of an instance: to store everything that it holds. Only adds.
CREATE TABLE IF NOT EXISTS instance_flushes (
  instance_id TEXT NOT NULL,
  wanted INTEGER NOT NULL,
  done INTEGER NOT NULL,
  report TEXT NOT NULL,
  PRIMARY KEY (instance_id)
) WITHOUT ROWID;
