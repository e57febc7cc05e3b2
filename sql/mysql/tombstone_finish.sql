-- A delete is finished; one that was applied once more stays so. Parameters: collection, group_key, stamp of the delete.
UPDATE tombstones SET finished = 1 WHERE collection = ? AND group_key = ? AND stamp = ? AND finished = 0;
