-- A delete that was not carried out. Parameters: collection, group_key, its stamp.
DELETE FROM tombstones WHERE collection = ? AND group_key = ? AND stamp = ? AND finished = 0;
