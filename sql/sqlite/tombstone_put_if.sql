-- The same as tombstone_put, where a condition holds in the statement's own transaction; it affects no row where it doesn't. Parameters: collection, group_key, stamp, condition.
INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
SELECT ?, ?, ?, 0, CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE ?
ON CONFLICT (collection, group_key) DO UPDATE SET
  finished = iif(excluded.stamp > tombstones.stamp, 0, tombstones.finished),
  created_at = iif(excluded.stamp > tombstones.stamp, excluded.created_at, tombstones.created_at),
  stamp = max(excluded.stamp, tombstones.stamp);
