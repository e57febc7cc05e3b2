-- Parameter: instance_id.
UPDATE instances SET state = 'gone', buffered_rows = 0, seen_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE instance_id = ?;
