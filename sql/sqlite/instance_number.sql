-- The number that an instance has, if any. Parameter: instance_id.
SELECT number FROM instances WHERE instance_id = ?;
