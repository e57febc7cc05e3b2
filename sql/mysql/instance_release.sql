-- A process speaks for an instance no more. Parameters: instance_id, token.
DELETE FROM instance_holders WHERE instance_id = ? AND token = ?;
