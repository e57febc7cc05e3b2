-- Parameters: collection, group_key.
SELECT COUNT(*) FROM dead_letters WHERE collection = ? AND group_key = ?;
