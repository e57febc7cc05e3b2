-- Copies tasks of the table that API.md's DDL made, a range of keys at a time; what they hold counts as
-- accepted when they were last updated, or now where that is said to be in the future. Parameters: whether this is
-- the first range, key after which, last key.
INSERT INTO translation_tasks (
  session_id, task_id, batch_id, sheet_name, row_index, column_name, source_text, target_text, context, status,
  confidence, error_message, retry_count, start_time, end_time, duration_ms, created_at, updated_at, stamps)
SELECT
  session_id, task_id, batch_id, sheet_name, row_index, column_name, source_text, target_text, context, status,
  confidence, error_message, retry_count, start_time, end_time, duration_ms,
  COALESCE(created_at, updated_at, NOW(3)), LEAST(COALESCE(updated_at, created_at, NOW(3)), NOW(3)),
  REPEAT(UNHEX(LPAD(HEX(CAST(UNIX_TIMESTAMP(LEAST(COALESCE(updated_at, created_at, NOW(3)), NOW(3))) * 1000 AS UNSIGNED) * 4194304), 16, '0')), 14)
FROM adopting_translation_tasks
WHERE (? OR task_id > ?) AND task_id <= ?
ON DUPLICATE KEY UPDATE stamps = translation_tasks.stamps;
