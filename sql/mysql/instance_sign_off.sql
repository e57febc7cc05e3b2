-- Parameter: instance_id.
UPDATE instances SET state = 'gone', buffered_rows = 0, seen_at = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) WHERE instance_id = ?;
