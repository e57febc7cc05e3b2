-- The line of values is repeated, once a letter. Parameters: collection, record_key, stamp, id, group_key, reason, error_code, record, stamps, accepted_at.
INSERT INTO dead_letters (collection, record_key, stamp, id, group_key, reason, error_code, record, stamps, accepted_at, failed_at, attempts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER), 1)
ON CONFLICT (collection, record_key, stamp) DO UPDATE SET
  reason = excluded.reason,
  error_code = excluded.error_code,
  failed_at = excluded.failed_at,
  attempts = dead_letters.attempts + 1;
