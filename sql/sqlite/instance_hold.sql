-- A process speaks for an instance, or goes on to, where no other one was seen of late; one that has just
-- started takes over from its own volume at once. Parameters: instance_id, volume, token, ttl in ms, volume of a start or ''.
INSERT INTO instance_holders (instance_id, volume, token, expires_at)
VALUES (?, ?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?)
ON CONFLICT (instance_id) DO UPDATE SET
  volume = excluded.volume,
  token = excluded.token,
  expires_at = excluded.expires_at
WHERE instance_holders.token = excluded.token
  OR instance_holders.expires_at < CAST(unixepoch('subsec') * 1000 AS INTEGER)
  OR instance_holders.volume = ?;
