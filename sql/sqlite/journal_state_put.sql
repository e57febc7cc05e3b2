-- Parameters: line.
INSERT OR REPLACE INTO journal_state (one, line) VALUES (1, ?);
