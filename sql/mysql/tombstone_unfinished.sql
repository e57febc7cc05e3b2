-- Deletes to go on with, the oldest first. Parameters: their least age in milliseconds, limit.
SELECT collection, group_key, stamp FROM tombstones
WHERE finished = 0 AND created_at <= CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - ?
ORDER BY created_at LIMIT ?;
