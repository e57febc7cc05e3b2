-- Parameter: group_key.
DELETE FROM dead_letters WHERE group_key = ?;
