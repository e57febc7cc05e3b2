-- Which migrations were applied.
CREATE TABLE IF NOT EXISTS schema_migrations (
  name TEXT NOT NULL,
  applied_at INTEGER NOT NULL,
  PRIMARY KEY (name)
) WITHOUT ROWID;
