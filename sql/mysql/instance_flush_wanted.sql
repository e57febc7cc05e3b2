-- The newest request to an instance. Parameter: instance_id.
SELECT wanted FROM instance_flushes WHERE instance_id = ?;
