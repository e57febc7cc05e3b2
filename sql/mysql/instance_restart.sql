-- A registered instance has started anew. Parameters: version, instance_id.
UPDATE instances SET state = 'live', version = ?, started_at = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED), seen_at = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) WHERE instance_id = ?;
