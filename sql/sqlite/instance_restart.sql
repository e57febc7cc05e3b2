-- A registered instance has started anew. Parameters: version, instance_id.
UPDATE instances SET state = 'live', version = ?, started_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), seen_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE instance_id = ?;
