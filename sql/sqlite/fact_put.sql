-- Parameters: name, json.
INSERT INTO facts (name, json, updated_at)
VALUES (?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER))
ON CONFLICT (name) DO UPDATE SET
  json = excluded.json,
  updated_at = excluded.updated_at;
