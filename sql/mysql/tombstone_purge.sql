-- Removes finished deletes that are old by when they were put, and by what they delete: a stamp can be ahead of the clock. Parameters: the newest created_at, the greatest stamp, limit.
DELETE FROM tombstones WHERE finished IN (1, 2) AND created_at <= ? AND stamp <= ? LIMIT ?;
