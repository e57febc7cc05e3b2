-- Frees the number of an instance that signed off or was not seen since. Parameters: instance_id, seen_at.
DELETE FROM instances WHERE instance_id = ? AND seen_at <= ?;
