-- Records above an id, ascending. Parameters: id, limit.
SELECT id, body FROM journal_records WHERE id > ? ORDER BY id LIMIT ?;
