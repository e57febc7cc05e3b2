-- Parameters: id, session_id, tasks_count, instance_id, restored_at, ok.
INSERT INTO restores (id, session_id, tasks_count, instance_id, restored_at, ok)
VALUES (?, ?, ?, ?, ?, ?);
