-- The line of values is repeated, once a letter. Parameters: collection, record_key, stamp, id, group_key, reason, error_code, record, stamps, accepted_at.
INSERT INTO dead_letters (collection, record_key, stamp, id, group_key, reason, error_code, record, stamps, accepted_at, failed_at, attempts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED), 1)
ON DUPLICATE KEY UPDATE
  reason = VALUES(reason),
  error_code = VALUES(error_code),
  failed_at = VALUES(failed_at),
  attempts = dead_letters.attempts + 1;
