-- Every instance, what was asked of it, and the clock that its times are of.
SELECT i.instance_id, i.version, i.state, i.buffered_rows, i.started_at, i.seen_at, COALESCE(f.wanted, 0), COALESCE(f.done, 0), COALESCE(f.report, '{}'), CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)
FROM instances i
LEFT JOIN instance_flushes f ON f.instance_id = i.instance_id
ORDER BY i.instance_id;
