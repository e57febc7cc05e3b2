-- A finished delete was applied once more. Parameters: collection, group_key, stamp of the delete.
UPDATE tombstones SET finished = 2 WHERE collection = ? AND group_key = ? AND stamp = ? AND finished = 1;
