-- The sign of life. Parameters: state, buffered_rows, instance_id.
UPDATE instances SET state = ?, buffered_rows = ?, seen_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE instance_id = ?;
