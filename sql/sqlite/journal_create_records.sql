-- The journal's records; a body is its checksum and what it covers. It is the first table: salvage counts on its root being page 2.
CREATE TABLE IF NOT EXISTS journal_records (
  id INTEGER PRIMARY KEY,
  body BLOB NOT NULL
);
