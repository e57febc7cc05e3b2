-- The database's clock, in milliseconds.
SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER);
