-- Finished deletes that were not applied once more yet, the oldest first. Parameters: their least age in milliseconds, limit.
SELECT collection, group_key, stamp FROM tombstones
WHERE finished = 1 AND created_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?
ORDER BY created_at LIMIT ?;
