-- A delete begins; a later one of the same group replaces it. Parameters: collection, group_key, stamp.
INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
VALUES (?, ?, ?, 0, CAST(unixepoch('subsec') * 1000 AS INTEGER))
ON CONFLICT (collection, group_key) DO UPDATE SET
  finished = 0,
  created_at = excluded.created_at,
  stamp = max(excluded.stamp, tombstones.stamp);
