-- Finished deletes that were not applied once more yet, the oldest first. Parameters: their least age in milliseconds, limit.
SELECT collection, group_key, stamp FROM tombstones
WHERE finished = 1 AND created_at <= CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - ?
ORDER BY created_at LIMIT ?;
