-- Copies sessions of the table that API.md's DDL made, a range of keys at a time; what they hold counts as
-- accepted when they were last updated, or now where that is said to be in the future. Parameters: whether this is
-- the first range, key after which, last key.
INSERT INTO translation_sessions (
  session_id, filename, file_path, status, game_info, llm_provider, metadata,
  total_tasks, completed_tasks, failed_tasks, processing_tasks, created_at, updated_at, stamps)
SELECT
  session_id, filename, file_path, status, game_info, llm_provider, metadata,
  total_tasks, completed_tasks, failed_tasks, processing_tasks,
  COALESCE(created_at, updated_at, NOW(3)), LEAST(COALESCE(updated_at, created_at, NOW(3)), NOW(3)),
  CONCAT(
    REPEAT(UNHEX(LPAD(HEX(CAST(UNIX_TIMESTAMP(LEAST(COALESCE(updated_at, created_at, NOW(3)), NOW(3))) * 1000 AS UNSIGNED) * 4194304), 16, '0')), 10),
    REPEAT(UNHEX('00'), 8))
FROM adopting_translation_sessions
WHERE (? OR session_id > ?) AND session_id <= ?
ON DUPLICATE KEY UPDATE stamps = translation_sessions.stamps;
