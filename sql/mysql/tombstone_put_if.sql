-- The same as tombstone_put, where a condition holds in the statement's own transaction; it affects no row where it doesn't. Parameters: collection, group_key, stamp, condition.
INSERT INTO tombstones (collection, group_key, stamp, finished, created_at)
SELECT ?, ?, ?, 0, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) FROM DUAL WHERE ?
ON DUPLICATE KEY UPDATE
  finished = IF(VALUES(stamp) > stamp, 0, finished),
  created_at = IF(VALUES(stamp) > stamp, VALUES(created_at), created_at),
  stamp = GREATEST(VALUES(stamp), stamp);
