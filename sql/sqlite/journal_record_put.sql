-- Puts a record, in the place of what had its id. Parameters: id, body.
INSERT OR REPLACE INTO journal_records (id, body) VALUES (?, ?);
