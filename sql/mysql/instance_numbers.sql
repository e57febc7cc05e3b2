-- All numbers in use, with the last sign of life.
SELECT number, instance_id, seen_at FROM instances ORDER BY number;
