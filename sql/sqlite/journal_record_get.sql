-- One record. Parameters: id.
SELECT body FROM journal_records WHERE id = ?;
