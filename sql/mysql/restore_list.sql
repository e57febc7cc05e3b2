-- The newest restores. Parameter: limit.
SELECT session_id, tasks_count, instance_id, restored_at, ok FROM restores ORDER BY restored_at DESC, id DESC LIMIT ?;
