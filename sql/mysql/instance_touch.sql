-- The sign of life. Parameters: state, buffered_rows, instance_id.
UPDATE instances SET state = ?, buffered_rows = ?, seen_at = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) WHERE instance_id = ?;
