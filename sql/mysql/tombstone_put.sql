-- A delete begins; a later one of the same group replaces it. Parameters: collection, group_key, stamp.
INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
VALUES (?, ?, ?, 0, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))
ON DUPLICATE KEY UPDATE
  finished = 0,
  created_at = VALUES(created_at),
  stamp = GREATEST(VALUES(stamp), tombstones.stamp);
