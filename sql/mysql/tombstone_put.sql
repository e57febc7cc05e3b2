-- A delete begins; it replaces an older one of the same group, and changes nothing of a later one. Parameters: collection, group_key, stamp.
INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
VALUES (?, ?, ?, 0, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))
ON DUPLICATE KEY UPDATE
  finished = IF(VALUES(stamp) > stamp, 0, finished),
  created_at = IF(VALUES(stamp) > stamp, VALUES(created_at), created_at),
  stamp = GREATEST(VALUES(stamp), stamp);
