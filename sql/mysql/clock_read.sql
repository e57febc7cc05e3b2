-- The database's clock, in milliseconds.
SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED);
