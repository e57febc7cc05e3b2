-- A process speaks for an instance, or goes on to, where no other one was seen of late; one that has just
-- started takes over from its own volume at once. Evaluated left to right: the process sees the stored expiry and
-- volume, these see the new process. Parameters: instance_id, volume, token, ttl in ms, volume of a start or ''.
INSERT INTO instance_holders (instance_id, volume, token, expires_at)
VALUES (?, ?, ?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) + ?)
ON DUPLICATE KEY UPDATE
  token = IF(expires_at < CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) OR volume = ?, VALUES(token), token),
  volume = IF(token = VALUES(token), VALUES(volume), volume),
  expires_at = IF(token = VALUES(token), VALUES(expires_at), expires_at);
