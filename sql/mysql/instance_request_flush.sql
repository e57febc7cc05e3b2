-- Asks every other instance to store what it holds. The numbers only ever grow, also past a DELETE of the
-- instance: what was reported once can't be taken for a later request. Parameter: instance_id.
INSERT INTO instance_flushes (instance_id, wanted, done, report)
SELECT instance_id, 1, 0, '{}' FROM instances WHERE instance_id <> ? AND state <> 'gone' ORDER BY instance_id
ON DUPLICATE KEY UPDATE wanted = instance_flushes.wanted + 1;
