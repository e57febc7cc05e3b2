-- What several instances agree on. Times are milliseconds of the database's clock.
CREATE TABLE IF NOT EXISTS leases (
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  fence INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (name)
) WITHOUT ROWID;


-- `number` is the instance's part of every stamp: unique, so no two instances make the same stamp.
CREATE TABLE IF NOT EXISTS instances (
  instance_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  state TEXT NOT NULL,
  version TEXT NOT NULL,
  buffered_rows INTEGER NOT NULL DEFAULT 0,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  PRIMARY KEY (instance_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS instances_uq_number ON instances (number);

-- A delete of everything of a group up to a stamp; unfinished while its rows are still being removed.
CREATE TABLE IF NOT EXISTS tombstones (
  collection TEXT NOT NULL,
  group_key TEXT NOT NULL,
  stamp BLOB NOT NULL,
  finished INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (collection, group_key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tombstones_idx_finished ON tombstones (finished, created_at);

-- Rows that the database refused for what they are, as JSON, with their stamps.
CREATE TABLE IF NOT EXISTS dead_letters (
  collection TEXT NOT NULL,
  record_key TEXT NOT NULL,
  stamp BLOB NOT NULL,
  id TEXT NOT NULL,
  group_key TEXT NOT NULL,
  reason TEXT NOT NULL,
  error_code TEXT NOT NULL,
  record TEXT NOT NULL,
  stamps BLOB NOT NULL,
  accepted_at INTEGER NOT NULL,
  failed_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (collection, record_key, stamp)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS dead_letters_uq_id ON dead_letters (id);
CREATE INDEX IF NOT EXISTS dead_letters_idx_group ON dead_letters (group_key);
CREATE INDEX IF NOT EXISTS dead_letters_idx_failed_at ON dead_letters (failed_at);

-- Small facts shared by all instances, such as the last statistics.
CREATE TABLE IF NOT EXISTS facts (
  name TEXT NOT NULL,
  json TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (name)
) WITHOUT ROWID;


-- Restores that clients asked for.
CREATE TABLE IF NOT EXISTS restores (
  id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  tasks_count INTEGER NOT NULL,
  instance_id TEXT NOT NULL,
  restored_at INTEGER NOT NULL,
  ok INTEGER NOT NULL,
  PRIMARY KEY (id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS restores_idx_restored_at ON restores (restored_at);
