-- Registers an instance; a number that is taken is a conflict. Parameters: instance_id, number, version.
INSERT INTO instances (instance_id, number, state, version, buffered_rows, started_at, seen_at)
VALUES (?, ?, 'live', ?, 0, CAST(unixepoch('subsec') * 1000 AS INTEGER), CAST(unixepoch('subsec') * 1000 AS INTEGER));
