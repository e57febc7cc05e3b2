-- The letters of a group that a delete covers. Parameters: collection, group_key, stamp of the delete.
DELETE FROM dead_letters WHERE collection = ? AND group_key = ? AND stamp <= ?;
