-- An instance that was not seen since counts as gone; its number stays its own for a day, in case it was only
-- cut off. Parameters: instance_id, seen_at.
UPDATE instances SET state = 'gone', buffered_rows = 0, seen_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE instance_id = ? AND seen_at <= ? AND state <> 'gone';
