-- A delete begins; it replaces an older one of the same group, and changes nothing of a later one. Parameters: collection, group_key, stamp.
INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
VALUES (?, ?, ?, 0, CAST(unixepoch('subsec') * 1000 AS INTEGER))
ON CONFLICT (collection, group_key) DO UPDATE SET
  finished = 0,
  created_at = excluded.created_at,
  stamp = excluded.stamp
WHERE excluded.stamp > tombstones.stamp;
