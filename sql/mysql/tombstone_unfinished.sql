-- Deletes to go on with, the oldest first. Parameter: limit.
SELECT collection, group_key, stamp FROM tombstones WHERE finished = 0 ORDER BY created_at LIMIT ?;
