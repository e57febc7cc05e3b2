-- Takes an expired lease, or renews one's own. Evaluated left to right: the fence and the owner see the
-- stored expiry, the expiry sees the new owner. Parameters: name, owner, ttl in ms.
INSERT INTO leases (name, owner, fence, expires_at)
VALUES (?, ?, 1, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) + ?)
ON DUPLICATE KEY UPDATE
  fence = IF(expires_at < CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) AND owner <> VALUES(owner), fence + 1, fence),
  owner = IF(expires_at < CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED), VALUES(owner), owner),
  expires_at = IF(owner = VALUES(owner), VALUES(expires_at), expires_at);
