-- The names of the migrations that were applied.
SELECT name FROM schema_migrations;
