-- Removes a run of records. Parameters: first id, last id.
DELETE FROM journal_records WHERE id BETWEEN ? AND ?;
