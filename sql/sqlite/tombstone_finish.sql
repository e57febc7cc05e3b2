-- Parameters: collection, group_key, stamp of the delete that is finished.
UPDATE tombstones SET finished = 1 WHERE collection = ? AND group_key = ? AND stamp = ?;
