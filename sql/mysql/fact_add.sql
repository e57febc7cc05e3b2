-- Adds to a fact that is a number; one that isn't there is 0. Parameters: name, added.
INSERT INTO facts (name, json, updated_at)
VALUES (?, ?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))
ON DUPLICATE KEY UPDATE
  json = CAST(CAST(json AS SIGNED) + CAST(VALUES(json) AS SIGNED) AS CHAR),
  updated_at = VALUES(updated_at);
