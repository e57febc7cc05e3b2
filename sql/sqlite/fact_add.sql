-- Adds to a fact that is a number; one that isn't there is 0. Parameters: name, added.
INSERT INTO facts (name, json, updated_at)
VALUES (?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER))
ON CONFLICT (name) DO UPDATE SET
  json = CAST(CAST(facts.json AS INTEGER) + CAST(excluded.json AS INTEGER) AS TEXT),
  updated_at = excluded.updated_at;
