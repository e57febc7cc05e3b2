-- Parameters: name, json.
INSERT INTO facts (name, json, updated_at)
VALUES (?, ?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))
ON DUPLICATE KEY UPDATE
  json = VALUES(json),
  updated_at = VALUES(updated_at);
