-- Parameters: name, owner.
UPDATE leases SET expires_at = 0 WHERE name = ? AND owner = ?;
