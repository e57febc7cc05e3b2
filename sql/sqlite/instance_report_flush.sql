-- What was held when that request was read is stored. No row: nobody had asked. Parameters: report, done, instance_id.
UPDATE instance_flushes SET report = ?, done = MAX(done, ?) WHERE instance_id = ?;
