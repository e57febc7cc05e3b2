-- Whether a group is being erased. Parameters: collection, group_key.
SELECT 1 FROM tombstones WHERE collection = ? AND group_key = ? AND finished = 0;
