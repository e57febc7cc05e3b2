-- Takes an expired lease, or renews one's own. Parameters: name, owner, ttl in ms.
INSERT INTO leases (name, owner, fence, expires_at)
VALUES (?, ?, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?)
ON CONFLICT (name) DO UPDATE SET
  fence = fence + (owner <> excluded.owner),
  owner = excluded.owner,
  expires_at = excluded.expires_at
WHERE leases.expires_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) OR leases.owner = excluded.owner;
