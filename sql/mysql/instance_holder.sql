-- The process that speaks for an instance. Parameter: instance_id.
SELECT token FROM instance_holders WHERE instance_id = ?;
